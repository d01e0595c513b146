"""What the final transaction does to a table, without HTTP and without dlt."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest

from messaging_assets.warehouse.columns import ColumnType
from messaging_assets.warehouse.database import transaction
from messaging_assets.warehouse.publish import (
    Published,
    Target,
    create_table,
    drop_earlier_versions,
    living_rows,
    mark_deleted,
    write_rows,
)
from messaging_assets.warehouse.staging import attach_staging

NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
TYPES = {"id": ColumnType.INTEGER, "value": ColumnType.TEXT}
MERGE = Target("chat", "things", ("id",))


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA chat")
        attach_staging(connection)
        yield connection


def stage(database: duckdb.DuckDBPyConnection, *rows: tuple[int, str, int]) -> None:
    """Put rows of id, value and hash into staging, in the order of their arrival."""
    database.execute("CREATE SCHEMA IF NOT EXISTS _staging.chat_staging")
    database.execute(
        f"CREATE OR REPLACE TABLE {MERGE.staged} "
        "(id BIGINT, value VARCHAR, _row_hash BIGINT, _sequence BIGINT)"
    )
    if rows:
        database.executemany(
            f"INSERT INTO {MERGE.staged} VALUES (?, ?, ?, ?)", [[*row, i] for i, row in enumerate(rows)]
        )


def written(database: duckdb.DuckDBPyConnection, target: Target, *rows: tuple[int, str, int]) -> Published:
    create_table(database, target, TYPES)
    stage(database, *rows)
    drop_earlier_versions(database, target)
    with transaction(database):
        return write_rows(database, target, TYPES)


def held(database: duckdb.DuckDBPyConnection) -> list[tuple[int, str, bool]]:
    return database.execute("SELECT id, value, deleted_at IS NULL FROM chat.things ORDER BY ALL").fetchall()


def mark(database: duckdb.DuckDBPyConnection, target: Target, *ids: int) -> int:
    return mark_deleted(database, target, pa.table({"id": pa.array(ids, pa.int64())}), NOW)


def test_what_is_new_changed_equal_or_twice(database: duckdb.DuckDBPyConnection) -> None:
    assert written(database, MERGE, (1, "a", 1), (2, "b", 2)) == Published(new=2)
    again = written(database, MERGE, (1, "a", 1), (2, "x", 3), (2, "c", 4), (3, "d", 5), (3, "d", 5))
    assert again == Published(new=1, changed=1)
    assert held(database) == [(1, "a", True), (2, "c", True), (3, "d", True)]


def test_a_row_whose_digest_was_lost_is_written_anew(database: duckdb.DuckDBPyConnection) -> None:
    written(database, MERGE, (1, "a", 10))
    database.execute("UPDATE chat.things SET value = 'by hand', _row_hash = NULL")
    written(database, MERGE, (1, "a", 10))
    assert held(database) == [(1, "a", True)]


def test_rows_that_are_as_they_are_held_are_not_written(database: duckdb.DuckDBPyConnection) -> None:
    written(database, MERGE, (1, "a", 1), (2, "b", 2))
    before = database.execute("SELECT rowid, id FROM chat.things ORDER BY id").fetchall()
    assert written(database, MERGE, (1, "x", 9), (1, "a", 1)) == Published()
    assert database.execute("SELECT rowid, id FROM chat.things ORDER BY id").fetchall() == before


def test_marks_come_and_go(database: duckdb.DuckDBPyConnection) -> None:
    written(database, MERGE, (1, "a", 1), (2, "b", 2), (3, "c", 3))
    assert mark(database, MERGE, 1, 2, 99) == 2
    assert mark(database, MERGE, 1) == 0
    assert held(database) == [(1, "a", False), (2, "b", False), (3, "c", True)]
    assert living_rows(database, MERGE) == (1, None)
    assert written(database, MERGE, (1, "a", 1), (2, "x", 9)) == Published(restored=2)
    assert held(database) == [(1, "a", True), (2, "x", True), (3, "c", True)]


def test_replacing_removes_what_merging_marks(database: duckdb.DuckDBPyConnection) -> None:
    replace = Target("chat", "things", ("id",), "replace")
    written(database, replace, (1, "a", 1), (2, "b", 2))
    assert mark(database, replace, 1) == 1
    assert held(database) == [(2, "b", True)]


def test_appending_keeps_every_version(database: duckdb.DuckDBPyConnection) -> None:
    append = Target("chat", "things", ("id",), "append")
    for _ in range(2):
        assert written(database, append, (1, "a", 1), (1, "b", 2)) == Published(new=2)
    assert len(held(database)) == 4


def test_columns_widen_with_what_they_hold(database: duckdb.DuckDBPyConnection) -> None:
    create_table(
        database, MERGE, {"id": ColumnType.INTEGER, "seen_at": ColumnType.TIMESTAMP, "n": ColumnType.NUMBER}
    )
    database.execute(
        "INSERT INTO chat.things (id, seen_at, n) VALUES (1, '2026-03-29 14:00:00+02', 1e20), (2, NULL, NULL)"
    )
    changes = create_table(database, MERGE, {"seen_at": ColumnType.TEXT, "n": ColumnType.JSON})
    assert changes == ("seen_at: TIMESTAMP WITH TIME ZONE became VARCHAR", "n: DOUBLE became JSON")
    (text, number), nothing = database.execute("SELECT seen_at, n FROM chat.things ORDER BY id").fetchall()
    assert text == "2026-03-29T12:00:00.000000Z"
    assert json.loads(number) == 1e20
    assert nothing == (None, None)


def test_the_newest_is_of_living_rows(database: duckdb.DuckDBPyConnection) -> None:
    create_table(database, MERGE, {"id": ColumnType.INTEGER})
    database.execute(
        "INSERT INTO chat.things (id, created_at, deleted_at) VALUES "
        "(1, '2026-03-29 12:00:00+00', NULL), (2, '2027-01-01 00:00:00+00', now())"
    )
    rows, newest = living_rows(database, MERGE)
    assert (rows, newest and newest.astimezone(UTC)) == (1, NOW)
