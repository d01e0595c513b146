from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging_assets.api.error_handler import JITTER_SHARE, ErrorHandler, http_date, retry_after_seconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_waits_are_the_factor_and_twice_that_each_time() -> None:
    handler = ErrorHandler(backoff_factor=3)
    assert [handler.wait(retry, jitter=0) for retry in (1, 2, 3, 4)] == [3, 6, 12, 24]


@given(
    retry=st.integers(1, 2000),
    factor=st.floats(0, 1000),
    asked=st.none() | st.floats(0, 3600),
)
def test_no_wait_is_shorter_than_configured_or_asked_for_nor_much_longer(
    retry: int, factor: float, asked: float | None
) -> None:
    handler = ErrorHandler(backoff_factor=factor)
    bare = min(factor * 2.0 ** min(retry - 1, 64), handler.longest_wait)
    wait = handler.wait(retry, asked)
    assert wait >= bare
    assert wait >= (asked or 0)
    assert wait <= max(bare * (1 + JITTER_SHARE), asked or 0)


def test_waits_differ_from_client_to_client() -> None:
    assert len({ErrorHandler().wait(1) for _ in range(20)}) > 10


def test_what_the_guide_leaves_out_has_the_guides_values() -> None:
    assert ErrorHandler.from_guide(None) == ErrorHandler(frozenset({429, 500, 502, 503, 504}), 3, 2.0)
    assert ErrorHandler.from_guide({"max_retries": 0}) == ErrorHandler(max_retries=0)
    assert ErrorHandler.from_guide(
        {"retry_on_status_codes": [418], "max_retries": 7, "backoff_factor": 0.5}
    ) == ErrorHandler(frozenset({418}), 7, 0.5)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("1.5", 1.5),
        ("0", 0),
        ("-3", 0),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), 0),
        ("Thu, 01 Jan 2026 00:00:30", 30),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Thu, 99 Jan 2026 00:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, now=NOW) == seconds


@given(st.text())
def test_any_text_in_retry_after_is_read_or_ignored(text: str) -> None:
    seconds = retry_after_seconds(text, now=NOW)
    assert seconds is None or seconds >= 0
    http_date(text)
