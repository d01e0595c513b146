"""What to ask an API for that filters by update time, and how far a sync came."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging_assets.api.connection import Resource, connection_from_dict
from messaging_assets.api.filter import Cursor, Filter, filter_of
from messaging_assets.api.reading import is_swept

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def resource(**endpoint: Any) -> Resource:
    listed = {"path": "messages", "paginator": {"type": "offset", "limit": 100}, **endpoint}
    guide = {
        "client": {"base_url": "https://api.example.com"},
        "resources": [{"name": "messages", "endpoint": listed}],
    }
    return connection_from_dict("chat", guide).resource("messages")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ({}, None),
        (
            {"incremental": {"cursor_path": "updated_at", "start_param": "since"}},
            Filter("since", "updated_at"),
        ),
        (
            {
                "incremental": {
                    "cursor_path": "at",
                    "start_param": "since",
                    "initial_value": "2026-01-01",
                    "lag": 60,
                }
            },
            Filter("since", "at", "2026-01-01", 60.0),
        ),
        (
            {"params": {"since": {"type": "incremental", "cursor_path": "at", "initial_value": 5}}},
            Filter("since", "at", 5),
        ),
        (
            {"params": {"since": "{incremental.start_value}"}, "incremental": {"cursor_path": "at"}},
            Filter("since", "at"),
        ),
    ],
)
def test_what_a_resource_declares(endpoint: dict[str, Any], expected: Filter | None) -> None:
    declared = resource(**endpoint)
    assert filter_of(declared) == expected
    assert is_swept(declared)


@pytest.mark.parametrize(
    "endpoint",
    [
        {
            "incremental": {
                "cursor_path": "at",
                "start_param": "since",
                "end_param": "until",
                "end_value": "2",
            }
        },
        {"incremental": {"cursor_path": "at"}},
        {"incremental": {"cursor_path": "state.at", "start_param": "since"}},
    ],
)
def test_what_only_dlt_can_follow_is_left_to_it(endpoint: dict[str, Any]) -> None:
    assert filter_of(resource(**endpoint)) is None
    assert not is_swept(resource(**endpoint))


@pytest.mark.parametrize(
    ("cursor", "lag", "asked"),
    [
        (None, 60, {}),
        ("2026-03-29T02:50:00+02:00", 0, {"since": "2026-03-29T02:50:00+02:00"}),
        ("2026-03-29T02:50:00+02:00", 3600, {"since": "2026-03-28T23:50:00Z"}),
        (1_800_000_000, 60, {"since": 1_799_999_940}),
        ("v7", 60, {"since": "v7"}),
    ],
)
def test_what_to_ask_for(cursor: Any, lag: float, asked: dict[str, Any]) -> None:
    assert Filter("since", "at", lag=lag).params(cursor) == asked


def test_the_first_sync_starts_at_the_initial_value() -> None:
    assert Filter("since", "at", initial_value="2026-01-01", lag=60).params(None) == {"since": "2026-01-01"}


@given(st.lists(st.datetimes(datetime(2000, 1, 1), datetime(2029, 1, 1)), min_size=1), st.data())
def test_the_cursor_is_the_latest_instant_whatever_its_offset(
    moments: list[datetime], data: st.DataObject
) -> None:
    offsets = [timedelta(hours=data.draw(st.integers(-12, 12))) for _ in moments]
    instants = [m.replace(tzinfo=UTC) for m in moments]
    cursor = Cursor("at")
    for instant, offset in zip(instants, offsets, strict=True):
        shifted = (instant + offset).replace(tzinfo=None).isoformat()
        hours = int(offset.total_seconds() // 3600)
        cursor.add([{"at": f"{shifted}{'-' if hours < 0 else '+'}{abs(hours):02}:00"}, {"at": None}, {}])
    assert datetime.fromisoformat(cursor.latest) == max(instants)
    assert cursor.settled(LATER) == cursor.latest


@pytest.mark.parametrize(
    ("latest", "settled"),
    [
        ("2026-05-01T12:00:00Z", "2026-05-01T11:29:00Z"),
        ("2026-05-01T11:29:00Z", "2026-05-01T11:29:00Z"),
        ("2026-05-01T10:00:00+02:00", "2026-05-01T10:00:00+02:00"),
        (1_777_636_800, 1_777_634_940),
        (1_777_636_800_000, 1_777_634_940_000),
        (77, 77),
        ("v7", "v7"),
        (None, None),
    ],
)
def test_a_cursor_stays_behind_what_may_still_come(latest: Any, settled: Any) -> None:
    """A row edited while the list was read can be missed although a row that was edited later was seen."""
    began = datetime(2026, 5, 1, 11, 30, tzinfo=UTC)
    assert Cursor("at", latest).settled(began) == settled
