"""What tests run in processes of their own, to be killed, to hold locks, to run out of disk.

The processes are forked from one that has imported everything already.
"""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import duckdb

from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.locks import sync_lock
from messaging_assets_tests.warehouse.conftest import Platform

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Address:
    """The address of a sandbox that runs in another process."""

    base_url: str
    client_id: str
    client_secret: str


@dataclass(frozen=True)
class Errand:
    """A sync to run in another process.

    Args:
        folder: Its home and working folder, where its output goes too.
        sandbox: The API.
        location: The warehouse.
        resource: What to sync.
        largest_file: How many bytes a file may have, None for any number.
    """

    folder: Path
    sandbox: Address
    location: WarehouseLocation
    resource: str
    largest_file: int | None = None

    @classmethod
    def of(cls, platform: Platform, folder: Path, resource: str, **more: Any) -> "Errand":
        sandbox = platform.sandbox
        address = Address(sandbox.base_url, sandbox.client_id, sandbox.client_secret)
        return cls(folder, address, platform.location, resource, **more)

    def start(self) -> ForkServerProcess:
        return started(_sync, self)

    def run(self) -> str:
        """Run it to its end; what it came to is in the answer: the counts, or type and text of the error."""
        process = self.start()
        process.join(30)
        return (self.folder / "outcome").read_text()


def _sync(errand: Errand) -> None:
    os.chdir(errand.folder)
    os.environ["HOME"] = os.environ["TMPDIR"] = str(errand.folder)
    output = os.open(errand.folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if errand.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (errand.largest_file, resource.RLIM_INFINITY))
    platform = Platform(errand.sandbox, errand.location)  # type: ignore[arg-type]
    try:
        outcome = str(platform.sync(errand.resource, accept_deletions=True))
    except Exception as error:
        kinds = ", ".join(kind.__name__ for kind in type(error).__mro__)
        outcome = f"{kinds}: {error}"
    if errand.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (errand.folder / "outcome").write_text(outcome)


def started(target: Callable[..., None], *values: Any) -> ForkServerProcess:
    """Start a process that runs a function of this module."""
    process = FORKS.Process(target=target, args=values, daemon=True)
    process.start()
    return process


@contextmanager
def elsewhere(target: Callable[..., None], *values: Any) -> Iterator[tuple[ForkServerProcess, Any]]:
    """Run a function of this module in another process, which tells when it is ready; kill it at the end."""
    ours, theirs = FORKS.Pipe()
    process = started(target, *values, theirs)
    theirs.close()
    try:
        assert ours.poll(20)
        assert ours.recv() == "ready"
        yield process, ours
    finally:
        process.kill()
        process.join()


def hold_lock(location: WarehouseLocation, connection: str, pipe: Any) -> None:
    """Hold the lock of a connection's syncs until told to let go."""
    with sync_lock(location, connection, purpose="syncing for a test"):
        pipe.send("ready")
        pipe.recv()
    pipe.send("released")


def hold_database(path: Path, pipe: Any) -> None:
    """Hold the DuckDB file until told to let go."""
    database = duckdb.connect(str(path))
    database.execute("CREATE TABLE IF NOT EXISTS held (id BIGINT)")
    pipe.send("ready")
    seconds = pipe.recv()
    time.sleep(seconds)
    database.close()


def writes_in_the_middle(path: Path, pipe: Any) -> None:
    """Be in the middle of a transaction when killed."""
    database = duckdb.connect(str(path))
    database.execute("BEGIN; DELETE FROM chat.chat.users")
    pipe.send("ready")
    pipe.recv()


if __name__ == "__main__":
    sys.exit("these functions are for the tests")
