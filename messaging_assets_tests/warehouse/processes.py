"""What tests run in processes of their own, to be killed, to hold locks, to run out of disk.

The processes are forked from one that has imported everything already.
"""

import ctypes
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import duckdb

from messaging_assets.cli import main
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.locks import sync_lock
from messaging_assets_tests.kill_points import KillPoint
from messaging_assets_tests.warehouse.conftest import Platform

FORKS = multiprocessing.get_context("forkserver")
# What the command line, Dagster and dlt import when they are used: that takes longer than a sync.
FORKS.set_forkserver_preload(
    [
        __name__,
        "messaging_assets.orchestration.headless",
        "dagster._core.storage.event_log",
        "dagster._core.storage.runs",
        "dlt.destinations.impl.duckdb.duck",
        "dlt.load.load",
        "structlog",
        "upath.implementations.local",
    ]
)


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
        settings: Environment variables for it.
    """

    folder: Path
    sandbox: Address
    location: WarehouseLocation
    resource: str
    largest_file: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

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
    os.environ.update(errand.settings)
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


@dataclass(frozen=True)
class Command:
    """The command line `messaging`, to run in another process.

    Args:
        arguments: Such as `sync`.
        folder: Its working folder.
        environment: All of its environment.
        point: Where it kills itself.
        largest_file: How many bytes a file may have, None for any number.
        is_root: Whether it may write what the permissions forbid, where it is root's.
        output: Where its output goes, in its folder.
    """

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    point: KillPoint | None = None
    largest_file: int | None = None
    is_root: bool = True
    output: str = "output"

    def start(self) -> ForkServerProcess:
        return started(_messaging, self)


def _messaging(command: Command) -> None:
    os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environment)
    output = os.open(command.folder / command.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if command.point is not None:
        command.point.arm()
    if command.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (command.largest_file, resource.RLIM_INFINITY))
    if not command.is_root:
        _give_up_capabilities()
    main(command.arguments, prog_name="messaging")


def _give_up_capabilities() -> None:
    """From now on this process is refused what permissions refuse, even if it is root's."""
    version_3 = 0x20080522
    header, none = (ctypes.c_uint32 * 2)(version_3, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


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


if __name__ == "__main__":
    sys.exit("these functions are for the tests")
