"""Opening the DuckDB file: one process at a time can, so whoever comes second waits, then names the first.

Everything that opens the file goes through here and is brief. What is done with it belongs elsewhere.
"""

import contextlib
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import duckdb

from messaging_assets.warehouse.errors import (
    WarehouseBusyError,
    WarehouseError,
    WarehouseMissingError,
    WarehouseUnusableError,
)
from messaging_assets.warehouse.location import WarehouseLocation, owner_only_files

FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0
# The name of the file within a connection. By itself DuckDB takes the file's own name, and then refuses
# `messaging.users` in messaging.duckdb as ambiguous. No connection's name begins with an underscore.
CATALOG = "_warehouse"

T = TypeVar("T")

_HOLDER = re.compile(r"held in (?P<program>.+?) \(PID (?P<process>\d+)\)")
_FOREIGN_LOCK_SIGN = "Could not set lock on file"
# What DuckDB says where a thread of this process has the file open already.
_OWN_LOCK_SIGNS = ("Unique file handle conflict", "same database file with a different configuration")
_FULL_SIGNS = ("No space left", "File too large", "Disk quota exceeded")
_DAMAGE_SIGNS = ("not a valid DuckDB", "Corrupt", "corrupt", "checksum")


@contextmanager
def open_database(
    path: Path, *, timeout: float = 60.0, read_only: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens the file and closes it again.

    Args:
        path: The DuckDB file; made where it is missing, unless read_only.
        timeout: How long to wait while another process holds it, in seconds.
        read_only: Whether nothing will be written.

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
        connection = when_unlocked(lambda: _connect(path, read_only=read_only), path, timeout=timeout)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


def when_unlocked(action: Callable[[], T], path: Path, *, timeout: float) -> T:
    """Runs an action that opens the file, again and again while another process holds it.

    Raises:
        WarehouseBusyError: It was held all the time; the process that holds it is named.
    """
    deadline = time.monotonic() + timeout
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
        time.sleep(min(wait, max(0.0, deadline - time.monotonic())))
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def is_locked(error: BaseException) -> bool:
    """Whether an error says that the file is held elsewhere."""
    text = str(error)
    return any(sign in text for sign in (_FOREIGN_LOCK_SIGN, *_OWN_LOCK_SIGNS))


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    file = str(path).replace("'", "''")
    mode = "READ_ONLY" if read_only else "READ_WRITE"
    try:
        connection.execute(f"ATTACH '{file}' AS {CATALOG} ({mode})")
        connection.execute(f"USE {CATALOG}")
    except duckdb.Error as error:
        connection.close()
        if is_locked(error):
            raise
        raise explained(error, path) from None
    _spill_beside(connection, path, alone=not read_only)
    return connection


def _spill_beside(connection: duckdb.DuckDBPyConnection, path: Path, *, alone: bool) -> None:
    """Has DuckDB put what does not fit into memory beside the file, and not into the folder where it runs.

    Each opening has a folder of its own, which DuckDB makes at need and removes at the end. What killed
    processes have left there holds rows: it goes as soon as nobody else can have the file open.
    """
    spill = WarehouseLocation(path).work / "spill"
    if alone:
        shutil.rmtree(spill, ignore_errors=True)
    with contextlib.suppress(OSError):
        spill.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = str(spill / uuid.uuid4().hex).replace("'", "''")
    connection.execute(f"SET temp_directory = '{own}'")


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
    if isinstance(error, duckdb.IOException):
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
    if any(sign in text for sign in _DAMAGE_SIGNS):
        return WarehouseUnusableError(
            "the file is damaged or is no DuckDB database; nothing was written to it",
            where=str(path),
            remedy="restore the file from a copy, or move it away and sync again",
        )
    return None
