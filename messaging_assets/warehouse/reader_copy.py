"""A copy of the DuckDB file for those who only read: notebooks, shells, dashboards.

DuckDB admits one process to a file that is written to. The copy is never written to: any number of
processes can open it, for as long as they like, while the platform writes. It is replaced as a whole, so
a reader that has it open goes on with what it opened. When it is made belongs to whoever calls this.
"""

import os
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb

from messaging_assets.api.settings import keeps_reader_copy, lock_timeout
from messaging_assets.warehouse.analytics.refresh import BOOKKEEPING
from messaging_assets.warehouse.database import CATALOG, open_database
from messaging_assets.warehouse.errors import WarehouseMissingError
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets.warehouse.ledger import LEDGER
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.sql import literal, qualified, quoted

# The hyphen keeps the names apart: DuckDB calls a file by its name up to the first dot, and refuses
# `messaging.users` as ambiguous where both the file and the schema are called messaging. No connection's
# name has a hyphen.
PREFIX = "read-"
# Not even its owner opens it for writing by accident, which would shut out all other readers.
READABLE_BY_OWNER = 0o400
_CHUNK_BYTES = 1 << 20
_COPY = "_reader_copy"
# How to read the versions of content, by the table that keeps them.
_VERSIONS = {
    LEDGER: "SELECT resource, max_by(content_version, ended_at) FROM {table} "
    "WHERE content_version <> '' GROUP BY resource",
    BOOKKEEPING: "SELECT model, content_version FROM {table}",
}


@dataclass(frozen=True)
class ReaderCopy:
    """The copy, and what came of looking after it.

    Attributes:
        path: The copy.
        made: Whether it was made anew; False where it held the same content already.
        bytes: Its size.
        seconds: How long it took, waiting for the warehouse included.
    """

    path: Path
    made: bool
    bytes: int
    seconds: float


def reader_copy_path(location: WarehouseLocation) -> Path:
    """Where the copy of a warehouse lies: beside it.

    Example:
        >>> reader_copy_path(WarehouseLocation(Path("/data/messaging.duckdb")))
        PosixPath('/data/read-messaging.duckdb')
    """
    return location.database.with_name(f"{PREFIX}{location.database.name}")


def refresh_reader_copy(location: WarehouseLocation) -> ReaderCopy | None:
    """Makes the copy anew if the content of a table is another one than in the copy.

    A sync that changed nothing adds to the ledger alone, and leaves the copy as it is.

    Args:
        location: The warehouse.

    Returns:
        The copy; None where the settings want none, and then one of earlier is removed, since it would
        grow old.

    Raises:
        WarehouseMissingError: Nothing was synced yet.
        WarehouseError: The file can't be read or is held by another process, or the copy can't be
            written; the copy is as it was before.
    """
    clock = time.monotonic()
    path = reader_copy_path(location)
    if not keeps_reader_copy():
        with typed_failures(location.database):
            path.unlink(missing_ok=True)
        return None
    if not location.database.exists():
        raise WarehouseMissingError(
            "there is no warehouse yet",
            where=str(location.database),
            remedy="run a sync first: `messaging sync`",
        )
    with typed_failures(location.database), ExitStack() as after:
        with open_database(location.database, timeout=lock_timeout()) as database:
            made = _contents(database) != _contents_of_copy(database, path)
            if made:
                _replace(database, location, path, after)
        return ReaderCopy(path, made, path.stat().st_size, time.monotonic() - clock)


def _replace(
    database: duckdb.DuckDBPyConnection, location: WarehouseLocation, path: Path, after: ExitStack
) -> None:
    """Copies the file while nobody else can write to it; after a checkpoint, all content is in it."""
    database.execute("CHECKPOINT")
    # Closed only after DuckDB has closed the file: the first handle of a process that is closed takes
    # the process's lock with it, and DuckDB's lock is such a one.
    source = after.enter_context(location.database.open("rb"))
    # One name for all: nobody else can be writing to it now, and what a killed process left goes.
    partial = location.work / "reader-copy.partial"
    partial.unlink(missing_ok=True)
    try:
        with partial.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
            target.flush()
            os.fsync(target.fileno())
        partial.chmod(READABLE_BY_OWNER)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _contents(database: duckdb.DuckDBPyConnection, catalog: str = CATALOG) -> set[tuple[str, ...]]:
    """The version of each table's content: of raw tables by the ledger, of models by their bookkeeping."""
    found = database.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() "
        "WHERE database_name = ? AND table_name IN (SELECT unnest(?))",
        [catalog, list(_VERSIONS)],
    ).fetchall()
    return {
        (schema, *row)
        for schema, table in found
        for row in database.execute(
            _VERSIONS[table].format(table=f"{quoted(catalog)}.{qualified(schema, table)}")
        ).fetchall()
    }


def _contents_of_copy(database: duckdb.DuckDBPyConnection, path: Path) -> set[tuple[str, ...]] | None:
    """The versions of what the copy holds, None where there is no copy that can be read."""
    if not path.exists():
        return None
    try:
        database.execute(f"ATTACH {literal(str(path))} AS {_COPY} (READ_ONLY)")
    except duckdb.Error:
        return None
    try:
        return _contents(database, _COPY)
    finally:
        database.execute(f"DETACH {_COPY}")
