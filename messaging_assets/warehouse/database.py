"""Opening the DuckDB file: one process at a time can, so whoever comes second waits, then names the first.

Everything that opens the file goes through here and is brief. What is done with it belongs elsewhere.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import duckdb

from messaging_assets.warehouse.errors import (
    WarehouseBusyError,
    WarehouseDamagedError,
    WarehouseError,
    WarehouseMissingError,
    WarehouseUnusableError,
)
from messaging_assets.warehouse.location import owner_only_files
from messaging_assets.warehouse.memory import duckdb_settings, spill_folder
from messaging_assets.warehouse.sql import literal

FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0
# A transaction of this size is written into the file at once where it is the last one.
LARGE = "1MB"
# Whoever waits longer than this is told for whom.
QUIET_SECONDS = 1.0
# Rows that are compressed and read together, half as many as DuckDB takes by itself: it begins to write them
# while rows are still coming, on each thread. 100,000 messages are written in 0.12 instead of 0.17 s, a
# million in 0.75 instead of 0.87 s, into a file that is 1 to 3 % larger.
ROW_GROUP = "ROW_GROUP_SIZE 61440"
# The name of the file within a connection. By itself DuckDB takes the file's own name, and then refuses
# `messaging.users` in messaging.duckdb as ambiguous. No connection's name begins with an underscore.
CATALOG = "_warehouse"
# The name of the database beside it in which dlt's load waits to be published (`staging`).
STAGING_CATALOG = "_staging"

T = TypeVar("T")

_HOLDER = re.compile(r"held in (?P<program>.+?) \(PID (?P<process>\d+)\)")
_FOREIGN_LOCK_SIGN = "Could not set lock on file"
# What DuckDB says where a thread of this process has the file open already.
_OWN_LOCK_SIGNS = ("Unique file handle conflict", "same database file with a different configuration")
_FULL_SIGNS = ("No space left", "File too large", "Disk quota exceeded")
_LOG_SIGN = "Failure while replaying WAL"
# Where the log can't be written, DuckDB says that the transaction has failed.
_UNOPENED_SIGN = "Cannot open file"
_DAMAGE_SIGNS = ("not a valid DuckDB", "Corrupt", "corrupt", "checksum", "Could not read enough bytes")


@contextmanager
def open_database(
    path: Path,
    *,
    timeout: float = 60.0,
    read_only: bool = False,
    memory: str | None = None,
    waiting: Callable[[str], None] | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens the file and closes it again.

    Args:
        path: The DuckDB file; made where it is missing, unless read_only.
        timeout: How long to wait while another process holds it, in seconds.
        read_only: Whether nothing will be written.
        memory: The most memory that DuckDB may take (`memory.with_enough_memory`), None for what it takes
            by itself.
        waiting: Told in words which process is waited for, once, if that takes more than a moment.

    Raises:
        WarehouseBusyError: Another process held the file all the time; it is named.
        WarehouseMissingError: The file is missing and read_only was asked for.
        WarehouseUnusableError: It is no DuckDB file, it is damaged, or it can't be written.
    """
    if read_only and not path.exists():
        raise WarehouseMissingError(
            "there is no warehouse yet", where=str(path), remedy="run a sync first: `messaging sync`"
        )
    with owner_only_files():
        connection = when_unlocked(
            lambda: _connect(path, read_only=read_only, memory=memory), path, timeout=timeout, waiting=waiting
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


@contextmanager
def transaction(database: duckdb.DuckDBPyConnection, *, is_last: bool = False) -> Iterator[None]:
    """All that is done meanwhile, or nothing of it.

    Args:
        database: The open database.
        is_last: Whether the file is closed next: what is large then goes into the file when it is committed,
            and not into the log before.
    """
    if is_last:
        database.execute(f"SET checkpoint_threshold = '{LARGE}'")
    database.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        # An error of the file itself has ended the transaction already.
        with suppress(duckdb.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def when_unlocked(
    action: Callable[[], T], path: Path, *, timeout: float, waiting: Callable[[str], None] | None = None
) -> T:
    """Runs an action that opens the file, again and again while another process holds it.

    Args:
        action: What opens the file.
        path: The DuckDB file.
        timeout: How long to wait while another process holds it, in seconds.
        waiting: Told in words which process is waited for, once, if that takes more than a moment.

    Raises:
        WarehouseBusyError: It was held all the time; the process that holds it is named.
    """
    started = time.monotonic()
    deadline = started + timeout
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return action()
        except Exception as error:
            if not is_locked(error):
                raise
            if time.monotonic() >= deadline:
                raise WarehouseBusyError(
                    f"another process has held the DuckDB file for over {timeout:.0f} s: {_named(error)}",
                    where=str(path),
                    remedy="close it there (a shell, a notebook), or raise messaging.lock_timeout_seconds",
                ) from None
            if waiting is not None and time.monotonic() - started >= QUIET_SECONDS:
                waiting(f"waiting up to {timeout:,.0f} s for the DuckDB file, held by {_named(error)}")
                waiting = None
        time.sleep(min(wait, max(0.0, deadline - time.monotonic())))
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def is_locked(error: BaseException) -> bool:
    """Whether an error says that the file is held elsewhere."""
    text = str(error)
    return any(sign in text for sign in (_FOREIGN_LOCK_SIGN, *_OWN_LOCK_SIGNS))


def _connect(path: Path, *, read_only: bool, memory: str | None) -> duckdb.DuckDBPyConnection:
    while True:
        file = _identity(path)
        connection = _attached(path, read_only=read_only)
        if file in (None, _identity(path)):
            break
        # The file was exchanged (`compaction`) while it was opened: what is open is the old one.
        connection.close()
    if not read_only:
        # Nobody else can have the file open: what lies there holds rows that killed processes have left.
        shutil.rmtree(spill_folder(path), ignore_errors=True)
    for name, value in duckdb_settings(path, memory).items():
        connection.execute(f"SET {name} = {literal(str(value))}")
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _attached(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    options = "READ_ONLY" if read_only else f"READ_WRITE, {ROW_GROUP}"
    try:
        connection.execute(f"ATTACH {literal(str(path))} AS {CATALOG} ({options})")
        connection.execute(f"USE {CATALOG}")
    except duckdb.Error as error:
        connection.close()
        if is_locked(error):
            raise
        raise explained(error, path) from None
    return connection


def _named(error: BaseException) -> str:
    found = _HOLDER.search(str(error))
    if found:
        return f"process {found['process']}, {found['program']}"
    own = any(sign in str(error) for sign in _OWN_LOCK_SIGNS)
    return "this process itself" if own else "its name is unknown"


def explained(error: duckdb.Error, path: Path) -> WarehouseError:
    """An error of DuckDB in words of ours; its own text can hold values of rows.

    Args:
        error: The error.
        path: The DuckDB file.
    """
    trouble = disk_trouble(str(error), path)
    if trouble is not None:
        return trouble
    if isinstance(error, duckdb.IOException) or _UNOPENED_SIGN in str(error):
        return WarehouseUnusableError(
            "the file can't be read or written; the tables are as they were before",
            where=str(path),
            remedy="check that it is a file, and the permissions of its folder",
        )
    return WarehouseError(
        f"DuckDB refused ({type(error).__name__}); the tables are as they were before", where=str(path)
    )


def disk_trouble(text: str, path: Path) -> WarehouseUnusableError | None:
    """What an error's text says of the disk or the file, None where it says nothing of them.

    Args:
        text: The text, which is not passed on.
        path: The DuckDB file.
    """
    if any(sign in text for sign in _FULL_SIGNS):
        return WarehouseUnusableError(
            "the disk is full; the tables are as they were before",
            where=str(path),
            remedy="free some disk space and sync again",
        )
    if _LOG_SIGN in text:
        return WarehouseDamagedError(
            "the log beside the file is damaged or belongs to another file; nothing was written",
            where=str(path),
            remedy=f"restore both from a copy; or move {path.name}.wal away, which gives up what was written "
            "last, and sync again",
        )
    if any(sign in text for sign in _DAMAGE_SIGNS):
        return WarehouseDamagedError(
            "the file is damaged or is no DuckDB database; its tables are left as they are",
            where=str(path),
            remedy=f"restore the file from a copy and remove {path.name}.wal, or move both away; "
            "then sync again",
        )
    return None
