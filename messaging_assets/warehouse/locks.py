"""One sync of a connection at a time: an operating-system lock, which dies with the process that holds it.

DuckDB's own lock on the file is waited for in `database`. Who holds a lock is written beside it, so that
whoever waits in vain can be told.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from messaging_assets.warehouse.errors import WarehouseBusyError
from messaging_assets.warehouse.location import WarehouseLocation, owner_only_files, readable_os_errors

POLL_SECONDS = 0.05
# Whoever waits longer than this is told for whom.
QUIET_SECONDS = 1.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        process: The process id.
        purpose: What it does, in words.
        since: When it took the lock, ISO 8601 in UTC.
    """

    process: int
    purpose: str
    since: str

    def __str__(self) -> str:
        return f"process {self.process}, {self.purpose}, since {self.since}"


@contextmanager
def sync_lock(
    location: WarehouseLocation,
    connection: str,
    *,
    purpose: str,
    timeout: float = 60.0,
    waiting: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Holds the lock of a connection's syncs.

    Args:
        location: The warehouse.
        connection: The connection.
        purpose: What is done meanwhile, shown to whoever waits.
        timeout: How long to wait for another sync, in seconds.
        waiting: Told in words which sync is waited for, once, if that takes more than a moment.

    Raises:
        WarehouseBusyError: The other sync did not end in time; it is named.
    """
    location.prepare()
    path = location.lock(connection)
    quiet = min(timeout, QUIET_SECONDS)
    lock = FileLock(path, timeout=quiet, poll_interval=POLL_SECONDS, mode=0o600)
    has_it = _acquired(lock, path)
    if not has_it and timeout > quiet:
        if waiting is not None:
            waiting(f"waiting up to {timeout:,.0f} s for another sync of {connection}: {_read_holder(path)}")
        lock.timeout = timeout - quiet
        has_it = _acquired(lock, path)
    if not has_it:
        raise WarehouseBusyError(
            f"another sync of {connection} has run for more than {timeout:.0f} s: {_read_holder(path)}",
            where=str(path),
            remedy="wait for it, end it, or raise messaging.lock_timeout_seconds",
        )
    try:
        _write_holder(path, purpose)
        yield
    finally:
        lock.release()


def is_held(location: WarehouseLocation, connection: str) -> Holder | None:
    """Who syncs the connection right now, None where nobody does. The database is not opened."""
    path = location.lock(connection)
    if not path.exists():
        return None
    # Long enough for another one who only asks.
    lock = FileLock(path, timeout=POLL_SECONDS, poll_interval=POLL_SECONDS / 5, mode=0o600)
    if not _acquired(lock, path):
        return _read_holder(path)
    lock.release()
    return None


def _acquired(lock: BaseFileLock, path: Path) -> bool:
    with readable_os_errors(path):
        try:
            lock.acquire()
        except Timeout:
            return False
    return True


def _myself(purpose: str) -> Holder:
    return Holder(os.getpid(), purpose, datetime.now(UTC).isoformat(timespec="seconds"))


def _holder_file(path: Path) -> Path:
    return path.with_suffix(".holder")


def _write_holder(path: Path, purpose: str) -> None:
    """Says who holds the lock, as far as the disk allows; the lock itself needs no space."""
    with contextlib.suppress(OSError), owner_only_files():
        _holder_file(path).unlink(missing_ok=True)
        _holder_file(path).write_text(json.dumps(asdict(_myself(purpose))))


def _read_holder(path: Path) -> Holder:
    try:
        return Holder(**json.loads(_holder_file(path).read_text()))
    except (OSError, ValueError, TypeError):
        return Holder(0, "unknown", "just now")
