"""Cron expressions: what is accepted here, Dagster accepts."""

import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from hypothesis import given
from hypothesis import strategies as st

from messaging_assets.api.cron import FIELDS, NICKNAMES, mistake_in_cron

PIECES = st.text(alphabet="0123456789*,-/ jansunLW#?", max_size=6)


def right_part(low: int, high: int, names: tuple[str, ...]) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = (
        st.tuples(number, number)
        .filter(lambda pair: pair[0] < pair[1])
        .map(lambda pair: f"{pair[0]}-{pair[1]}")
    )
    step = st.integers(1, high).map(str)
    single = st.one_of(number.map(str), st.sampled_from(names) if names else st.nothing())
    stepped = st.tuples(st.one_of(st.just("*"), span), step).map("/".join)
    return st.lists(st.one_of(st.just("*"), single, span, stepped), min_size=1, max_size=3).map(",".join)


RIGHT = st.tuples(*(right_part(field.low, field.high, tuple(field.numbers)) for field in FIELDS)).map(
    " ".join
)


@given(st.one_of(RIGHT, st.lists(PIECES, min_size=4, max_size=6).map(" ".join), st.text(max_size=20)))
def test_what_is_accepted_dagster_accepts(expression: str) -> None:
    if mistake_in_cron(expression) is None:
        assert is_valid_cron_schedule(expression), expression


@given(RIGHT)
def test_the_common_language_is_accepted(expression: str) -> None:
    message = mistake_in_cron(expression)
    assert message is None or "never comes" in message


@pytest.mark.parametrize("nickname", NICKNAMES)
def test_nicknames_are_accepted(nickname: str) -> None:
    assert mistake_in_cron(nickname) is None
    assert is_valid_cron_schedule(nickname)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", "has five fields, this one has 0"),
        ("* * * *", "has five fields, this one has 4"),
        ("* * * * * *", "has five fields, this one has 6"),
        ("60 * * * *", "`60` is not a minute (0-59)"),
        ("* 24 * * *", "`24` is not a hour"),
        ("* * 0 * *", "`0` is not a day of month"),
        ("* * * 13 *", "`13` is not a month"),
        ("* * * * funday", "`funday` is not a day of week"),
        ("*/0 * * * *", "`*/0` is not a minute"),
        ("5-1 * * * *", "`5-1` is not a minute"),
        ("1, * * * *", "`1,` is not a minute"),
        ("٣ * * * *", "is not a minute"),
        ("0 0 30 2 *", "day 30 of month 2 never comes"),
        ("0 0 31 apr *", "day 31 of month 4 never comes"),
        ("every day at noon", "has five fields"),
    ],
)
def test_a_mistake_names_the_field_and_gives_an_example(expression: str, expected: str) -> None:
    message = mistake_in_cron(expression)
    assert message is not None
    assert expected in message
    assert "never comes" in message or "`@daily`" in message
