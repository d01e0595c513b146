"""Compaction: the DuckDB file written anew without what it no longer needs, and exchanged as a whole.

DuckDB gives space back to itself, not to the disk, and keeps replaced rows until most of their neighbours
are gone too. The new file has everything that the old one has: schemas, tables, views, macros, comments,
whoever made them; if anything differs, the old one stays. What is written to the file belongs elsewhere.
"""

import os
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb

from messaging_assets.warehouse.database import CATALOG, ROW_GROUP, open_database
from messaging_assets.warehouse.errors import WarehouseBusyError, WarehouseError, WarehouseMissingError
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets.warehouse.location import WarehouseLocation, fresh_folder, owner_only_files
from messaging_assets.warehouse.locks import sync_lock
from messaging_assets.warehouse.memory import with_enough_memory
from messaging_assets.warehouse.sql import literal, qualified, quoted

# A file is written anew when it is this many times as large as it need be, and at least so many bytes
# larger: below, there is nothing that anybody would notice.
WORTH_RATIO = 1.5
WORTH_BYTES = 4 * 2**20
_COPY = "_compacted"
# What a file has beside rows, by the functions of DuckDB that tell it; names of files do not stand in it.
_CATALOGUE = (
    "SELECT 'schema', schema_name, sql FROM duckdb_schemas() WHERE database_name = ? AND NOT internal",
    "SELECT 'table', schema_name, table_name, sql, comment FROM duckdb_tables() WHERE database_name = ?",
    "SELECT 'column', schema_name, table_name, column_index, column_name, data_type, is_nullable, "
    "column_default, comment FROM duckdb_columns() WHERE database_name = ? AND NOT internal",
    "SELECT 'constraint', schema_name, table_name, constraint_text FROM duckdb_constraints() "
    "WHERE database_name = ?",
    "SELECT 'view', schema_name, view_name, sql, comment FROM duckdb_views() "
    "WHERE database_name = ? AND NOT internal",
    "SELECT 'index', schema_name, table_name, index_name, sql, comment FROM duckdb_indexes() "
    "WHERE database_name = ?",
    "SELECT 'sequence', schema_name, sequence_name, sql, last_value, comment FROM duckdb_sequences() "
    "WHERE database_name = ?",
    "SELECT 'type', schema_name, type_name, logical_type, labels::VARCHAR, comment FROM duckdb_types() "
    "WHERE database_name = ? AND NOT internal",
    "SELECT 'macro', schema_name, function_name, parameters::VARCHAR, macro_definition, comment "
    "FROM duckdb_functions() WHERE database_name = ? AND NOT internal",
)


@dataclass(frozen=True)
class Compaction:
    """What writing a file anew came to.

    Attributes:
        bytes_before: The size of the file before.
        bytes_after: Its size now.
        seconds: How long it took, waiting included.
    """

    bytes_before: int
    bytes_after: int
    seconds: float


def compact_if_worth(location: WarehouseLocation, *, holding: str) -> Compaction | None:
    """Writes the file anew where much of it is of no use any more and nobody else is using it.

    It can wait: whatever stands in the way is left to the next time.

    Args:
        location: The warehouse.
        holding: The connection whose lock the caller holds.

    Returns:
        What it came to, None where nothing was done.
    """
    try:
        with typed_failures(location.database):
            return compact(location, holding=holding, timeout=0.0) if _is_worth(location.database) else None
    except WarehouseError:
        return None


def compact(location: WarehouseLocation, *, holding: str | None = None, timeout: float = 60.0) -> Compaction:
    """Writes the file anew. Whenever it is interrupted, the old file or the new one is there as a whole.

    Args:
        location: The warehouse.
        holding: A connection whose lock the caller holds.
        timeout: How long to wait for each sync that runs and for whoever has the file open, in seconds.

    Raises:
        WarehouseMissingError: Nothing was synced yet.
        WarehouseBusyError: A sync did not end, or another process held the file all the time.
        WarehouseError: The new file can't be written, or would differ; the old one is as it was.
    """
    clock = time.monotonic()
    if not location.database.exists():
        raise WarehouseMissingError(
            "there is no warehouse yet",
            where=str(location.database),
            remedy="run a sync first: `messaging sync`",
        )
    before = location.database.stat().st_size
    with ExitStack() as held:
        for connection in location.connections():
            if connection != holding:
                purpose = "compacting the DuckDB file"
                held.enter_context(sync_lock(location, connection, purpose=purpose, timeout=timeout))
        held.enter_context(typed_failures(location.database))
        held.enter_context(owner_only_files())
        with_enough_memory(lambda memory: _exchange(location, memory, timeout))
    return Compaction(before, location.database.stat().st_size, time.monotonic() - clock)


def _exchange(location: WarehouseLocation, memory: str | None, timeout: float) -> None:
    """Copies the file and puts the copy in its place, while nobody can write to the file."""
    _write_log_back(location.database, timeout)
    with (
        fresh_folder(location.work / "compaction") as folder,
        # Read only: what DuckDB does to the old file and its log when it closes them must not meet the new
        # one. Others who read meanwhile go on reading the old one.
        open_database(location.database, timeout=timeout, memory=memory, read_only=True) as database,
    ):
        new = folder / location.database.name
        database.execute(f"ATTACH {literal(str(new))} AS {_COPY} ({ROW_GROUP})")
        # Of a row that was appended several times the last version counts (`analytics.sources`).
        database.execute("SET preserve_insertion_order = true")
        database.execute(f"COPY FROM DATABASE {CATALOG} TO {_COPY}")
        if _content(database, CATALOG) != _content(database, _COPY):
            raise WarehouseError(
                "the file can't be written anew without loss, so that it stays as it is",
                where=str(location.database),
            )
        database.execute(f"DETACH {_COPY}")
        if _has_log(location.database):
            raise WarehouseBusyError(
                "another process has written to the file just now", where=str(location.database)
            )
        shutil.copymode(location.database, new)
        _write_through(new)
        new.replace(location.database.resolve())
        _write_through(location.database.resolve().parent)


def _is_worth(path: Path) -> bool:
    """Whether the file is much larger than it need be, and the disk has room for another one."""
    size = path.stat().st_size
    if size < WORTH_BYTES or shutil.disk_usage(path.parent).free < 2 * size:
        return False
    with open_database(path, timeout=0.0, read_only=True) as database:
        needed = _needed_bytes(database)
    return size > WORTH_RATIO * needed and size - needed >= WORTH_BYTES


def _needed_bytes(database: duckdb.DuckDBPyConnection) -> float:
    """How large the file would be, written anew: what is in use, less the share of replaced rows."""
    used = database.execute(
        "SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = ?", [CATALOG]
    ).fetchall()[0][0]
    tables = database.execute(
        "SELECT schema_name, table_name, estimated_size * column_count, column_count FROM duckdb_tables() "
        "WHERE database_name = ?",
        [CATALOG],
    ).fetchall()
    # By the size that DuckDB estimates, rows that are replaced still count.
    stored = sum(cells for _, _, cells, _ in tables)
    living = sum(_count(database, CATALOG, schema, table) * width for schema, table, _, width in tables)
    return float(used) * living / stored if stored else float(used)


def _content(database: duckdb.DuckDBPyConnection, catalog: str) -> set[tuple[object, ...]]:
    """What a database has: everything with definition and comment, and how many rows are in each table."""
    found = {row for query in _CATALOGUE for row in database.execute(query, [catalog]).fetchall()}
    tables = {(str(row[1]), str(row[2])) for row in found if row[0] == "table"}
    return found | {
        ("rows", schema, table, _count(database, catalog, schema, table)) for schema, table in tables
    }


def _count(database: duckdb.DuckDBPyConnection, catalog: str, schema: str, table: str) -> int:
    query = f"SELECT count(*) FROM {quoted(catalog)}.{qualified(schema, table)}"  # noqa: S608 - quoted names
    return int(database.execute(query).fetchall()[0][0])


def _write_log_back(path: Path, timeout: float) -> None:
    """Has DuckDB write the log of a killed process back into the file: a log belongs to one file alone."""
    if _has_log(path):
        with open_database(path, timeout=timeout) as database:
            database.execute("CHECKPOINT")


def _has_log(path: Path) -> bool:
    """Whether there is a write-ahead log, or one that DuckDB was about to write back."""
    return any(other.name.startswith(f"{path.name}.wal") for other in path.parent.iterdir())


def _write_through(path: Path) -> None:
    """Has the operating system write a file, or the names in a folder, to the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
