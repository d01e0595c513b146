"""Where things lie, and who may read them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging_assets.warehouse.errors import WarehouseUnusableError
from messaging_assets.warehouse.location import WarehouseLocation, fresh_folder, owner_only_files
from messaging_assets_tests.warehouse.conftest import Platform


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


def test_everything_that_a_sync_makes_is_the_owners_alone(platform: Platform, open_umask: None) -> None:
    seen: dict[str, int] = {}

    def look(source: object, pipeline: object) -> None:
        from messaging_assets.warehouse.staging import stage_with_dlt

        stage_with_dlt(source, pipeline)  # type: ignore[arg-type]
        seen.update(modes(platform.location.database.parent))

    platform.sync("messages", stage=look)
    assert any(name.startswith("chat.duckdb.work/dlt/chat/messages/") for name in seen)
    parent = platform.location.database.parent
    assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    for name, mode in {**seen, **modes(parent)}.items():
        assert mode & 0o077 == 0, (name, oct(mode))
    assert os.umask(0o022) == 0o022


def test_a_folder_that_was_there_keeps_its_rights(tmp_path: Path, open_umask: None) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    WarehouseLocation(folder / "chat.duckdb").prepare()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "chat.duckdb.work").stat().st_mode) == 0o700


def test_a_fresh_folder_is_empty_and_then_gone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "left over").write_text("x")
    with fresh_folder(folder) as fresh:
        assert list(fresh.iterdir()) == []
        (fresh / "new").write_text("x")
    assert not folder.exists()


def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), fresh_folder(tmp_path / "a") as fresh:
        (fresh / "new").write_text("x")
        raise KeyError
    assert not (tmp_path / "a").exists()


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(WarehouseUnusableError, match="can't be written"),
        fresh_folder(tmp_path / "file" / "a"),
    ):
        pass


def test_a_place_that_can_not_be_written_is_told_by_the_sync(platform: Platform, tmp_path: Path) -> None:
    # Where nobody can make a folder, whoever runs the tests.
    platform.location = WarehouseLocation(Path("/proc/messaging/chat.duckdb"))
    with pytest.raises(WarehouseUnusableError, match="can't be written") as caught:
        platform.sync("users")
    assert "make the folder writable" in str(caught.value)


def test_the_umask_is_put_back(open_umask: None) -> None:
    with owner_only_files():
        pass
    assert os.umask(0o022) == 0o022
