"""The one transaction that ends a sync: rows, deletions, rejects and ledger, all of it or nothing.

Before it readers see the last good state, after it the new one. What is published was staged by
`staging`; whether deletions may be marked is decided by `deletions`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import duckdb
import pyarrow as pa

from messaging_assets.warehouse.columns import ColumnType
from messaging_assets.warehouse.spool import ROW_HASH, SEQUENCE
from messaging_assets.warehouse.sql import qualified, quoted
from messaging_assets.warehouse.staging import staged_table
from messaging_assets.warehouse.table import DELETED_AT, Column, columns_of

WriteDisposition = Literal["merge", "append", "replace"]

# Columns that every table has from its first sync on, also where the source is empty.
_FIRST_COLUMNS = {"name": ColumnType.TEXT, "created_at": ColumnType.TIMESTAMP}


@dataclass(frozen=True)
class Target:
    """The table to publish to.

    Attributes:
        schema: The connection's schema.
        table: The table.
        key: The columns of its primary key.
        disposition: dlt's write disposition. `replace` ends with exactly the source's rows, as in dlt, but
            by writing what differs.
    """

    schema: str
    table: str
    key: tuple[str, ...]
    disposition: WriteDisposition = "merge"

    @property
    def name(self) -> str:
        """The qualified name, quoted."""
        return qualified(self.schema, self.table)

    @property
    def staged(self) -> str:
        """The qualified name, quoted, of the table with the staged rows."""
        return staged_table(self.schema, self.table)


@dataclass(frozen=True)
class Published:
    """What the transaction changed.

    Attributes:
        new: Rows that were not held before.
        changed: Rows held with other content.
        restored: Rows that were marked as deleted and live again.
        deleted: Rows that were marked as deleted now, or removed.
        column_changes: New columns and widened types, in words.
    """

    new: int = 0
    changed: int = 0
    restored: int = 0
    deleted: int = 0
    column_changes: tuple[str, ...] = ()


def create_table(
    database: duckdb.DuckDBPyConnection, target: Target, types: dict[str, ColumnType]
) -> tuple[str, ...]:
    """Makes the table or lets it follow the types found; says what changed about its columns."""
    held = {column.name: column for column in columns_of(database, target.schema, target.table)}
    if not held:
        _create_table(database, target, types)
        return ()
    changes = []
    for name, found in types.items():
        if found is ColumnType.UNDECIDED:
            continue
        if name not in held:
            database.execute(f"ALTER TABLE {target.name} ADD COLUMN {quoted(name)} {found.value}")
            changes.append(f"{name}: new, {found.value}")
        elif held[name].type != found.value:
            using = _conversion(quoted(name), held[name], found)
            database.execute(
                f"ALTER TABLE {target.name} ALTER COLUMN {quoted(name)} TYPE {found.value} USING {using}"
            )
            changes.append(f"{name}: {held[name].type} became {found.value}")
    return tuple(changes)


def _create_table(database: duckdb.DuckDBPyConnection, target: Target, types: dict[str, ColumnType]) -> None:
    decided = {name: found for name, found in types.items() if found is not ColumnType.UNDECIDED}
    keys = {name: decided.get(name, ColumnType.TEXT) for name in target.key}
    columns = {**keys, **_FIRST_COLUMNS, **decided}
    definitions = [f"{quoted(name)} {found.value}" for name, found in columns.items()]
    definitions += [f"{DELETED_AT} TIMESTAMP WITH TIME ZONE", f"{ROW_HASH} BIGINT"]
    database.execute(f"CREATE TABLE {target.name} ({', '.join(definitions)})")


def _conversion(column: str, held: Column, found: ColumnType) -> str:
    """The expression that turns the values held into those of a wider type, without loss."""
    if held.type == ColumnType.TIMESTAMP.value:
        column = f"strftime({column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    if found is ColumnType.JSON:
        return f"to_json({column})"
    return f"CAST({column} AS {found.value})"


def drop_earlier_versions(database: duckdb.DuckDBPyConnection, target: Target) -> None:
    """Leaves the last version of each staged row, where a row came more than once; all are kept if appended.

    Not within the transaction that publishes: DuckDB has each write to one database only.
    """
    if target.disposition == "append":
        return
    keys = ", ".join(quoted(name) for name in target.key)
    same = " AND ".join(f"earlier.{quoted(name)} = repeated.{quoted(name)}" for name in target.key)
    database.execute(
        f"""DELETE FROM {target.staged} AS earlier USING
                (SELECT {keys}, max({SEQUENCE}) AS newest FROM {target.staged}
                 GROUP BY {keys} HAVING count(*) > 1) AS repeated
            WHERE {same} AND earlier.{SEQUENCE} < repeated.newest"""  # noqa: S608 - quoted names
    )


def write_rows(
    database: duckdb.DuckDBPyConnection, target: Target, types: dict[str, ColumnType]
) -> Published:
    """Writes the staged rows to the table, by delete and insert, but for those that are as they are held.

    Such a row changed and changed back while it was read.
    """
    names = [name for name, found in types.items() if found is not ColumnType.UNDECIDED]
    converted = [
        f"CAST({quoted(name)} AS JSON)" if types[name] is ColumnType.JSON else quoted(name) for name in names
    ]
    which = ""
    if target.disposition == "append":
        counted = database.execute(f"SELECT count(*) FROM {target.staged}").fetchall()  # noqa: S608
        published = Published(new=counted[0][0])
    else:
        published = _compare(database, target)
        database.execute(
            f"""DELETE FROM {target.name} AS held USING {target.staged} AS incoming
                WHERE {_same_key(target)}
                AND (held.{ROW_HASH} IS DISTINCT FROM incoming.{ROW_HASH}
                     OR held.{DELETED_AT} IS NOT NULL)"""  # noqa: S608
        )
        which = f"WHERE NOT EXISTS (SELECT 1 FROM {target.name} AS held WHERE {_same_key(target)})"  # noqa: S608
    columns = ", ".join([*(quoted(name) for name in names), ROW_HASH])
    database.execute(
        f"""INSERT INTO {target.name} ({columns})
            SELECT {", ".join([*converted, ROW_HASH])} FROM {target.staged} AS incoming {which}"""  # noqa: S608
    )
    return published


def _compare(database: duckdb.DuckDBPyConnection, target: Target) -> Published:
    new, changed, restored = database.execute(
        f"""SELECT count(*) FILTER (held.{ROW_HASH} IS NULL),
                count(*) FILTER (held.{ROW_HASH} <> incoming.{ROW_HASH} AND held.{DELETED_AT} IS NULL),
                count(*) FILTER (held.{DELETED_AT} IS NOT NULL)
            FROM {target.staged} AS incoming LEFT JOIN {target.name} AS held ON {_same_key(target)}"""  # noqa: S608
    ).fetchall()[0]
    return Published(new=new, changed=changed, restored=restored)


def _same_key(target: Target) -> str:
    return " AND ".join(f"held.{quoted(name)} = incoming.{quoted(name)}" for name in target.key)


def mark_deleted(
    database: duckdb.DuckDBPyConnection, target: Target, missing: pa.Table, now: datetime
) -> int:
    """Marks living rows as deleted, or removes them where the table is replaced.

    By delete and insert, which writes less than an update.

    Args:
        database: The open database.
        target: The table.
        missing: The keys of the rows that are gone at the source.
        now: The time to mark them with.

    Returns:
        How many were marked.
    """
    database.register("missing_keys", missing)
    database.execute(
        f"""CREATE OR REPLACE TEMP TABLE gone_rows AS
            SELECT held.* REPLACE (CAST(? AS TIMESTAMP WITH TIME ZONE) AS {DELETED_AT})
            FROM {target.name} AS held JOIN missing_keys AS incoming ON {_same_key(target)}
            WHERE held.{DELETED_AT} IS NULL""",  # noqa: S608
        [now],
    )
    database.unregister("missing_keys")
    database.execute(
        f"DELETE FROM {target.name} AS held USING gone_rows AS incoming WHERE {_same_key(target)}"  # noqa: S608
    )
    if target.disposition != "replace":
        database.execute(f"INSERT INTO {target.name} SELECT * FROM gone_rows")  # noqa: S608
    marked = database.execute("SELECT count(*) FROM gone_rows").fetchall()[0][0]
    database.execute("DROP TABLE gone_rows")
    return int(marked)


def living_rows(database: duckdb.DuckDBPyConnection, target: Target) -> tuple[int, datetime | None]:
    """How many rows live, and the newest created_at among them."""
    has_created = any(
        column.name == "created_at" and column.type == ColumnType.TIMESTAMP.value
        for column in columns_of(database, target.schema, target.table)
    )
    newest = "max(created_at)" if has_created else "NULL"
    row = database.execute(
        f"SELECT count(*), {newest} FROM {target.name} WHERE {DELETED_AT} IS NULL"  # noqa: S608
    ).fetchall()[0]
    return int(row[0]), row[1]
