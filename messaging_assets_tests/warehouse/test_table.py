"""What a table says of itself: columns, digests, keys."""

from collections.abc import Iterator

import duckdb
import numpy as np
import pytest

from messaging_assets.api.digests import key_digest
from messaging_assets.api.row_index import Change, UnseenKeys
from messaging_assets.warehouse import table as table_module
from messaging_assets.warehouse.columns import ColumnType
from messaging_assets.warehouse.errors import WarehouseUnusableError
from messaging_assets.warehouse.table import (
    Column,
    columns_of,
    held_rows,
    inexact_columns,
    is_empty,
    known_types,
    missing_keys,
    refuse_foreign_table,
)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    monkeypatch.setattr(table_module, "BATCH_ROWS", 2)
    with duckdb.connect() as connection:
        connection.execute(
            """CREATE SCHEMA chat;
            CREATE TABLE chat.things
                (id VARCHAR, part BIGINT, big BIGINT, deleted_at TIMESTAMPTZ, _row_hash BIGINT);
            INSERT INTO chat.things VALUES
                ('a', 1, 9007199254740992, NULL, 10), ('b', 1, -9007199254740993, NULL, 20),
                ('b', 2, NULL, now(), 30), ('c', 3, 0, NULL, -40);"""
        )
        yield connection


def test_columns_and_their_types(database: duckdb.DuckDBPyConnection) -> None:
    columns = columns_of(database, "chat", "things")
    assert columns[:2] == (Column("id", "VARCHAR"), Column("part", "BIGINT"))
    assert known_types(columns) == {
        "id": ColumnType.TEXT,
        "part": ColumnType.INTEGER,
        "big": ColumnType.INTEGER,
    }
    assert columns_of(database, "chat", "nothing") == ()


def test_rows_are_known_by_their_digests(database: duckdb.DuckDBPyConnection) -> None:
    index = held_rows(database, "chat", "things", ["id", "part"])
    assert index.held_before == 4
    index.begin_pass()
    rows = [
        ({"id": key, "part": part}, content)
        for key, part, content in [("a", 1, 10), ("b", 1, 21), ("b", 2, 30)]
    ]
    keys = [key_digest(row, ["id", "part"]) or 0 for row, _ in rows]
    # A row that is marked as deleted counts as changed when it comes back, whatever its content.
    assert index.record(keys, [content for _, content in rows]).tolist() == [
        Change.UNCHANGED,
        Change.CHANGED,
        Change.CHANGED,
    ]
    assert missing_keys(database, "chat", "things", ["id", "part"], index.unseen()).to_pydict() == {
        "id": ["c"],
        "part": [3],
    }


def test_only_living_rows_can_be_missing(database: duckdb.DuckDBPyConnection) -> None:
    digests = np.array(sorted(hash(key) for key in ("a", "b")), dtype=np.int64)
    found = missing_keys(database, "chat", "things", ["id"], UnseenKeys(digests))
    assert found.to_pydict() == {"id": ["a", "b"]}
    nothing = missing_keys(database, "chat", "things", ["id"], UnseenKeys(np.zeros(0, dtype=np.int64)))
    assert (nothing.num_rows, nothing.column_names) == (0, ["id"])


def test_an_empty_table_is_empty(database: duckdb.DuckDBPyConnection) -> None:
    assert not is_empty(database, "chat", "things")
    database.execute("DELETE FROM chat.things WHERE deleted_at IS NULL")
    assert not is_empty(database, "chat", "things")
    database.execute("DELETE FROM chat.things")
    assert is_empty(database, "chat", "things")
    assert held_rows(database, "chat", "things", ["id"]).held_before == 0


def test_integers_that_numbers_can_not_hold(database: duckdb.DuckDBPyConnection) -> None:
    assert inexact_columns(database, "chat", "things", ["part", "big", "nothing"]) == ["big"]
    assert inexact_columns(database, "chat", "things", []) == []
    assert inexact_columns(database, "chat", "nothing", ["big"]) == []


def test_tables_of_others_are_refused(database: duckdb.DuckDBPyConnection) -> None:
    refuse_foreign_table(columns_of(database, "chat", "things"), "chat", "things", ["id", "part"])
    refuse_foreign_table((), "chat", "things", ["id"])
    with pytest.raises(WarehouseUnusableError, match="has no _row_hash, deleted_at, other"):
        refuse_foreign_table((Column("id", "VARCHAR"),), "chat", "things", ["id", "other"])
