"""Tables as Parquet files, for whoever does not read DuckDB.

    <folder>/<connection>/users.parquet
    <folder>/<connection>/messages/day=2026-03-29/messages.parquet
    <folder>/<connection>_analytics/user_activity.parquet

Each file carries a digest of the rows in it, so that only files whose rows differ are written again. A
table changes as a whole: a single file is replaced, and a table by day is a link to a folder beside it,
which is filled first. What a file holds belongs here, what a table holds does not.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from messaging_assets.api.connection import Connection
from messaging_assets.api.settings import lock_timeout
from messaging_assets.warehouse.analytics.refresh import analytics_schema
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.errors import WarehouseBusyError, WarehouseError
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets.warehouse.location import OWNER_ONLY, WarehouseLocation
from messaging_assets.warehouse.spool import ROW_HASH
from messaging_assets.warehouse.sql import literal, qualified, quoted
from messaging_assets.warehouse.table import BATCH_ROWS, Column, columns_of

# The table that is written by day; the others are small, or are read as a whole.
BY_DAY = "messages"
# What Hive calls the partition of rows without a value; readers turn it into null.
NO_DAY = "__HIVE_DEFAULT_PARTITION__"
_NO_DAY_SQL = "NULL::VARCHAR"
_DIGEST = b"messaging_assets.digest"
# A part of each digest: to be raised when files are to look different though their rows are the same.
_FORMAT = 1


@dataclass(frozen=True)
class Days:
    """A range of days, both included; None for no limit.

    Args:
        first: The first day.
        last: The last day.
    """

    first: date | None = None
    last: date | None = None

    def has(self, day: str | None) -> bool:
        """Whether a day is meant; rows without one are, where there is no limit."""
        if day is None:
            return self.first is None and self.last is None
        after = self.first is None or self.first.isoformat() <= day
        return after and (self.last is None or day <= self.last.isoformat())


ALL_DAYS = Days()


@dataclass(frozen=True)
class Exported:
    """What exporting one table did.

    Attributes:
        table: The table, with its schema.
        path: The file, or the folder of a table by day.
        rows: The rows that were asked for; they are in the files now.
        written: Files that were written.
        unchanged: Files that held the same rows already.
        removed: Files of days that have no row any more.
        seconds: How long it took.
    """

    table: str
    path: Path
    rows: int
    written: int
    unchanged: int
    removed: int
    seconds: float


def export_folder(location: WarehouseLocation) -> Path:
    """Where exports go unless another folder is named: beside the warehouse, a folder for each file.

    Example:
        >>> export_folder(WarehouseLocation(Path("/data/messaging.duckdb")))
        PosixPath('/data/exports/messaging')
    """
    return location.database.with_name("exports") / location.database.stem


def export_tables(
    location: WarehouseLocation,
    connection: Connection,
    folder: Path,
    *,
    tables: Sequence[str] = (),
    days: Days = ALL_DAYS,
) -> tuple[Exported, ...]:
    """Writes the tables of a connection as Parquet files, as far as these differ from the tables.

    Args:
        location: The warehouse.
        connection: The connection.
        folder: Where to; made where it is missing.
        tables: The names of tables, raw or of the analytics; all if nothing is given.
        days: The days of the messages to bring up to date. Files of other days stay as they are; other
            tables are written as a whole.

    Raises:
        WarehouseMissingError: Nothing was synced yet.
        WarehouseBusyError: Another process holds the warehouse, or exports into the same folder.
        WarehouseError: There is no such table, or the folder can't be written. Each table there is as it
            was before, or as it is now.
    """
    with (
        typed_failures(location.database),
        open_database(location.database, timeout=lock_timeout(), read_only=True) as database,
    ):
        chosen = _chosen(database, connection, tables)
        with _alone_in(folder, connection.name):
            return tuple(
                _Export(database, schema, table, folder / schema, connection.analytics.time_zone).run(days)
                for schema, table in chosen
            )


def _chosen(
    database: duckdb.DuckDBPyConnection, connection: Connection, asked: Sequence[str]
) -> list[tuple[str, str]]:
    """The tables to export, with their schemas: those of the resources and of the analytics."""
    found = database.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() "
        "AND schema_name IN (?, ?) ORDER BY ALL",
        [connection.name, analytics_schema(connection.name)],
    ).fetchall()
    raw = {resource.table for resource in connection.resources if resource.selected}
    there = [
        (schema, table)
        for schema, table in found
        if (table in raw if schema == connection.name else not table.startswith("_"))
    ]
    names = [table for _, table in there]
    missing = sorted(set(asked) - set(names))
    if missing:
        raise WarehouseError(
            f"there is no table {', '.join(missing)} of {connection.name}",
            remedy=f"name some of these: {', '.join(names)}"
            if names
            else "run a sync first: `messaging sync`",
        )
    return [(schema, table) for schema, table in there if not asked or table in asked]


@contextmanager
def _alone_in(folder: Path, connection: str) -> Iterator[None]:
    """Lets nobody else export the connection into the folder meanwhile, and tells what can't be written."""
    try:
        folder.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        with FileLock(folder / f".{connection}.lock", timeout=lock_timeout(), mode=0o600):
            yield
    except Timeout:
        raise WarehouseBusyError(
            "another process exports into this folder", where=str(folder), remedy="wait for it, or end it"
        ) from None
    except OSError as error:
        raise WarehouseError(
            f"the folder can't be written: {error.strerror or type(error).__name__}",
            where=str(folder),
            remedy="free some disk space, make the folder writable, or name another one",
        ) from None


@dataclass(frozen=True)
class _Part:
    """The rows of one file: how many there are, and their digest."""

    rows: int
    digest: str


@dataclass(frozen=True)
class _Done:
    """Files that were written, were left as they are, and were removed."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0


class _Export:
    """The export of one table into the folder of its schema."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, schema: str, table: str, folder: Path, time_zone: str
    ) -> None:
        self.database = database
        self.table = table
        self.shown = f"{schema}.{table}"
        self.source = qualified(schema, table)
        self.columns = [c for c in columns_of(database, schema, table) if c.name != ROW_HASH]
        self.by_day = table == BY_DAY
        self.day = _day_in(time_zone, self.columns) if self.by_day else _NO_DAY_SQL
        self.file = f"{table}.parquet"
        self.path = folder / (table if self.by_day else self.file)

    def run(self, days: Days) -> Exported:
        """Writes what differs."""
        clock = time.monotonic()
        self.path.parent.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        parts = {day: part for day, part in self._parts().items() if not self.by_day or days.has(day)}
        done = self._days(parts, days) if self.by_day else self._whole(parts[None])
        rows = sum(part.rows for part in parts.values())
        seconds = time.monotonic() - clock
        return Exported(self.shown, self.path, rows, done.written, done.unchanged, done.removed, seconds)

    def _parts(self) -> dict[str | None, _Part]:
        """The rows of each file, by day. A table without rows gets a file all the same: it has columns."""
        names = ", ".join(quoted(column.name) for column in self.columns)
        found = self.database.execute(
            f"SELECT {self.day}, count(*), sum(hash({names})) FROM {self.source} GROUP BY 1"  # noqa: S608
        ).fetchall()
        return {day: _Part(rows, self._digest(rows, total)) for day, rows, total in found or [(None, 0, 0)]}

    def _digest(self, rows: int, total: int) -> str:
        columns = [(column.name, column.type) for column in self.columns]
        # Another version of DuckDB may hash differently.
        said = json.dumps([_FORMAT, duckdb.__version__, columns, rows, int(total)])
        return hashlib.sha256(said.encode()).hexdigest()

    def _whole(self, part: _Part) -> _Done:
        """A table in a single file."""
        if _digest_in(self.path) == part.digest:
            return _Done(unchanged=1)
        partial = self.path.with_name(f".{self.file}.partial")
        try:
            self._write({None: partial}, {None: part})
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)
        return _Done(written=1)

    def _days(self, parts: Mapping[str | None, _Part], days: Days) -> _Done:
        """A table by day."""
        held = {folder.name: folder / self.file for folder in self.path.glob("day=*")}
        wanted = {_partition(day): day for day in parts}
        others = {name for name in held if not days.has(_day_of(name))}
        same = {name for name in wanted.keys() & held if _digest_in(held[name]) == parts[wanted[name]].digest}
        removed = held.keys() - wanted - others
        changed = {wanted[name]: parts[wanted[name]] for name in wanted.keys() - same}
        if changed or removed:
            self._swap({name: held[name] for name in same | others}, changed)
        return _Done(len(changed), len(same), len(removed))

    def _swap(self, kept: Mapping[str, Path], changed: Mapping[str | None, _Part]) -> None:
        """Fills a folder with files kept and files written, and lets the table's name lead to it."""
        current = self.path.resolve().name
        fresh = self.path.with_name(f".{self.table}.{uuid.uuid4().hex}")
        link = self.path.with_name(f".{self.table}.link")
        files = {day: fresh / _partition(day) / self.file for day in changed}
        try:
            for file in (*(fresh / name / self.file for name in kept), *files.values()):
                file.parent.mkdir(parents=True)
            for name, file in kept.items():
                os.link(file, fresh / name / self.file)
            self._write(files, changed)
            link.unlink(missing_ok=True)
            link.symlink_to(fresh.name)
            link.replace(self.path)
            current = fresh.name
        finally:
            # The folder of before or that of a failure, and those of exports that were killed.
            for left in self.path.parent.glob(f".{self.table}.*"):
                if left.name != current:
                    shutil.rmtree(left, ignore_errors=True)

    def _write(self, files: Mapping[str | None, Path], parts: Mapping[str | None, _Part]) -> None:
        """Writes the rows of some days, each into its file."""
        rows = self._rows(files.keys())
        schema = rows.schema.remove(rows.schema.get_field_index("_export_day"))

        def writer(day: str | None) -> pq.ParquetWriter:
            metadata = {**(schema.metadata or {}), _DIGEST: parts[day].digest.encode()}
            return pq.ParquetWriter(files[day], schema.with_metadata(metadata), compression="zstd")

        pieces = (piece for batch in rows for piece in _runs(batch))
        written = set()
        for day, group in groupby(pieces, key=itemgetter(0)):
            written.add(day)
            with writer(day) as file:
                for _, piece in group:
                    file.write_batch(piece)
        for day in files.keys() - written:
            writer(day).close()

    def _rows(self, days: Set[str | None]) -> pa.RecordBatchReader:
        """The rows of some days, one day after the other, each with its day as text."""
        shown = ", ".join(quoted(column.name) for column in self.columns)
        query = (
            f"SELECT {shown}, {self.day} AS _export_day FROM {self.source} "  # noqa: S608 - quoted names
            "WHERE _export_day IN (SELECT unnest(?::VARCHAR[])) OR (_export_day IS NULL AND ?)"
            f"{' ORDER BY _export_day, created_at' if self.day != _NO_DAY_SQL else ''}"
        )
        asked = [[day for day in days if day is not None], None in days]
        return self.database.sql(query, params=asked).to_arrow_reader(BATCH_ROWS)


def _day_in(time_zone: str, columns: Sequence[Column]) -> str:
    """The SQL of the day on which a row was created, as text."""
    if Column("created_at", "TIMESTAMP WITH TIME ZONE") not in columns:
        return _NO_DAY_SQL
    return f"(created_at AT TIME ZONE {literal(time_zone)})::DATE::VARCHAR"


def _partition(day: str | None) -> str:
    return f"day={NO_DAY if day is None else day}"


def _day_of(partition: str) -> str | None:
    day = partition.removeprefix("day=")
    return None if day == NO_DAY else day


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[str | None, pa.RecordBatch]]:
    """The rows of each day in a batch that is ordered by day."""
    runs = pc.run_end_encode(batch["_export_day"])
    rows = batch.drop_columns(["_export_day"])
    start = 0
    for day, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield day, rows.slice(start, end - start)
        start = end


def _digest_in(file: Path) -> str | None:
    """The digest of the rows that a file holds, None where it is none of ours."""
    try:
        metadata = pq.read_metadata(file).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    digest = metadata.get(_DIGEST)
    return digest.decode() if digest else None
