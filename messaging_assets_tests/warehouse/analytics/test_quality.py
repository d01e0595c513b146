"""What the checks and the report are told about the data: counts and ids, never a text."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging_assets.api.connection import connection_from_dict
from messaging_assets.warehouse.analytics.model import model_named, read_models
from messaging_assets.warehouse.analytics.quality import (
    References,
    Volume,
    grain_duplicates,
    unknown_references,
    usual_range,
    volume,
)
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.quality import Offending
from messaging_assets_tests.warehouse.analytics.workspace import SCHEMA, Workspace, connection, message

NOW = datetime(2024, 3, 12, 8, tzinfo=UTC)
MONDAY = date(2024, 3, 11)


def asked(workspace: Workspace, question: Any, *arguments: Any, **more: Any) -> Any:
    """What a function says about the workspace, whose file is opened for reading alone."""
    with open_database(workspace.path, read_only=True) as database:
        return question(database, workspace.connection, *arguments, **more)


# ---- grain ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", read_models(), ids=lambda model: model.name)
def test_a_refreshed_model_has_its_grain(chat: Workspace, model: Any) -> None:
    chat.put("messages", message("m1"), message("m2", channel_id=None, user_id=None), message("m3"))
    assert asked(chat, grain_duplicates, model) == Offending(0)
    chat.refresh()
    assert asked(chat, grain_duplicates, model) == Offending(0)
    chat.execute(f"INSERT INTO {SCHEMA}_analytics.{model.name} SELECT * FROM {SCHEMA}_analytics.{model.name}")
    rows = len(chat.rows(model.name)) // 2
    # Threads and weeks are not in these rows.
    assert asked(chat, grain_duplicates, model).count == rows
    assert rows or model.name == "response_times"


def test_what_stands_twice_is_named_by_its_key(chat: Workspace) -> None:
    chat.put("messages", *(message(f"m{n}", channel_id=None, text="secret") for n in range(7)))
    chat.refresh()
    for name in ("messages_enriched", "daily_channel_activity"):
        chat.execute(f"INSERT INTO {SCHEMA}_analytics.{name} SELECT * FROM {SCHEMA}_analytics.{name}")
    enriched = asked(chat, grain_duplicates, model_named("messages_enriched"))
    assert enriched == Offending(7, ("m0", "m1", "m2", "m3", "m4"))
    assert asked(chat, grain_duplicates, model_named("daily_channel_activity")).examples == (
        "2024-03-04/null",
    )


# ---- references ----------------------------------------------------------------------------------


def test_references_to_known_ones_are_in_order(chat: Workspace) -> None:
    chat.put("messages", message("m1"), message("m2", user_id="ben"))
    chat.delete("users", "ben")
    assert asked(chat, unknown_references) == (References("channels"), References("users"))


def test_messages_of_unknown_channels_and_users_are_counted_and_the_ids_named(chat: Workspace) -> None:
    chat.put(
        "messages",
        message("a", channel_id="lost"),
        *(message(f"b{n}", user_id=f"ghost{n}") for n in range(6)),
        *(message(f"c{n}", user_id="ghost4") for n in range(2)),
        message("d", user_id=None),
        message("e", channel_id="", user_id=""),
        message("f", channel_id="lost", user_id="gone"),
    )
    chat.delete("messages", "f")
    channels, users = asked(chat, unknown_references)
    assert channels == References("channels", messages=1, unknown=1, ids=("lost",), without=1)
    assert users == References(
        "users",
        messages=8,
        unknown=6,
        ids=("ghost4", "ghost0", "ghost1", "ghost2", "ghost3"),
        without=2,
    )


def test_what_can_not_be_asked_is_said(empty: Workspace) -> None:
    guide = {"client": {"base_url": "https://api.example.com"}, "resources": ["messages", "users"]}
    empty.connection = connection_from_dict(SCHEMA, guide)
    empty.put("messages", message("m1"))
    channels, users = asked(empty, unknown_references)
    assert channels == References("channels", skipped="the connection has no resource `channels`")
    assert (users.skipped, users.messages) == (None, 1)
    empty.execute(f"DROP TABLE {SCHEMA}.messages")
    assert asked(empty, volume, now=NOW).skipped == "there is no table chat.messages yet: sync messages first"


# ---- volume --------------------------------------------------------------------------------------


def mondays(workspace: Workspace, *numbers: int) -> None:
    """Write so many messages on the Monday of each week, the latest first, beginning with the last one."""
    for week, number in enumerate(numbers):
        day = datetime(2024, 3, 11, 12, tzinfo=UTC) - timedelta(weeks=week)
        rows = [message(f"{week}-{n}", day.isoformat()) for n in range(number)]
        if rows:
            workspace.put("messages", *rows)


def test_the_last_whole_day_is_compared_with_the_same_weekday_before(empty: Workspace) -> None:
    mondays(empty, 20, 16, 17, 15, 16, 0, 16, 18, 14, 99)
    empty.put(
        "messages", message("other-day", "2024-03-10T12:00:00Z"), message("today", "2024-03-12T01:00:00Z")
    )
    empty.delete("messages", "0-0")
    found = asked(empty, volume, now=NOW)
    assert found == Volume(MONDAY, 19, (16, 17, 15, 16, 0, 16, 18, 14), (4, 28))
    assert found.is_usual is True


@pytest.mark.parametrize(("number", "usual"), [(3, False), (4, True), (28, True), (29, False)])
def test_a_day_outside_of_the_range_is_unusual(empty: Workspace, number: int, usual: bool) -> None:
    mondays(empty, number, *[16] * 8)
    assert asked(empty, volume, now=NOW).is_usual is usual


def test_with_little_history_nothing_is_usual_or_unusual(empty: Workspace) -> None:
    assert asked(empty, volume, now=NOW) == Volume(MONDAY)
    mondays(empty, 20, 16, 0, 15)
    found = asked(empty, volume, now=NOW)
    assert found == Volume(MONDAY, 20, (16, 0, 15))
    assert found.is_usual is None


def test_days_before_the_first_message_are_no_history(empty: Workspace) -> None:
    mondays(empty, 0, 16, 16, 16, 16)
    assert asked(empty, volume, now=NOW) == Volume(MONDAY, 0, (16,) * 4, (4, 28))


def test_the_last_whole_day_ends_where_people_live(empty: Workspace) -> None:
    empty.connection = connection("Pacific/Auckland")
    empty.put("messages", message("m1", "2024-03-11T11:30:00Z"), message("m2", "2024-03-10T11:30:00Z"))
    # It is half past midnight on the 12th there, and the 11th began at 11:00 on the 10th in UTC.
    found = asked(empty, volume, now=datetime(2024, 3, 11, 11, 30, tzinfo=UTC))
    assert (found.day, found.messages) == (MONDAY, 1)


@given(st.lists(st.integers(0, 10_000), min_size=4, max_size=8))
def test_the_median_is_always_usual(history: list[int]) -> None:
    low, high = usual_range(tuple(history)) or (0, -1)
    middle = sorted(history)[len(history) // 2]
    assert 0 <= low <= sorted(history)[(len(history) - 1) // 2] <= middle <= high
