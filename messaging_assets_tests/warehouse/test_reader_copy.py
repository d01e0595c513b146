"""The copy for those who only read: who can open it, when it is made anew, that it is never half."""

import errno
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pytest

from messaging_assets.api.errors import ConfigurationError
from messaging_assets.warehouse.analytics.refresh import refresh_models
from messaging_assets.warehouse.errors import WarehouseMissingError, WarehouseUnusableError
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.reader_copy import ReaderCopy, reader_copy_path, refresh_reader_copy
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.processes import elsewhere, started

COUNT = "SELECT count(*) FROM chat.users"


def refreshed(platform: Platform) -> ReaderCopy:
    copy = refresh_reader_copy(platform.location)
    assert copy is not None
    return copy


def users_in(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as database:
        return int(database.execute(COUNT).fetchall()[0][0])


def reads(path: Path, pipe: Any) -> None:
    """Open a copy in this process, and count its users whenever asked."""
    with duckdb.connect(str(path), read_only=True) as database:
        pipe.send("ready")
        while pipe.recv():
            pipe.send(database.execute(COUNT).fetchall()[0][0])


def tries_to_write(path: Path, pipe: Any) -> None:
    """Try to open a file for writing whenever asked."""
    pipe.send("ready")
    while pipe.recv():
        try:
            duckdb.connect(str(path)).close()
            pipe.send("opened")
        except duckdb.IOException:
            pipe.send("refused")


def inserts_and_dies(path: Path) -> None:
    """Commit a row and be gone before it is in the file itself."""
    database = duckdb.connect(str(path))
    database.execute("INSERT INTO chat.chat.users BY NAME SELECT 'late' AS id")
    os._exit(1)


def answer(pipe: Any) -> Any:
    pipe.send("go on")
    assert pipe.poll(20)
    return pipe.recv()


def test_the_copy_is_read_by_schema_and_table_alone(platform: Platform) -> None:
    platform.sync("users")
    copy = refreshed(platform)
    assert (copy.made, copy.path) == (True, platform.location.database.with_name("read-chat.duckdb"))
    assert copy.bytes == copy.path.stat().st_size > 0
    # The warehouse itself is called like the schema, and there the same words are ambiguous.
    with (
        duckdb.connect(str(platform.location.database), read_only=True) as database,
        pytest.raises(duckdb.BinderException, match="Ambiguous"),
    ):
        database.execute(COUNT)
    assert users_in(copy.path) == 45


def test_the_name_is_no_schemas_whatever_the_files_name(tmp_path: Path) -> None:
    for name in ("chat.duckdb", "chat.of.last.year.duckdb", "chat"):
        path = reader_copy_path(WarehouseLocation(tmp_path / name))
        with duckdb.connect(str(path)) as database:
            database.execute("CREATE SCHEMA chat; CREATE TABLE chat.users AS SELECT 1")
            assert database.execute(COUNT).fetchall() == [(1,)]


def test_only_its_owner_can_read_it_and_nobody_write_to_it(platform: Platform) -> None:
    platform.sync("users")
    assert refreshed(platform).path.stat().st_mode & 0o777 == 0o400


def test_a_sync_that_changed_nothing_leaves_it_and_one_that_changed_something_replaces_it(
    platform: Platform,
) -> None:
    platform.sync("users")
    first = refreshed(platform)
    file = first.path.stat().st_ino
    platform.sync("users")
    again = refreshed(platform)
    assert (again.made, again.path.stat().st_ino) == (False, file)
    platform.sandbox.insert("users")
    platform.sync("users")
    assert refreshed(platform).made
    assert users_in(first.path) == 46
    platform.sync("channels")
    assert refreshed(platform).made


def test_a_refreshed_model_makes_it_anew_though_no_table_of_the_api_changed(platform: Platform) -> None:
    for resource in ("users", "channels", "messages"):
        platform.sync(resource)
    path = refreshed(platform).path
    database, connection = platform.location.database, platform.connection
    refresh_models(database, connection)
    assert refreshed(platform).made
    with duckdb.connect(str(path), read_only=True) as opened:
        assert opened.execute("SELECT count(*) FROM chat_analytics.messages_enriched").fetchall() == [(60,)]
    refresh_models(database, connection)
    assert not refreshed(platform).made


def test_processes_read_while_the_platform_writes(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESSAGING__LOCK_TIMEOUT_SECONDS", "0")
    platform.sync("users")
    path = refreshed(platform).path
    with ExitStack() as stack:
        pipes = [stack.enter_context(elsewhere(reads, path))[1] for _ in range(2)]
        platform.sandbox.insert("users")
        asked: list[int] = []

        def ask(_: object) -> None:
            asked.extend(answer(pipe) for pipe in pipes)

        # The sync is under way, and then publishes, without waiting for the readers.
        platform.sync("users", progress=ask)
        assert refreshed(platform).made
        ask(None)
        # Readers that have it open go on with what they opened; whoever opens it now sees the new one.
        assert asked
        assert set(asked) == {45}
        assert users_in(path) == 46


def test_nobody_can_write_to_the_warehouse_while_it_is_copied(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.sync("users")
    with elsewhere(tries_to_write, platform.location.database) as (_, pipe):
        tried = []
        replace = Path.replace

        def replace_after_a_try(self: Path, target: Path) -> Path:
            tried.append(answer(pipe))
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", replace_after_a_try)
        refreshed(platform)
        assert tried == ["refused"]
        assert answer(pipe) == "opened"


def test_what_a_killed_writer_committed_is_in_the_copy(platform: Platform) -> None:
    platform.sync("users")
    process = started(inserts_and_dies, platform.location.database)
    process.join(20)
    assert Path(f"{platform.location.database}.wal").stat().st_size > 0
    assert users_in(refreshed(platform).path) == 46


def test_a_copy_that_cannot_be_read_is_made_anew(platform: Platform) -> None:
    platform.sync("users")
    path = refreshed(platform).path
    path.unlink()
    path.write_bytes(b"no database")
    assert refreshed(platform).made
    assert users_in(path) == 45


def test_a_disk_that_is_full_leaves_the_last_copy_and_nothing_beside_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.sync("users")
    path = refreshed(platform).path
    platform.sandbox.insert("users")
    platform.sync("users")

    def full(_source: Any, target: Any, _size: int) -> None:
        target.write(b"the beginning")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(WarehouseUnusableError, match="No space left"):
            refresh_reader_copy(platform.location)
    assert users_in(path) == 45
    assert not [file for file in platform.location.work.rglob("*") if "partial" in file.name]
    assert refreshed(platform).made
    assert users_in(path) == 46


def test_where_none_is_wanted_none_is_left(
    platform: Platform, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.sync("users")
    path = refreshed(platform).path
    project.config("[messaging]\nreader_copy = false")
    assert refresh_reader_copy(platform.location) is None
    assert not path.exists()
    monkeypatch.setenv("MESSAGING__READER_COPY", "sometimes")
    with pytest.raises(ConfigurationError, match="reader_copy has to be true or false"):
        refresh_reader_copy(platform.location)


def test_without_a_warehouse_there_is_nothing_to_copy(project: Project, location: WarehouseLocation) -> None:
    with pytest.raises(WarehouseMissingError, match="messaging sync"):
        refresh_reader_copy(location)
    assert not location.database.parent.exists()
