"""Opening the DuckDB file: one process at a time can, so whoever comes second waits, then names the first.

Everything that opens the file goes through here and is brief. What is done with it belongs elsewhere.
"""

import re
import time
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
from messaging_assets.warehouse.location import owner_only_files

FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0
T = TypeVar("T")

_HOLDER = re.compile(r"held in (.+?)(?: by user \S+)?(?:\.|$)", re.MULTILINE)


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
        WarehouseBusyError: It was held all the time.
    """
    deadline = time.monotonic() + timeout
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return action()
        except duckdb.Error as error:
            if not is_locked(error):
                raise _explained(error, path) from None
            if time.monotonic() >= deadline:
                raise WarehouseBusyError(
                    f"another process holds the DuckDB file for more than {timeout:.0f} s: {_named(error)}",
                    where=str(path),
                    remedy="close it there (a shell, a notebook), or raise messaging.lock_timeout_seconds",
                ) from None
        time.sleep(min(wait, max(0.0, deadline - time.monotonic())))
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def is_locked(error: BaseException) -> bool:
    """Whether an error says that another process holds the file."""
    return "Could not set lock on file" in str(error)


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path), read_only=read_only)


def _named(error: BaseException) -> str:
    found = _HOLDER.search(str(error))
    return found.group(1) if found else "its name is unknown"


def _explained(error: duckdb.Error, path: Path) -> WarehouseError:
    text = str(error)
    if isinstance(error, duckdb.IOException | duckdb.FatalException | duckdb.SerializationException):
        readable = "not a valid DuckDB" in text or "Corrupt" in text or "checksum" in text
        what = "the file is damaged or is no DuckDB database" if readable else "the file can't be opened"
        return WarehouseUnusableError(
            f"{what}; nothing was written to it",
            where=str(path),
            remedy="check the disk and the folder's permissions; restore the file from a copy, or move it "
            "away and sync again",
        )
    return WarehouseError(f"DuckDB refused to open the file ({type(error).__name__})", where=str(path))
