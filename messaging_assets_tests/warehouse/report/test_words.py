"""Numbers, times and names as people read them."""

import doctest
from types import ModuleType

import pytest

from messaging_assets.warehouse import export, reader_copy
from messaging_assets.warehouse.report import words, write
from messaging_assets.warehouse.report.words import LONGEST_NAME, age, change, compared, duration, shown
from messaging_assets_tests.warehouse.report.conftest import NOW


@pytest.mark.parametrize("module", [words, write, export, reader_copy])
def test_the_examples_are_right(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("general", "general"),
        ("日本語 ☕", "日本語 ☕"),
        ("a\tb\r\nc", "a b c"),
        ("\x00\x1b[31mred", "[31mred"),
        ("right\u202eto\u200bleft", "right to left"),
        ("\ufffe\uffff\ud800", "(no name)"),
        ("", "(no name)"),
        ("x" * LONGEST_NAME, "x" * LONGEST_NAME),
        ("x" * (LONGEST_NAME + 1), "x" * (LONGEST_NAME - 1) + "…"),
        ("日" * (LONGEST_NAME // 2), "日" * (LONGEST_NAME // 2)),
        ("日" * LONGEST_NAME, "日" * (LONGEST_NAME // 2 - 1) + "…"),
    ],
)
def test_a_name_is_made_fit_to_be_shown(name: str, shows: str) -> None:
    assert shown(name) == shows


def test_a_change_from_nothing_is_no_division() -> None:
    assert (change(5, 0), change(0, 0), change(0, 5)) == ("new", "±0 %", "-100 %")
    assert compared(0, 0) == "as in the week before"


def test_a_share_of_a_percent_is_no_change() -> None:
    assert (change(1001, 1000), compared(1001, 1000)) == ("±0 %", "as many as in the week before")


def test_durations_keep_two_digits_at_most() -> None:
    assert [duration(s) for s in (0, 0.4, 59, 60, 3599, 3600, 36_000, 86_399, 864_000)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 min",
        "60 min",
        "1 h",
        "10 h",
        "24 h",
        "10 days",
    ]


def test_what_is_yet_to_come_is_just_now() -> None:
    assert age(NOW.replace(hour=23), NOW) == "just now"
