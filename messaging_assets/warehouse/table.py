"""A raw table as it stands: its columns, the digests of its rows. Reading only; writing is `publish`'s."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import pyarrow as pa

from messaging_assets.api.digests import Digests, key_digest, value_digests
from messaging_assets.api.row_index import RowIndex, UnseenKeys
from messaging_assets.warehouse.columns import EXACT_IN_DOUBLE, ColumnType, column_type_of
from messaging_assets.warehouse.errors import WarehouseUnusableError
from messaging_assets.warehouse.spool import ROW_HASH
from messaging_assets.warehouse.sql import qualified, quoted

# Rows read at once while digests are made; the keys of so many are held as texts meanwhile.
BATCH_ROWS = 20_000
DELETED_AT = "deleted_at"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its name.
        type: DuckDB's name of its type.
        nullable: Whether it admits nulls.
    """

    name: str
    type: str
    nullable: bool = True


def columns_of(database: duckdb.DuckDBPyConnection, schema: str, table: str) -> tuple[Column, ...]:
    """The columns of a table in their order, none where there is no such table."""
    rows = database.execute(
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ? "
        "ORDER BY column_index",
        [schema, table],
    ).fetchall()
    return tuple(Column(name, data_type, bool(nullable)) for name, data_type, nullable in rows)


def known_types(columns: Sequence[Column]) -> dict[str, ColumnType]:
    """The types of the columns that hold what the API sends."""
    return {c.name: column_type_of(c.type) for c in columns if c.name not in (DELETED_AT, ROW_HASH)}


def refuse_foreign_table(columns: Sequence[Column], schema: str, table: str, key: Sequence[str]) -> None:
    """Refuses to write to a table that this platform did not make, or made with another primary key.

    Raises:
        WarehouseUnusableError: It lacks columns.
    """
    missing = {*key, DELETED_AT, ROW_HASH} - {column.name for column in columns}
    if columns and missing:
        raise WarehouseUnusableError(
            f"the table {schema}.{table} has no {', '.join(sorted(missing))}: it was made by something else, "
            "or with another primary key",
            where=f"{schema}.{table}",
            remedy="rename or drop it and sync again, or name another file (destination.duckdb.credentials)",
        )


def is_empty(database: duckdb.DuckDBPyConnection, schema: str, table: str) -> bool:
    """Whether a table has no row, not even one marked as deleted."""
    found = database.execute(f"SELECT 1 FROM {qualified(schema, table)} LIMIT 1").fetchall()  # noqa: S608
    return not found


def held_rows(
    database: duckdb.DuckDBPyConnection,
    schema: str,
    table: str,
    key: Sequence[str],
    *,
    since: tuple[str, datetime] | None = None,
) -> RowIndex:
    """The digests of the rows that a table holds.

    A row marked as deleted gets a digest that no content has, so that it counts as changed when it
    comes back.

    Args:
        database: The open database.
        schema: The table's schema.
        table: The table.
        key: The columns of its primary key.
        since: A column and an instant: only rows that are as young by it. All, if nothing is given.
    """
    keys_of = ", ".join(quoted(column) for column in key)
    condition = "" if since is None else f" WHERE {quoted(since[0])} >= TIMESTAMPTZ '{since[1].isoformat()}'"
    query = (
        f"SELECT {keys_of}, {ROW_HASH}, {DELETED_AT} IS NOT NULL AS gone "  # noqa: S608 - quoted names
        f"FROM {qualified(schema, table)}{condition}"
    )
    count = database.execute(f"SELECT count(*) FROM {qualified(schema, table)}").fetchall()[0][0]  # noqa: S608
    # Of the final size at once: to put batches together takes twice the memory.
    keys, contents = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    living = np.empty(count, dtype=np.bool_)
    filled = 0
    for batch in database.sql(query).to_arrow_reader(BATCH_ROWS):
        rows = slice(filled, filled + batch.num_rows)
        hashes = batch[ROW_HASH].fill_null(0).to_numpy(zero_copy_only=False)
        gone = batch["gone"].to_numpy(zero_copy_only=False)
        keys[rows] = _key_digests(batch, key)
        contents[rows] = np.where(gone, ~hashes, hashes)
        living[rows] = ~gone
        filled = rows.stop
    return RowIndex(keys, contents, living)


def inexact_columns(
    database: duckdb.DuckDBPyConnection, schema: str, table: str, names: Sequence[str]
) -> list[str]:
    """Those of some columns that hold integers which are not exact as floating-point numbers.

    Args:
        database: The open database.
        schema: The table's schema.
        table: The table.
        names: The columns; those that the table does not have are left out.
    """
    held = {column.name for column in columns_of(database, schema, table)}
    names = [name for name in names if name in held]
    if not names:
        return []
    largest = ", ".join(f"max(abs({quoted(name)}::HUGEINT))" for name in names)
    query = f"SELECT {largest} FROM {qualified(schema, table)}"  # noqa: S608
    found = database.execute(query).fetchall()[0]
    return [name for name, value in zip(names, found, strict=True) if (value or 0) > EXACT_IN_DOUBLE]


def missing_keys(
    database: duckdb.DuckDBPyConnection, schema: str, table: str, key: Sequence[str], missing: UnseenKeys
) -> pa.Table:
    """The keys of the living rows whose digests are among the missing ones, as they stand in the table."""
    if not len(missing):
        return pa.table({column: pa.array([], pa.string()) for column in key})
    keys_of = ", ".join(quoted(column) for column in key)
    query = f"SELECT {keys_of} FROM {qualified(schema, table)} WHERE {DELETED_AT} IS NULL"  # noqa: S608
    reader = database.sql(query).to_arrow_reader(BATCH_ROWS)
    schema_of_keys = reader.schema
    found = [batch.filter(pa.array(missing.mask(_key_digests(batch, key)))) for batch in reader]
    return pa.Table.from_batches(found, schema=schema_of_keys)


def _key_digests(batch: pa.RecordBatch, key: Sequence[str]) -> Digests:
    if len(key) == 1:
        digests = value_digests(batch.column(0).to_pylist())
    else:
        digests = [key_digest(row, key) for row in batch.select(list(key)).to_pylist()]
    if None in digests:
        digests = [0 if digest is None else digest for digest in digests]
    return np.array(digests, dtype=np.int64)
