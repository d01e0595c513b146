"""What each model says about hand-made rows."""

from datetime import UTC, date, datetime, timedelta

import pytest

from messaging_assets.warehouse.analytics.model import read_models
from messaging_assets.warehouse.columns import ColumnType
from messaging_assets_tests.warehouse.analytics.workspace import (
    TABLES,
    Workspace,
    column_of,
    connection,
    dates,
    message,
    named,
    reply,
)

MONDAY = date(2024, 3, 4)


# ---- an empty workspace, and one without messages ------------------------------------------------


def test_in_an_empty_workspace_every_table_exists_and_is_empty(empty: Workspace) -> None:
    results = empty.refresh()
    assert [name for name, result in results.items() if result.skipped] == []
    assert empty.tables_now() == {model.name: [] for model in read_models()}


def test_without_messages_users_and_channels_are_listed(chat: Workspace) -> None:
    chat.refresh()
    assert chat.rows("user_activity") == [
        ("ann", "Ann", None, None, 0, 0, 0, None),
        ("ben", "Ben", None, None, 0, 0, 0, None),
    ]
    assert chat.rows("channel_health") == [
        ("general", "General", None, None, 0, 0, None, "dead"),
        ("random", "Random", None, None, 0, 0, None, "dead"),
    ]
    assert chat.rows("daily_workspace_activity") == [(date(2024, 3, 1), 0, 0, 0, 0, 2, 2)]
    for name in ("messages_enriched", "daily_channel_activity", "response_times", "hourly_heatmap"):
        assert chat.rows(name) == []


# ---- messages_enriched ---------------------------------------------------------------------------


def test_a_message_gets_its_names_its_day_and_its_hour(chat: Workspace) -> None:
    chat.put("messages", message("m1", "2024-03-04T10:30:00Z", text="äöü"))
    written = datetime(2024, 3, 4, 10, 30, tzinfo=UTC)
    (row,) = chat.fresh("messages_enriched")
    assert row[:-1] == (
        "m1", written, MONDAY, 10, "general", "General", "ann", "Ann", None, 3, False, False, False, None,
    )  # fmt: skip


def test_unknown_and_nameless_ones_are_kept_and_told_apart(chat: Workspace) -> None:
    chat.put("users", named("cat", None), named("dan", ""))
    chat.put("channels", named("nameless", None))
    chat.put(
        "messages",
        message("m1", channel_id="lost", user_id="ghost"),
        message("m2", channel_id=None, user_id=None),
        message("m3", channel_id="nameless", user_id="cat"),
        message("m4", channel_id="", user_id="dan"),
    )
    assert chat.fresh("messages_enriched", "id", "channel_id", "channel_name", "user_id", "user_name") == [
        ("m1", "lost", "unknown", "ghost", "unknown"),
        ("m2", None, "unknown", None, "unknown"),
        ("m3", "nameless", "unnamed", "cat", "unnamed"),
        ("m4", None, "unknown", "dan", "unnamed"),
    ]


def test_deleted_users_and_channels_keep_their_names(chat: Workspace) -> None:
    chat.put("messages", message("m1"))
    chat.delete("users", "ann")
    chat.delete("channels", "general")
    chat.refresh()
    assert chat.rows("messages_enriched", "channel_name", "user_name") == [("General", "Ann")]
    assert chat.rows("daily_channel_activity", "channel_name") == [("General",)]
    assert chat.rows("user_activity", "user_name", "messages") == [("Ann", 1), ("Ben", 0)]


def test_edits_replies_and_deletions_are_marked(chat: Workspace) -> None:
    chat.put(
        "messages",
        message("edited", updated_at="2024-03-04T10:00:01Z"),
        message("never-updated", updated_at=None),
        message("orphan", thread_parent_id="gone"),
        message("root", thread_parent_id="root"),
        message("plain", thread_parent_id="", text=None),
        message("dead"),
    )
    chat.delete("messages", "dead", at="2024-03-05T00:00:00Z")
    rows = chat.fresh("messages_enriched", "id", "is_edited", "is_reply", "is_deleted", "deleted_at")
    assert rows == [
        ("dead", False, False, True, datetime(2024, 3, 5, tzinfo=UTC)),
        ("edited", True, False, False, None),
        ("never-updated", False, False, False, None),
        ("orphan", False, True, False, None),
        ("plain", False, False, False, None),
        ("root", False, False, False, None),
    ]
    assert chat.rows("messages_enriched", "length")[4] == (None,)


def test_a_message_without_created_at_is_kept_and_belongs_to_no_day(chat: Workspace) -> None:
    chat.put("messages", message("m1", None, updated_at="2024-03-04T10:00:00Z"))
    chat.refresh()
    assert chat.rows("messages_enriched", "id", "day", "hour", "is_edited") == [("m1", None, None, False)]
    assert chat.rows("user_activity", "messages", "days_active", "first_seen")[0] == (1, 0, None)
    for name in ("daily_channel_activity", "hourly_heatmap", "response_times"):
        assert chat.rows(name) == []
    assert chat.rows("channel_health", "last_message", "as_of", "status")[0] == (None, None, "dead")
    assert chat.rows("daily_workspace_activity", "messages") == [(0,)]


# ---- daily_channel_activity ----------------------------------------------------------------------


def test_a_day_of_a_channel_is_counted(chat: Workspace) -> None:
    chat.put(
        "messages",
        message("m1"),
        message("m2", user_id="ben", updated_at="2024-03-09T00:00:00Z"),
        message("m3", user_id="ghost", thread_parent_id="m1"),
        message("m4", user_id=None, thread_parent_id="m4"),
        message("m5", user_id="cat", thread_parent_id="m1", updated_at="2024-03-09T00:00:00Z"),
        message("m6", "2024-03-05T10:00:00Z"),
        message("m7", channel_id="lost"),
        message("m8", channel_id=None),
    )
    chat.delete("messages", "m5", "m6")
    assert chat.fresh("daily_channel_activity") == [
        (MONDAY, "general", "General", 4, 1, 3, 1, 1),
        (MONDAY, "lost", "unknown", 1, 0, 1, 0, 0),
        (MONDAY, None, "unknown", 1, 0, 1, 0, 0),
        (date(2024, 3, 5), "general", "General", 0, 0, 0, 0, 1),
    ]


def test_midnight_and_the_clock_changes_part_days_where_people_live(zurich: Workspace) -> None:
    zurich.put(
        "messages",
        message("winter-late", "2024-03-30T22:59:59Z"),  # 23:59:59 on the 30th
        message("winter-early", "2024-03-30T23:00:00Z"),  # 00:00 on the 31st
        message("before-the-change", "2024-03-31T00:59:59Z"),  # 01:59:59
        message("after-the-change", "2024-03-31T01:00:00Z"),  # 03:00
        message("short-day-late", "2024-03-31T21:59:59Z"),  # 23:59:59, an hour earlier than in winter
        message("summer-early", "2024-03-31T22:00:00Z"),  # 00:00 on the 1st
        message("summer-two", "2024-10-27T00:30:00Z"),  # 02:30, the first time
        message("winter-two", "2024-10-27T01:30:00Z"),  # 02:30, the second time
        message("long-day-late", "2024-10-27T22:59:59Z"),  # 23:59:59
    )
    zurich.refresh()
    assert zurich.rows("daily_channel_activity", "day", "messages") == [
        (date(2024, 3, 30), 1),
        (date(2024, 3, 31), 4),
        (date(2024, 4, 1), 1),
        (date(2024, 10, 27), 3),
    ]
    assert dict(zurich.rows("messages_enriched", "id", "hour")) == {
        "winter-late": 23, "winter-early": 0, "before-the-change": 1, "after-the-change": 3,
        "short-day-late": 23, "summer-early": 0, "summer-two": 2, "winter-two": 2, "long-day-late": 23,
    }  # fmt: skip
    assert zurich.rows("hourly_heatmap") == [
        (1, 0, 1), (6, 23, 1), (7, 0, 1), (7, 1, 1), (7, 2, 2), (7, 3, 1), (7, 23, 2),
    ]  # fmt: skip


# ---- daily_workspace_activity --------------------------------------------------------------------


def test_active_users_are_different_users_of_one_seven_and_twenty_eight_days(empty: Workspace) -> None:
    empty.put(
        "messages",
        message("a1", "2024-03-01T10:00:00Z", user_id="ann"),
        message("a2", "2024-03-01T11:00:00Z", user_id="ann"),
        message("b1", "2024-03-03T10:00:00Z", user_id="ben"),
        message("a3", "2024-03-07T10:00:00Z", user_id="ann"),
        message("n1", "2024-03-08T10:00:00Z", user_id=None),
        message("c1", "2024-04-08T10:00:00Z", user_id="cat"),
    )
    columns = ("day", "active_users_1d", "active_users_7d", "active_users_28d", "messages")
    by_day = {row[0]: row[1:] for row in empty.fresh("daily_workspace_activity", *columns)}
    assert sorted(by_day) == [date(2024, 3, 1) + timedelta(days=n) for n in range(39)]
    assert by_day[date(2024, 3, 1)] == (1, 1, 1, 2)
    assert by_day[date(2024, 3, 2)] == (0, 1, 1, 0)
    assert by_day[date(2024, 3, 3)] == (1, 2, 2, 1)
    assert by_day[date(2024, 3, 7)] == (1, 2, 2, 1)
    assert by_day[date(2024, 3, 8)] == (0, 2, 2, 1)
    assert by_day[date(2024, 3, 9)] == (0, 2, 2, 0)
    assert by_day[date(2024, 3, 10)] == (0, 1, 2, 0)
    assert by_day[date(2024, 3, 13)] == (0, 1, 2, 0)
    assert by_day[date(2024, 3, 14)] == (0, 0, 2, 0)
    assert by_day[date(2024, 3, 30)] == (0, 0, 2, 0)
    assert by_day[date(2024, 3, 31)] == (0, 0, 1, 0)
    assert by_day[date(2024, 4, 3)] == (0, 0, 1, 0)
    assert by_day[date(2024, 4, 4)] == (0, 0, 0, 0)
    assert by_day[date(2024, 4, 8)] == (1, 1, 1, 1)


def test_new_users_and_channels_count_on_their_day_even_if_deleted_later(empty: Workspace) -> None:
    empty.put("users", named("ann", "Ann"), named("ben", "Ben"), named("cat", "Cat", None))
    empty.put("channels", named("general", "General", "2024-03-03T00:00:00Z"))
    empty.put("messages", message("m1", "2024-02-28T00:00:00Z"))
    empty.delete("users", "ben")
    empty.delete("channels", "general")
    empty.delete("messages", "m1")
    assert empty.fresh("daily_workspace_activity") == [
        (date(2024, 3, 1), 0, 0, 0, 0, 2, 0),
        (date(2024, 3, 2), 0, 0, 0, 0, 0, 0),
        (date(2024, 3, 3), 0, 0, 0, 0, 0, 1),
    ]


def test_one_wrong_date_does_not_make_thousands_of_days(empty: Workspace) -> None:
    empty.put(
        "messages",
        message("m1", "1970-01-01T00:00:00Z"),
        message("m2", "2024-03-04T00:00:00Z"),
        message("m3", "2025-03-04T00:00:00Z"),
    )
    rows = empty.fresh("daily_workspace_activity", "day", "active_users_28d")
    assert len(rows) == 366 + 366
    assert rows[365:368] == [(date(1971, 1, 1), 0), (MONDAY, 1), (date(2024, 3, 5), 1)]
    assert rows[-1] == (date(2025, 3, 4), 1)


# ---- user_activity -------------------------------------------------------------------------------


def test_what_a_user_did_is_summed_up(chat: Workspace) -> None:
    chat.put(
        "messages",
        message("m1", "2024-03-04T23:59:59Z"),
        message("m2", "2024-03-05T00:00:00Z", channel_id="random", thread_parent_id="m1"),
        message("m3", "2024-03-05T01:00:00Z", channel_id="lost", thread_parent_id="m3"),
        message("m4", "2024-03-05T02:00:00Z", channel_id=None),
        message("m5", "2024-03-06T00:00:00Z", channel_id="later"),
        message("g1", user_id="ghost"),
        message("g2", user_id="vanished"),
        message("n1", user_id=None, thread_parent_id="m1"),
    )
    chat.delete("messages", "m5", "g2")
    at = datetime(2024, 3, 4, 10, tzinfo=UTC)
    assert chat.fresh("user_activity") == [
        (
            "ann", "Ann", datetime(2024, 3, 4, 23, 59, 59, tzinfo=UTC), datetime(2024, 3, 5, 2, tzinfo=UTC),
            4, 3, 2, 0.25,
        ),
        ("ben", "Ben", None, None, 0, 0, 0, None),
        ("ghost", "unknown", at, at, 1, 1, 1, 0.0),
        (None, "unknown", at, at, 1, 1, 1, 1.0),
    ]  # fmt: skip


# ---- channel_health ------------------------------------------------------------------------------


def test_channels_are_busy_quiet_or_dead_as_of_the_newest_message(empty: Workspace) -> None:
    empty.put("channels", *(named(name, name.title()) for name in ("busy", "dead", "gone", "quiet")))

    def written(channel: str | None, *days_ago: int) -> None:
        newest = datetime(2024, 6, 30, 12, tzinfo=UTC)
        stamps = [(newest - timedelta(days=days)).isoformat() for days in days_ago]
        empty.put(
            "messages",
            *(message(f"{channel}-{n}", at, channel_id=channel) for n, at in enumerate(stamps)),
        )

    written("busy", *[0] * 28, *[28] * 7)
    written("quiet", *[27] * 27, *[55] * 54, 56)
    written("dead", 28)
    written("lost", 0)
    written(None, 1)
    written("gone", 0)
    empty.delete("channels", "gone")
    empty.put("messages", message("late", "2024-07-02T00:00:00Z"))
    empty.delete("messages", "late")
    as_of = date(2024, 6, 30)
    columns = ("channel_id", "as_of", "messages_28d", "messages_28d_before", "trend", "status")
    assert empty.fresh("channel_health", *columns) == [
        ("busy", as_of, 28, 7, 3.0, "busy"),
        ("dead", as_of, 0, 1, -1.0, "dead"),
        ("lost", as_of, 1, 0, None, "quiet"),
        ("quiet", as_of, 27, 54, -0.5, "quiet"),
        (None, as_of, 1, 0, None, "quiet"),
    ]
    last = dict(empty.rows("channel_health", "channel_id", "last_message"))
    assert last["dead"] == datetime(2024, 6, 2, 12, tzinfo=UTC)


def test_a_message_from_the_future_does_not_make_every_channel_look_dead(chat: Workspace) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    chat.put("messages", message("now", yesterday.isoformat()), message("future", "2999-01-01T00:00:00Z"))
    ((as_of, number, status), _) = chat.fresh("channel_health", "as_of", "messages_28d", "status")
    assert (as_of, number, status) == (yesterday.date(), 1, "quiet")


# ---- response_times ------------------------------------------------------------------------------


def test_the_first_reply_by_another_author_counts(chat: Workspace) -> None:
    chat.put(
        "messages",
        message("t1", "2024-03-04T10:00:00Z"),
        reply("r1", "t1", "2024-03-04T10:00:10Z", "ann"),  # by the same author
        reply("r2", "t1", "2024-03-04T10:01:00Z", "ben"),
        reply("r3", "t1", "2024-03-04T10:02:00Z", "ghost"),
        reply("r4", "t1", "2024-03-04T09:59:00Z", "ben"),  # older than the start
        reply("r5", "t1", "2024-03-04T10:00:01Z", None),  # nobody knows by whom
        message("t2", "2024-03-10T23:59:00Z"),
        reply("r6", "t2", "2024-03-11T00:02:00Z", "ghost", channel_id="random"),
        message("t3", "2024-03-11T00:00:00Z"),
        reply("r7", "t3", "2024-03-11T00:00:30Z", "ben"),
        message("lonely"),
    )
    assert chat.fresh("response_times") == [
        (MONDAY, "general", "General", 2, 120.0, pytest.approx(168.0)),
        (date(2024, 3, 11), "general", "General", 1, 30.0, 30.0),
    ]


def test_threads_without_a_living_start_or_reply_do_not_count(chat: Workspace) -> None:
    chat.put(
        "messages",
        reply("r1", "missing", "2024-03-04T10:01:00Z", "ben"),
        message("deleted-start"),
        reply("r2", "deleted-start", "2024-03-04T10:01:00Z", "ben"),
        message("deleted-reply"),
        reply("r3", "deleted-reply", "2024-03-04T10:01:00Z", "ben"),
        message("nobody", user_id=None),
        reply("r4", "nobody", "2024-03-04T10:01:00Z", "ben"),
        message("undated", None),
        reply("r5", "undated", "2024-03-04T10:01:00Z", "ben"),
        message("answered-late", "2024-03-04T10:00:00Z", thread_parent_id="answered-late"),
        reply("r6", "answered-late", "2024-03-04T10:00:01Z", "ben"),
        reply("r7", "answered-late", "2024-03-04T11:00:00Z", "ben"),
        reply("r8", "r7", "2024-03-04T12:00:00Z", "ann"),  # answers a reply
    )
    chat.delete("messages", "deleted-start", "r3", "r6")
    assert chat.fresh("response_times", "threads", "median_seconds") == [(1, 3600.0)]


def test_threads_of_unknown_channels_are_kept(chat: Workspace) -> None:
    for channel in ("lost", None):
        chat.put(
            "messages",
            message(f"t-{channel}", channel_id=channel),
            reply(f"r-{channel}", f"t-{channel}", "2024-03-04T10:00:05Z", "ben"),
        )
    assert chat.fresh("response_times", "channel_id", "channel_name", "threads") == [
        ("lost", "unknown", 1),
        (None, "unknown", 1),
    ]


def test_waiting_over_a_clock_change_is_measured_in_real_seconds(zurich: Workspace) -> None:
    zurich.put(
        "messages",
        message("spring", "2024-03-30T23:30:00Z"),  # Sunday 00:30, in the week of Monday the 25th
        reply("r1", "spring", "2024-03-31T22:30:00Z", "ben"),  # Monday 00:30, a day of 23 hours later
        message("autumn", "2024-10-26T22:30:00Z"),
        reply("r2", "autumn", "2024-10-27T23:30:00Z", "ben"),  # a day of 25 hours later
    )
    assert zurich.fresh("response_times", "week", "median_seconds") == [
        (date(2024, 3, 25), 23 * 3600.0),
        (date(2024, 10, 21), 25 * 3600.0),
    ]


# ---- hourly_heatmap ------------------------------------------------------------------------------


def test_messages_are_counted_by_weekday_and_hour(chat: Workspace) -> None:
    chat.put(
        "messages",
        message("m1", "2024-03-04T10:00:00Z"),
        message("m2", "2024-03-11T10:59:59Z", channel_id="lost", user_id=None),
        message("m3", "2024-03-10T23:59:59Z"),
        message("m4", "2024-03-10T22:00:00Z"),
    )
    chat.delete("messages", "m4")
    assert chat.fresh("hourly_heatmap") == [(1, 10, 2), (7, 23, 1)]


# ---- ids and other columns of other types --------------------------------------------------------


def test_ids_may_be_numbers_in_one_table_and_texts_in_another(empty: Workspace) -> None:
    numbers = {
        "id": ColumnType.INTEGER,
        "channel_id": ColumnType.INTEGER,
        "thread_parent_id": ColumnType.INTEGER,
    }
    tables = {
        "users": {**TABLES["users"], "id": ColumnType.INTEGER},
        "channels": TABLES["channels"],
        "messages": {**TABLES["messages"], **numbers},
    }
    other = Workspace(empty.path.with_name("numbers.duckdb"), connection(), tables)
    other.put("users", named(1, "Ann"), named(2, "Ben"))
    other.put("channels", named("7", "General"), named("odd", "Odd"))
    other.put(
        "messages",
        message(10, channel_id=7, user_id="1"),
        reply(11, 10, "2024-03-04T10:00:05Z", "2", channel_id=7),
    )
    other.refresh()
    assert other.rows("messages_enriched", "id", "channel_name", "user_name", "is_reply") == [
        ("10", "General", "Ann", False),
        ("11", "General", "Ben", True),
    ]
    assert other.rows("response_times", "channel_id", "threads", "median_seconds") == [("7", 1, 5.0)]


def test_times_in_a_column_of_texts_are_read_where_they_are_times(empty: Workspace) -> None:
    tables = {
        **TABLES,
        "messages": {**TABLES["messages"], "created_at": ColumnType.TEXT, "text": ColumnType.JSON},
    }
    other = Workspace(empty.path.with_name("texts.duckdb"), connection("Europe/Zurich"), tables)
    other.put(
        "messages",
        message("m1", "2024-03-04T23:30:00Z", updated_at=None, text='"hi"'),
        message("m2", "2024-03-04T23:30:00+01:00", updated_at=None, text='{"a":1}'),
        message("m3", "2024-03-04T23:30:00", updated_at=None, text="null"),
        message("m4", "yesterday", updated_at=None, text=None),
    )
    assert other.fresh("messages_enriched", "id", "day", "length") == [
        ("m1", date(2024, 3, 5), 2),
        ("m2", MONDAY, 7),
        ("m3", date(2024, 3, 5), None),
        ("m4", None, None),
    ]


def test_a_change_of_a_name_reaches_every_day(chat: Workspace) -> None:
    chat.put("messages", message("m1"), message("m2", "2024-03-06T10:00:00Z"))
    chat.refresh()
    chat.put("channels", named("general", "Everybody"))
    results = chat.refresh()
    assert results["daily_channel_activity"].days == dates("2024-03-04", "2024-03-06")
    assert column_of(chat.rows("daily_channel_activity", "channel_name")) == ["Everybody"] * 2
