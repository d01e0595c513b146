"""What raw tables are called, and what becomes of a model whose columns are not there."""

from dataclasses import replace
from typing import Any

import pytest

from messaging_assets.api.connection import connection_from_dict
from messaging_assets.warehouse.analytics.model import RawColumn
from messaging_assets.warehouse.analytics.sources import api_field, warehouse_column
from messaging_assets.warehouse.columns import ColumnType
from messaging_assets_tests.warehouse.analytics.workspace import (
    SCHEMA,
    TABLES,
    TEXT,
    TIME,
    Workspace,
    connection,
    message,
    named,
    reply,
)

OTHER_NAMES = {
    "messages": {
        "channel_id": "room",
        "user_id": "author",
        "thread_parent_id": "parent",
        "updated_at": "edited",
    },
    "channels": {"name": "title"},
}
OTHER_TABLES = {
    "users": TABLES["users"],
    "channels": {"id": TEXT, "title": TEXT, "created_at": TIME},
    "messages": {
        "id": TEXT,
        "room": TEXT,
        "author": TEXT,
        "text": TEXT,
        "parent": TEXT,
        "created_at": TIME,
        "edited": TIME,
    },
}


def without(*names: str) -> dict[str, Any]:
    """The tables, of messages some columns missing."""
    messages = {name: kind for name, kind in TABLES["messages"].items() if name not in names}
    return {**TABLES, "messages": messages}


def workspace(empty: Workspace, tables: Any, **names: Any) -> Workspace:
    other = Workspace(empty.path.with_name("other.duckdb"), connection("UTC", names), tables)
    other.put("messages", message("m1"))
    return other


def skipped(workspace: Workspace) -> dict[str, str]:
    results = workspace.refresh()
    return {name: result.skipped for name, result in results.items() if result.skipped}


# ---- columns of other names ----------------------------------------------------------------------


def test_columns_are_read_by_the_names_that_the_connection_gives_them(empty: Workspace) -> None:
    other = Workspace(empty.path.with_name("other.duckdb"), connection("UTC", OTHER_NAMES), OTHER_TABLES)
    other.put("users", named("ann", "Ann"))
    other.put("channels", {"id": "general", "title": "General", "created_at": None})
    other.put(
        "messages",
        {"id": "m1", "room": "general", "author": "ann", "created_at": "2024-03-04T10:00:00Z"},
        {
            "id": "m2",
            "room": "general",
            "author": "ben",
            "parent": "m1",
            "created_at": "2024-03-04T10:00:09Z",
        },
    )
    assert skipped(other) == {}
    columns = ("id", "channel_id", "channel_name", "user_name", "is_reply")
    assert other.rows("messages_enriched", *columns) == [
        ("m1", "general", "General", "Ann", False),
        ("m2", "general", "General", "unknown", True),
    ]
    assert other.rows("response_times", "median_seconds") == [(9.0,)]


def test_a_raw_column_leads_to_its_column_and_to_the_field_of_the_api() -> None:
    renamed = connection("UTC", OTHER_NAMES)
    channel = RawColumn("messages", "channel_id")
    assert str(channel) == "messages.channel_id"
    assert warehouse_column(connection(), channel) == "channel_id"
    assert warehouse_column(renamed, channel) == "room"
    assert api_field(connection(), channel) == "channel_id"
    assert api_field(renamed, channel) == "room"
    assert api_field(renamed, channel, {"theRoom": "room", "channelId": "channel_id"}) == "theRoom"
    assert (
        api_field(renamed, RawColumn("messages", "deleted_at"), {"deleted_at": "source_deleted_at"}) is None
    )
    assert api_field(renamed, RawColumn("users", "_row_hash")) is None


# ---- what is not there ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "models"),
    [
        ("text", {"messages_enriched"}),
        ("updated_at", {"messages_enriched", "daily_channel_activity"}),
        (
            "thread_parent_id",
            {"messages_enriched", "daily_channel_activity", "user_activity", "response_times"},
        ),
        (
            "user_id",
            {
                "messages_enriched",
                "daily_channel_activity",
                "daily_workspace_activity",
                "user_activity",
                "response_times",
            },
        ),
    ],
)
def test_a_model_whose_column_is_missing_is_skipped_and_the_others_work(
    empty: Workspace, missing: str, models: set[str]
) -> None:
    other = workspace(empty, without(missing))
    found = skipped(other)
    assert set(found) == models
    assert set(found.values()) == {
        f"chat.messages has no column `{missing}`; if it is called something else there, name it in the "
        f"connection file under `analytics.columns.messages.{missing}`"
    }
    assert other.rows("hourly_heatmap") == [(1, 10, 1)]


def test_a_missing_column_that_was_named_is_called_by_its_name(empty: Workspace) -> None:
    other = workspace(empty, TABLES, messages={"channel_id": "room"})
    assert "chat.messages has no column `room`" in skipped(other)["channel_health"]


def test_a_skipped_model_keeps_its_table_and_follows_when_the_column_comes(empty: Workspace) -> None:
    other = workspace(empty, without("text"))
    other.execute(f"ALTER TABLE {SCHEMA}.messages ADD COLUMN text VARCHAR")
    before = other.refresh("messages_enriched")["messages_enriched"]
    other.execute(f"ALTER TABLE {SCHEMA}.messages DROP COLUMN text")
    other.put("channels", named("general", "General"))
    after = other.refresh("messages_enriched")["messages_enriched"]
    assert (after.skipped is not None, after.changed) == (True, False)
    assert (after.rows, after.columns, after.content_version) == (1, before.columns, before.content_version)
    assert after.line().startswith("chat_analytics.messages_enriched is skipped: chat.messages has no column")
    other.execute(f"ALTER TABLE {SCHEMA}.messages ADD COLUMN text VARCHAR")
    assert other.refresh("messages_enriched")["messages_enriched"].written == 1


def test_a_column_that_never_had_a_value_is_no_missing_one(empty: Workspace) -> None:
    """A sync knows the field and makes no column of it."""
    other = workspace(empty, without("thread_parent_id"))
    assert "user_activity" in skipped(other)
    other.seen("messages", {"threadParentId": "thread_parent_id"})
    assert skipped(other) == {}
    assert other.rows("user_activity", "user_id", "reply_share") == [("ann", 0.0)]


def test_an_empty_table_lacks_nothing(empty: Workspace) -> None:
    """A resource that is empty at the source has a table with its first columns."""
    few = {table: {"id": TEXT, "name": TEXT, "created_at": TIME} for table in TABLES}
    other = Workspace(empty.path.with_name("other.duckdb"), connection(), few)
    assert skipped(other) == {}
    assert list(other.tables_now().values()) == [[]] * 7


def test_without_a_table_what_needs_it_is_skipped(empty: Workspace) -> None:
    empty.put("messages", message("m1"))
    empty.execute(f"DROP TABLE {SCHEMA}.channels")
    found = skipped(empty)
    assert set(found) == {
        "messages_enriched",
        "daily_channel_activity",
        "daily_workspace_activity",
        "channel_health",
        "response_times",
    }
    assert set(found.values()) == {"there is no table chat.channels yet: sync channels first"}


def test_without_the_resource_what_needs_it_is_skipped(empty: Workspace) -> None:
    guide = {"client": {"base_url": "https://api.example.com"}, "resources": ["messages", "channels"]}
    empty.connection = connection_from_dict(SCHEMA, guide)
    found = skipped(empty)
    assert set(found) == {"messages_enriched", "daily_workspace_activity", "user_activity"}
    assert set(found.values()) == {"the connection has no resource `users`"}


def test_several_reasons_are_all_told(empty: Workspace) -> None:
    other = workspace(empty, without("text", "updated_at"))
    other.execute(f"DROP TABLE {SCHEMA}.users")
    reason = skipped(other)["messages_enriched"]
    assert reason.count("; ") >= 2
    for told in ("`text`", "`updated_at`", "no table chat.users"):
        assert told in reason


def test_a_table_that_no_sync_has_made_is_not_read(empty: Workspace) -> None:
    empty.execute(f"ALTER TABLE {SCHEMA}.users DROP COLUMN _row_hash")
    assert skipped(empty)["user_activity"] == "the table chat.users was not made by a sync"


def test_a_number_is_no_time(empty: Workspace) -> None:
    messages = {**TABLES["messages"], "ts": ColumnType.NUMBER}
    renamed = connection("UTC", {"messages": {"created_at": "ts"}})
    other = Workspace(empty.path.with_name("other.duckdb"), renamed, {**TABLES, "messages": messages})
    other.put("messages", message("m1", ts=1709546400.0))
    assert skipped(other)["hourly_heatmap"].startswith(
        "chat.messages.ts is DOUBLE and not a time; say in the connection file `columns: {ts: "
    )


def test_a_column_that_changes_its_type_makes_no_difference(empty: Workspace) -> None:
    numbers = {**TABLES["messages"], "id": ColumnType.INTEGER, "thread_parent_id": ColumnType.INTEGER}
    other = Workspace(empty.path.with_name("other.duckdb"), connection(), {**TABLES, "messages": numbers})
    other.put("messages", message(1), reply(2, 1, "2024-03-04T10:00:01Z", "ben"))
    other.refresh()
    before = {name: other.rows(name) for name in ("messages_enriched", "response_times")}
    for name in ("id", "thread_parent_id"):
        other.execute(f"ALTER TABLE {SCHEMA}.messages ALTER COLUMN {name} TYPE VARCHAR")
    assert not any(result.changed for result in other.refresh().values())
    assert {name: other.rows(name) for name in before} == before


# ---- tables that keep every version --------------------------------------------------------------


@pytest.mark.parametrize("table", ["users", "channels", "messages"])
def test_of_a_row_that_was_appended_again_the_last_version_counts(empty: Workspace, table: str) -> None:
    resources = tuple(
        replace(resource, write_disposition="append") if resource.table == table else resource
        for resource in empty.connection.resources
    )
    appending = replace(empty, connection=replace(empty.connection, resources=resources))
    appending.put("users", named("ann", "Ann"))
    appending.put("channels", named("general", "General"))
    appending.put("messages", message("m1"))
    column = "text" if table == "messages" else "name"
    appending.execute(
        f"INSERT INTO {SCHEMA}.{table} SELECT * REPLACE ('renamed' AS {column}) FROM {SCHEMA}.{table}"
    )
    appending.refresh()
    shown = {"users": "user_name", "channels": "channel_name", "messages": "length"}[table]
    expected = len("renamed") if table == "messages" else "renamed"
    assert appending.rows("messages_enriched", "id", shown) == [("m1", expected)]
    assert appending.rows("daily_channel_activity", "messages") == [(1,)]
