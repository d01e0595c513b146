"""Damaged files, full disks, folders that can't be written: what `messaging sync` says, and what helps.

Each test does what the message and the README tell an operator to do, and sees that it works.
"""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from messaging_assets.sandbox import Sandbox
from messaging_assets_tests.installation import Installation
from messaging_assets_tests.kill_points import KillPoint

ROWS = 120
KILOBYTE = 1024
HEADERS = 3 * 4 * KILOBYTE
IN_THE_LOG = "a message in the log"
DAMAGED = "the file is damaged or is no DuckDB database"
LOG_DAMAGED = "the log beside the file is damaged or belongs to another file"
FREE_KILOBYTES = (0, 64, 512, 768, 4096)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(messages=ROWS) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was synced once."""
    folder = tmp_path_factory.mktemp("synced") / "project"
    with Sandbox(messages=ROWS) as sandbox:
        assert Installation(folder, sandbox).prepare().run("sync") == 0
    return folder


@pytest.fixture
def installation(synced: Path, sandbox: Sandbox, tmp_path: Path) -> Installation:
    """A folder of its own, in the state in which that sync has left it."""
    shutil.copytree(synced, tmp_path / "project")
    return Installation(tmp_path / "project", sandbox)


@pytest.fixture(scope="module")
def synced_with_log(synced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the last of two more syncs, of a row each, was killed when it had committed."""
    folder = tmp_path_factory.mktemp("killed") / "project"
    shutil.copytree(synced, folder)
    with Sandbox(messages=ROWS) as sandbox:
        sandbox.insert("messages", name="in the file")
        assert Installation(folder, sandbox).run("sync") == 0
        sandbox.insert("messages", name=IN_THE_LOG)
        assert Installation(folder, sandbox).run("sync", point=KillPoint.after("^COMMIT")) < 0
    return folder


@pytest.fixture
def logged(synced_with_log: Path, sandbox: Sandbox, tmp_path: Path) -> Installation:
    """A folder of its own, with a log beside the file."""
    shutil.copytree(synced_with_log, tmp_path / "project")
    return Installation(tmp_path / "project", sandbox)


def log_of(installation: Installation) -> Path:
    return installation.database.with_name(f"{installation.database.name}.wal")


def files(installation: Installation) -> dict[Path, bytes]:
    """What stands in the warehouse's folder: the file, its log, whatever else was put there."""
    return {path: path.read_bytes() for path in installation.database.parent.iterdir() if path.is_file()}


def assert_refused(installation: Installation, words: str, *arguments: str, **more: object) -> None:
    assert installation.run("sync", *arguments, **more) == 1, installation.output
    assert words in installation.output
    assert "To do: " in installation.output
    assert "Traceback" not in installation.output


def assert_syncs(installation: Installation, *arguments: str) -> None:
    assert installation.run("sync", *arguments) == 0, installation.output
    living = {key: row for key, row in installation.held().items() if row is not None}
    assert living == installation.truth()
    installation.assert_tidy()


# Files

CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "not a database": lambda _: b"no database\n" * 1000,
    "cut short in its headers": lambda content: content[: HEADERS // 2],
    "cut short": lambda content: content[: len(content) // 2],
    "of another header": lambda content: random.Random(1).randbytes(HEADERS) + content[HEADERS:],
    "damaged all over": lambda content: content[:HEADERS] + bytes(byte ^ 0x5A for byte in content[HEADERS:]),
}


@pytest.mark.parametrize("damage", CONTENTS)
def test_a_damaged_file_is_left_as_it_is_until_it_is_moved_away(
    damage: str, installation: Installation
) -> None:
    installation.database.write_bytes(CONTENTS[damage](installation.database.read_bytes()))
    before = files(installation)
    assert_refused(installation, DAMAGED)
    assert files(installation) == before
    installation.database.rename(installation.folder / "aside")
    assert_syncs(installation)


def test_a_damaged_file_is_restored_from_a_copy(installation: Installation) -> None:
    copy = installation.database.read_bytes()
    installation.sandbox.insert("messages", name="not in the copy")
    installation.database.write_bytes(CONTENTS["cut short"](copy))
    assert_refused(installation, DAMAGED)
    installation.database.write_bytes(copy)
    assert_syncs(installation)


LOGS: dict[str, Callable[[bytes], bytes]] = {
    "of another version": lambda content: content[:5] + bytes([content[5] ^ 0x5A]) + content[6:],
    "damaged": lambda content: content.replace(IN_THE_LOG.encode(), IN_THE_LOG[::-1].encode()),
}


@pytest.mark.parametrize("damage", LOGS)
def test_a_damaged_log_is_left_as_it_is_until_it_is_moved_away(damage: str, logged: Installation) -> None:
    log = log_of(logged)
    log.write_bytes(LOGS[damage](log.read_bytes()))
    before = files(logged)
    assert_refused(logged, LOG_DAMAGED)
    assert files(logged) == before
    log.rename(logged.folder / "aside")
    assert_syncs(logged)


def test_a_log_is_told_that_was_left_when_an_older_copy_was_restored(
    logged: Installation, synced: Path
) -> None:
    copy = Installation(synced, logged.sandbox)
    logged.database.write_bytes(copy.database.read_bytes())
    before = files(logged)
    assert_refused(logged, LOG_DAMAGED)
    assert files(logged) == before
    log_of(logged).unlink()
    assert_syncs(logged)


def test_a_log_that_was_left_when_the_file_was_moved_away_does_no_harm(logged: Installation) -> None:
    logged.database.unlink()
    assert_syncs(logged)


@pytest.mark.parametrize("damage", ["garbage in its files", "folders in their place"])
def test_a_corrupt_state_of_dlt_is_no_matter(damage: str, installation: Installation) -> None:
    installation.sandbox.insert("messages", name="new")
    point = KillPoint("dlt.pipeline.pipeline.Pipeline.load")
    assert installation.run("sync", point=point) < 0
    left = [path for path in (installation.work / "dlt").rglob("*") if path.is_file()]
    assert {"state.json", "normalized"} <= {part for path in left for part in path.parts}
    for path in left:
        if damage == "garbage in its files":
            path.write_bytes(random.Random(1).randbytes(100))
        else:
            path.unlink()
            path.mkdir()
    installation.sandbox.edit("messages", installation.sandbox.ids("messages")[-1], name="newer")
    assert_syncs(installation)


# Disks


@dataclass(frozen=True)
class SmallDisk:
    """The disk of the warehouse, which is full as soon as a test wants it to be.

    Where this process may mount no disk, a limit on the size of each file stands in for it.

    Args:
        folder: Where it is mounted.
        is_mounted: Whether it is.
    """

    folder: Path
    is_mounted: bool

    def leave(self, size: int) -> dict[str, int]:
        """Leave so many bytes free; the answer is to be passed on to the process that is started."""
        if not self.is_mounted:
            return {"largest_file": 16 * KILOBYTE + size}
        disk = os.statvfs(self.folder)
        self._remount(f"size={(disk.f_blocks - disk.f_bfree) * disk.f_frsize + size}")
        return {}

    def enlarge(self) -> None:
        """Leave enough."""
        if self.is_mounted:
            self._remount("size=64m")

    def forbid(self) -> None:
        """Let nothing be written."""
        if self.is_mounted:
            self._remount("ro")
        else:
            forbid(self.folder, *self.folder.rglob("*"))

    def permit(self) -> None:
        """Let it be written again."""
        if self.is_mounted:
            self._remount("rw")
        else:
            permit(self.folder)

    def _remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@pytest.fixture
def disk(installation: Installation) -> Iterator[SmallDisk]:
    """The warehouse on a disk of its own."""
    folder = installation.database.parent
    content = folder.rename(folder.with_name("content"))
    folder.mkdir(mode=0o700)
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", folder]
    has_mount = shutil.which("mount") is not None
    is_mounted = has_mount and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    shutil.copytree(content, folder, dirs_exist_ok=True)
    yield SmallDisk(folder, is_mounted)
    if is_mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("free", FREE_KILOBYTES)
def test_a_full_disk_changes_nothing(free: int, installation: Installation, disk: SmallDisk) -> None:
    before = installation.held()
    padding = "".join(chr(33 + i * 7919 % 90) for i in range(4 * KILOBYTE))
    installation.sandbox.reshape("messages", lambda row: {**row, "text": row["id"] + padding})
    code = installation.run("sync", "--reconcile", **disk.leave(free * KILOBYTE))
    assert code == 0 or free < max(FREE_KILOBYTES), installation.output
    assert code == 1 or free > min(FREE_KILOBYTES), installation.output
    if code:
        assert installation.held() == before
        assert re.search("the disk is full|No space left|File too large", installation.output)
        assert "free some disk space" in installation.output
        assert "Traceback" not in installation.output
    else:
        assert installation.held() == installation.truth()
    disk.enlarge()
    assert_syncs(installation, "--reconcile")


def forbid(*paths: Path) -> None:
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)


def permit(folder: Path) -> None:
    folder.chmod(0o700)
    for path in folder.iterdir():
        if path.is_dir():
            permit(path)
        else:
            path.chmod(0o600)


FORBIDDEN: dict[str, Callable[[Path], None]] = {
    "everything": lambda folder: forbid(folder, *folder.rglob("*")),
    "the folder": lambda folder: forbid(folder),
    "the file": lambda folder: forbid(folder / "messaging.duckdb"),
    "the file, to be read even": lambda folder: (folder / "messaging.duckdb").chmod(0),
    "the lock": lambda folder: forbid(folder / "messaging.duckdb.work" / "locks" / "messaging.lock"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_can_not_be_written_is_told(what: str, installation: Installation) -> None:
    installation.sandbox.insert("messages", name="new")
    before = files(installation)
    FORBIDDEN[what](installation.database.parent)
    assert_refused(installation, "written", is_root=False)
    assert re.search("permissions|writable", installation.output)
    permit(installation.database.parent)
    assert files(installation) == before
    assert_syncs(installation)


def test_a_folder_in_which_no_warehouse_can_be_made_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    installation = Installation(tmp_path / "project", sandbox).prepare()
    (installation.folder / "output").touch()
    forbid(installation.folder)
    assert_refused(installation, "the warehouse's folder can't be written", is_root=False)
    assert not installation.database.parent.exists()
    installation.folder.chmod(0o700)
    assert_syncs(installation)


def test_a_disk_that_is_mounted_for_reading_is_told(installation: Installation, disk: SmallDisk) -> None:
    before = files(installation)
    disk.forbid()
    assert_refused(installation, "the warehouse's folder can't be written", is_root=False)
    assert files(installation) == before
    disk.permit()
    assert_syncs(installation)
