"""The bookkeeping tables, and of them the ledger: a row for each sync of a resource.

They live beside the data, in the schema of the connection, are written in the transaction that publishes
the rows, and carry the version of their own shape, so that a later version of the platform can bring them
up to date. What stands in the table of rejects belongs to `rejects`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from messaging_assets.warehouse.sql import qualified, quoted
from messaging_assets.warehouse.table import Column, columns_of

LEDGER = "_sync_ledger"
REJECTS = "_rejected_records"
COLUMNS = "_source_columns"
VERSIONS = "_bookkeeping_versions"
# How long syncs and rejects are kept: a year shows a whole season, and stays small.
KEPT_DAYS = 400

# The statements that lead from each version to the next; the number of statements is the version.
# They are only ever added to. {table} is the table's qualified name.
_MIGRATIONS = {
    LEDGER: (
        """CREATE TABLE IF NOT EXISTS {table} (
            resource VARCHAR NOT NULL, mode VARCHAR NOT NULL, run_id VARCHAR,
            started_at TIMESTAMP WITH TIME ZONE NOT NULL, ended_at TIMESTAMP WITH TIME ZONE NOT NULL,
            requests BIGINT, pages BIGINT, retries BIGINT, bytes_received BIGINT,
            rows_alive BIGINT, rows_seen BIGINT, rows_new BIGINT, rows_changed BIGINT, rows_unchanged BIGINT,
            rows_deleted BIGINT, rows_restored BIGINT, rows_rejected BIGINT, deletions_withheld BIGINT,
            api_total BIGINT, drift_repaired BIGINT, verified VARCHAR NOT NULL, reason VARCHAR,
            content_version VARCHAR, columns JSON, newest_created_at TIMESTAMP WITH TIME ZONE, error VARCHAR
        )""",
        "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS list_order VARCHAR",
        "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS page_size BIGINT",
        "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS cursor JSON",
    ),
    REJECTS: (
        """CREATE TABLE IF NOT EXISTS {table} (
            resource VARCHAR NOT NULL, reason VARCHAR NOT NULL, payload VARCHAR NOT NULL,
            payload_digest VARCHAR NOT NULL, id VARCHAR,
            first_seen TIMESTAMP WITH TIME ZONE NOT NULL, last_seen TIMESTAMP WITH TIME ZONE NOT NULL
        )""",
    ),
    COLUMNS: (
        """CREATE TABLE IF NOT EXISTS {table} (
            resource VARCHAR NOT NULL, field VARCHAR NOT NULL, column_name VARCHAR NOT NULL
        )""",
    ),
}


@dataclass(frozen=True)
class LedgerEntry:
    """One sync of one resource, as the ledger keeps it. Fields are columns of the same names."""

    resource: str
    mode: str
    run_id: str
    started_at: datetime
    ended_at: datetime
    requests: int = 0
    pages: int = 0
    retries: int = 0
    bytes_received: int = 0
    rows_alive: int = 0
    rows_seen: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_unchanged: int = 0
    rows_deleted: int = 0
    rows_restored: int = 0
    rows_rejected: int = 0
    deletions_withheld: int = 0
    api_total: int | None = None
    drift_repaired: int = 0
    verified: str = "no"
    reason: str = ""
    content_version: str = ""
    columns: tuple[Column, ...] = field(default=())
    newest_created_at: datetime | None = None
    error: str | None = None
    list_order: str | None = None
    page_size: int | None = None
    cursor: str | None = None


def ensure_bookkeeping(database: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Makes the bookkeeping tables, or brings older ones up to this version's shape."""
    database.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
    versions = qualified(schema, VERSIONS)
    database.execute(
        f"CREATE TABLE IF NOT EXISTS {versions} (table_name VARCHAR NOT NULL, version INTEGER NOT NULL)"
    )
    held = dict(database.execute(f"SELECT table_name, version FROM {versions}").fetchall())  # noqa: S608
    for table, migrations in _MIGRATIONS.items():
        version = held.get(table, 0)
        for statement in migrations[version:]:
            database.execute(statement.format(table=qualified(schema, table)))
        if version < len(migrations):
            database.execute(f"DELETE FROM {versions} WHERE table_name = ?", [table])  # noqa: S608
            database.execute(f"INSERT INTO {versions} VALUES (?, ?)", [table, len(migrations)])  # noqa: S608


def write_entry(database: duckdb.DuckDBPyConnection, schema: str, entry: LedgerEntry) -> None:
    """Adds a row to the ledger, and drops those that are too old."""
    values = {item.name: getattr(entry, item.name) for item in fields(entry)}
    values["columns"] = json.dumps([asdict(column) for column in entry.columns])
    names = ", ".join(quoted(name) for name in values)
    marks = ", ".join("?" for _ in values)
    ledger = qualified(schema, LEDGER)
    database.execute(f"INSERT INTO {ledger} ({names}) VALUES ({marks})", list(values.values()))  # noqa: S608
    oldest = entry.ended_at - timedelta(days=KEPT_DAYS)
    database.execute(f"DELETE FROM {ledger} WHERE ended_at < ?", [oldest])  # noqa: S608


def last_syncs(
    database: duckdb.DuckDBPyConnection, schema: str, *, resource: str | None = None, limit: int = 20
) -> list[LedgerEntry]:
    """The last entries of the ledger, the newest first; none where there is no ledger yet."""
    if not has_table(database, schema, LEDGER):
        return []
    # A ledger that an earlier version has written is read before it is brought up to date.
    held = {column.name for column in columns_of(database, schema, LEDGER)}
    names = [item.name for item in fields(LedgerEntry) if item.name in held]
    query = (
        f"SELECT {', '.join(quoted(name) for name in names)} FROM {qualified(schema, LEDGER)} "  # noqa: S608
        "WHERE ? IS NULL OR resource = ? ORDER BY ended_at DESC, rowid DESC LIMIT ?"
    )
    rows = database.execute(query, [resource, resource, limit]).fetchall()
    return [_entry(dict(zip(names, row, strict=True))) for row in rows]


def latest_content_versions(database: duckdb.DuckDBPyConnection, schema: str) -> dict[str, str]:
    """The version of the content of each resource's table, by resource; none where there is no ledger yet."""
    if not has_table(database, schema, LEDGER):
        return {}
    query = (
        f"SELECT resource, arg_max(content_version, ended_at) FROM {qualified(schema, LEDGER)} "  # noqa: S608
        "WHERE content_version <> '' GROUP BY resource ORDER BY resource"
    )
    return dict(database.execute(query).fetchall())


def _entry(values: dict[str, Any]) -> LedgerEntry:
    values["columns"] = tuple(Column(**column) for column in json.loads(values["columns"] or "[]"))
    for name in ("started_at", "ended_at", "newest_created_at"):
        values[name] = values[name].astimezone(UTC) if values[name] else None
    return LedgerEntry(**{name: value for name, value in values.items() if value is not None})


def has_table(database: duckdb.DuckDBPyConnection, schema: str, table: str) -> bool:
    """Whether a table exists."""
    query = (
        "SELECT count(*) FROM duckdb_tables() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
    )
    return bool(database.execute(query, [schema, table]).fetchall()[0][0])


def known_columns(database: duckdb.DuckDBPyConnection, schema: str, resource: str) -> dict[str, str]:
    """The column of each field that earlier syncs of a resource have met."""
    if not has_table(database, schema, COLUMNS):
        return {}
    query = f"SELECT field, column_name FROM {qualified(schema, COLUMNS)} WHERE resource = ?"  # noqa: S608
    return dict(database.execute(query, [resource]).fetchall())


def keep_columns(
    database: duckdb.DuckDBPyConnection, schema: str, resource: str, columns: Mapping[str, str]
) -> None:
    """Keeps which column belongs to which field, so that fields of similar names never change places."""
    known = known_columns(database, schema, resource)
    # A field whose name no text can hold is met in rejected records only.
    new = [
        [resource, field, column]
        for field, column in columns.items()
        if field not in known and _is_storable(field)
    ]
    if new:
        database.executemany(f"INSERT INTO {qualified(schema, COLUMNS)} VALUES (?, ?, ?)", new)  # noqa: S608


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
