"""The models' files: what is read off them, and the lineage that is derived from their SQL."""

from pathlib import Path

import duckdb
import pytest
from hatchling.builders.wheel import WheelBuilder

from messaging_assets.api.rules import ANALYTICS_COLUMNS
from messaging_assets.warehouse.analytics.model import (
    FOLDER,
    NAMES,
    RAW_TABLES,
    Model,
    ModelColumn,
    RawColumn,
    model_named,
    read_model,
    read_models,
)
from messaging_assets.warehouse.sql import quoted

ROOT = Path(__file__).parents[3]
# Where each column comes from: a model that changes has to change this too, on purpose.
LINEAGE = {
    "messages_enriched": {
        "id": "messages.id",
        "created_at": "messages.created_at",
        "day": "messages.created_at",
        "hour": "messages.created_at",
        "channel_id": "messages.channel_id",
        "channel_name": "channels.id channels.name",
        "user_id": "messages.user_id",
        "user_name": "users.id users.name",
        "thread_parent_id": "messages.thread_parent_id",
        "length": "messages.text",
        "is_reply": "messages.id messages.thread_parent_id",
        "is_edited": "messages.created_at messages.updated_at",
        "is_deleted": "messages.deleted_at",
        "deleted_at": "messages.deleted_at",
        "_row_hash": "messages._row_hash",
    },
    "daily_channel_activity": {
        "day": "messages.created_at",
        "channel_id": "messages.channel_id",
        "channel_name": "channels.id channels.name",
        "messages": "messages.deleted_at messages.id",
        "replies": "messages.deleted_at messages.id messages.thread_parent_id",
        "authors": "messages.deleted_at messages.user_id",
        "edits": "messages.created_at messages.deleted_at messages.id messages.updated_at",
        "deletions": "messages.deleted_at messages.id",
    },
    "daily_workspace_activity": {
        "day": "channels.created_at messages.created_at messages.user_id users.created_at",
        "active_users_1d": "messages.user_id",
        "active_users_7d": "channels.created_at messages.created_at messages.user_id users.created_at",
        "active_users_28d": "channels.created_at messages.created_at messages.user_id users.created_at",
        "messages": "messages.id",
        "new_users": "users.id",
        "new_channels": "channels.id",
    },
    "user_activity": {
        "user_id": "messages.user_id users.id",
        "user_name": "users.id users.name",
        "first_seen": "messages.created_at",
        "last_seen": "messages.created_at",
        "messages": "messages.id",
        "channels": "messages.channel_id",
        "days_active": "messages.created_at",
        "reply_share": "messages.id messages.thread_parent_id",
    },
    "channel_health": {
        "channel_id": "channels.id messages.channel_id",
        "channel_name": "channels.id channels.name",
        "last_message": "messages.created_at",
        "as_of": "messages.created_at",
        "messages_28d": "messages.created_at messages.id",
        "messages_28d_before": "messages.created_at messages.id",
        "trend": "messages.created_at messages.id",
        "status": "messages.created_at messages.id",
    },
    "response_times": {
        "week": "messages.created_at",
        "channel_id": "messages.channel_id",
        "channel_name": "channels.id channels.name",
        "threads": "messages.id",
        "median_seconds": "messages.created_at",
        "p90_seconds": "messages.created_at",
    },
    "hourly_heatmap": {
        "weekday": "messages.created_at",
        "hour": "messages.created_at",
        "messages": "messages.id",
    },
}

MODELS = pytest.mark.parametrize("model", read_models(), ids=lambda model: model.name)


def test_every_file_is_a_model() -> None:
    assert sorted(file.stem for file in FOLDER.iterdir()) == sorted(NAMES)
    assert [model.name for model in read_models()] == list(NAMES)
    assert model_named("user_activity").path == FOLDER / "user_activity.sql"
    with pytest.raises(KeyError):
        model_named("nobody")


@MODELS
def test_everything_is_described(model: Model) -> None:
    assert len(model.description) > 100
    assert "Grain" not in model.description
    assert [column.name for column in model.columns if len(column.description) < 6] == []
    assert [column.name for column in model.columns if not column.description.endswith(".")] == []
    assert model.column("user_name" if model.name == "user_activity" else model.grain[0]).description


@MODELS
def test_what_becomes_of_deleted_rows_and_of_unknown_ones_is_said(model: Model) -> None:
    said = model.description.lower()
    assert "unknown" in said
    assert (
        "deleted messages" in said
        or [c.name for c in _counting(model) if "deleted" not in c.description] == []
    )


def _counting(model: Model) -> list[ModelColumn]:
    return [column for column in model.columns if RawColumn("messages", "deleted_at") in column.upstream]


@MODELS
def test_grain_and_period_are_columns(model: Model) -> None:
    names = [column.name for column in model.columns]
    assert set(model.grain) <= set(names)
    assert set(model.compared) <= set(names)
    assert model.period in (None, "day", "week")
    assert model.period is None or model.period in names
    with pytest.raises(KeyError):
        model.column("nobody")


@MODELS
def test_the_lineage_is_that_of_the_sql(model: Model) -> None:
    found = {column.name: " ".join(map(str, column.upstream)) for column in model.columns}
    assert found == LINEAGE[model.name]


@MODELS
def test_every_column_comes_from_a_raw_column_that_the_model_reads(model: Model) -> None:
    assert [column.name for column in model.columns if not column.upstream] == []
    upstream = {raw for column in model.columns for raw in column.upstream}
    assert upstream <= {RawColumn(table, name) for table, names in model.reads.items() for name in names}


@MODELS
def test_the_model_reads_what_duckdb_can_not_do_without(model: Model) -> None:
    """DuckDB refuses the query as soon as one of the columns is not there, and asks for no others."""
    with duckdb.connect() as database:
        for table, names in model.reads.items():
            _create(database, table, names)
        database.execute(f"EXPLAIN {model.sql}")
        for table, names in model.reads.items():
            for name in names:
                _create(database, table, (*(other for other in names if other != name), "other"))
                with pytest.raises(duckdb.BinderException):
                    database.execute(f"EXPLAIN {model.sql}")
            _create(database, table, names)


def _create(database: duckdb.DuckDBPyConnection, table: str, names: tuple[str, ...]) -> None:
    columns = ", ".join(f"{quoted(name)} {RAW_TABLES[table].get(name, 'VARCHAR')}" for name in names)
    database.execute(f"CREATE OR REPLACE TABLE {quoted(table)} ({columns})")


def test_a_column_made_of_another_one_has_another_lineage(tmp_path: Path) -> None:
    model = model_named("daily_channel_activity")
    changed = tmp_path / "changed.sql"
    changed.write_text(model.sql.replace("count(DISTINCT messages.user_id)", "count(DISTINCT users.name)"))
    changed.write_text(changed.read_text().replace("WHERE messages.created_at", JOIN_OF_USERS))
    authors = read_model(changed).column("authors")
    assert authors.upstream == (RawColumn("messages", "deleted_at"), RawColumn("users", "name"))
    assert read_model(changed).reads["users"] == ("id", "name")


JOIN_OF_USERS = "LEFT JOIN users ON users.id = messages.user_id WHERE messages.created_at"


def test_a_column_without_a_comment_is_refused(tmp_path: Path) -> None:
    model = model_named("hourly_heatmap")
    changed = tmp_path / "changed.sql"
    changed.write_text(model.sql.replace("-- Messages, without deleted ones.", ""))
    with pytest.raises(ValueError, match="the column messages needs one comment"):
        read_model(changed)


@MODELS
def test_an_analyst_can_run_the_file_as_it_stands(model: Model) -> None:
    """With the schema of the raw tables as search path, and the time zone set."""
    with duckdb.connect() as database:
        database.execute("CREATE SCHEMA messaging")
        database.execute("SET search_path = 'messaging'; SET TimeZone = 'Europe/Zurich'")
        for table, types in RAW_TABLES.items():
            _create(database, table, tuple(types))
        found = database.execute(model.path.read_text(encoding="utf-8"))
        assert [column[0] for column in found.description or ()] == [column.name for column in model.columns]
        assert found.fetchall() == []


def test_the_words_of_the_models_are_those_of_the_connection_file() -> None:
    own = {"deleted_at", "_row_hash"}
    read = {
        (table, name)
        for model in read_models()
        for table, names in model.reads.items()
        for name in names
        if name not in own
    }
    assert read == {(table, name) for table, names in ANALYTICS_COLUMNS.items() for name in names}


def test_the_files_are_in_the_wheel() -> None:
    included = {file.path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {str(model.path) for model in read_models()} <= included
