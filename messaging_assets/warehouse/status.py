"""The state of a connection's tables, read from the ledger and the tables: for people, not for programs."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from messaging_assets.api.connection import Connection
from messaging_assets.api.settings import lock_timeout
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.ledger import REJECTS, LedgerEntry, has_table, last_syncs
from messaging_assets.warehouse.sql import qualified
from messaging_assets.warehouse.table import DELETED_AT

# More than a day of the default schedule, for three resources.
ENTRIES = 500


@dataclass(frozen=True)
class TableStatus:
    """How a table stands.

    Attributes:
        table: Its name with the schema.
        rows: Living rows.
        deleted: Rows marked as deleted.
        synced_at: When a sync of it last ended well, None if none did.
        newest: The newest created_at.
        verified: What the last sync could prove.
        withheld: Rows that it did not see and did not mark, since too many would vanish.
        rejected: Records kept aside.
    """

    table: str
    rows: int
    deleted: int
    synced_at: datetime | None
    newest: datetime | None
    verified: str
    withheld: int
    rejected: int


@dataclass(frozen=True)
class Status:
    """How a connection stands: its tables, and its last syncs, the newest first."""

    tables: tuple[TableStatus, ...]
    syncs: tuple[LedgerEntry, ...]


def read_status(database: Path, connection: Connection) -> Status:
    """Reads how a connection stands.

    Raises:
        WarehouseMissingError: Nothing was synced yet.
        WarehouseBusyError: Another process holds the file.
    """
    with open_database(database, timeout=lock_timeout(), read_only=True) as opened:
        syncs = last_syncs(opened, connection.name, limit=ENTRIES)
        tables = tuple(
            _table_status(opened, connection.name, resource.name, resource.table)
            for resource in connection.resources
            if resource.selected and has_table(opened, connection.name, resource.table)
        )
    return Status(tables, tuple(syncs))


def _table_status(database: duckdb.DuckDBPyConnection, schema: str, resource: str, table: str) -> TableStatus:
    name = qualified(schema, table)
    living, deleted = database.execute(
        f"SELECT count(*) FILTER ({DELETED_AT} IS NULL), count({DELETED_AT}) FROM {name}"  # noqa: S608
    ).fetchall()[0]
    rejected = database.execute(
        f"SELECT count(*) FROM {qualified(schema, REJECTS)} WHERE resource = ?",  # noqa: S608
        [resource],
    ).fetchall()[0][0]
    succeeded = [entry for entry in last_syncs(database, schema, resource=resource) if entry.error is None]
    last = succeeded[0] if succeeded else None
    return TableStatus(
        table=f"{schema}.{table}",
        rows=living,
        deleted=deleted,
        synced_at=last.ended_at if last else None,
        newest=last.newest_created_at if last else None,
        verified=last.verified if last else "no",
        withheld=last.deletions_withheld if last else 0,
        rejected=rejected,
    )
