"""What is remembered of pages is read as it was written, or not at all."""

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from messaging_assets.api.connection import Resource
from messaging_assets.api.delivery import Delivery
from messaging_assets.api.page_memory import PageMemory, PageNote, page_digest
from messaging_assets.warehouse import page_file
from messaging_assets.warehouse.page_file import PageFile, basis_of_pages, read_pages
from messaging_assets_tests.warehouse.conftest import Platform

ORDER = "created_at and id, ascending"


def delivery(number: int, *, rows: int = 3, entry: int | None = None, more: str = "") -> Delivery:
    """A page whose content tells its number."""
    totals, flags = [None, 7, 2**40], [None, True, False]
    note = PageNote(
        page_digest(f"{number}{more}".encode()), totals[number % 3], flags[number % 3], number > 0, entry
    )
    return Delivery.of_recognised(note, np.arange(rows, dtype=np.int64) - 2**62 + number)


def write(file: Path, *deliveries: Delivery, basis: str = "basis", order: str | None = ORDER) -> None:
    with PageFile(file, basis, file.parent) as pages:
        for page in deliveries:
            pages.add(page)
        pages.keep(order)


def read(file: Path, basis: str = "basis") -> PageMemory:
    memory = read_pages(file, basis)
    assert memory is not None
    return memory


def assert_holds(memory: PageMemory, *deliveries: Delivery) -> None:
    notes = [page.note for page in deliveries if page.note is not None]
    assert memory.digests == [note.digest for note in notes]
    assert memory.totals == [note.total for note in notes]
    assert memory.has_more == [note.has_more for note in notes]
    assert memory.follows == [note.follows for note in notes]
    assert np.diff(memory.starts).tolist() == [len(page.seen_contents) for page in deliveries]
    assert memory.contents.tolist() == [digest for page in deliveries for digest in page.seen_contents]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pages" / "chat" / "things.parquet"


@pytest.mark.parametrize("at_once", [1, 2, 500])
def test_it_is_read_as_it_was_written(file: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_file, "PAGES_AT_ONCE", at_once)
    pages = [delivery(number, rows=2 + number) for number in range(5)]
    write(file, *pages)
    memory = read(file)
    assert memory.order == ORDER
    assert_holds(memory, *pages)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("at_once", [1, 2, 500])
@pytest.mark.parametrize("same", [1, 3, 4])
def test_pages_that_are_the_same_are_taken_over(
    file: Path, same: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_file, "PAGES_AT_ONCE", at_once)
    old = [delivery(number) for number in range(5)]
    write(file, *old)
    kept = [delivery(number, entry=number) for number in range(same)]
    changed = [delivery(same, more="changed"), delivery(same + 1, rows=5)]
    write(file, *kept, *changed)
    assert_holds(read(file), *kept, *changed)


def test_where_all_pages_are_the_same_nothing_is_written(file: Path) -> None:
    write(file, *map(delivery, range(5)))
    before = file.stat()
    write(file, *(delivery(number, entry=number) for number in range(5)))
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_pages_in_another_sequence_are_written_anew(file: Path) -> None:
    write(file, *map(delivery, range(5)))
    pages = [delivery(0, entry=0), delivery(7), *(delivery(number, entry=number) for number in (1, 2, 4))]
    write(file, *pages)
    assert_holds(read(file), *pages)


def test_without_an_order_nothing_is_remembered(file: Path) -> None:
    write(file, *map(delivery, range(5)))
    write(file, *map(delivery, range(3)), order=None)
    assert read_pages(file, "basis") is None
    assert list(file.parent.iterdir()) == []


def test_a_sweep_that_breaks_off_leaves_the_file_as_it_was(file: Path) -> None:
    old = [delivery(number) for number in range(5)]
    write(file, *old)
    with pytest.raises(KeyboardInterrupt), PageFile(file, "basis", file.parent) as pages:
        pages.add(delivery(7))
        raise KeyboardInterrupt
    assert_holds(read(file), *old)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_rests_on_something_else_is_no_memory(file: Path) -> None:
    write(file, *map(delivery, range(5)))
    assert read_pages(file, "another basis") is None
    assert read_pages(file.with_name("missing"), "basis") is None


def test_a_damaged_file_is_no_memory(file: Path) -> None:
    write(file, *map(delivery, range(50)))
    whole = file.read_bytes()
    first = whole.index(page_digest(b"0"))
    for damaged in (
        b"",
        whole[: len(whole) // 2],
        whole[:-9],
        # In a digest: nothing but the checksum of its page tells.
        whole[:first] + bytes([whole[first] ^ 1]) + whole[first + 1 :],
    ):
        file.write_bytes(damaged)
        assert read_pages(file, "basis") is None


def test_what_can_not_be_written_is_not_remembered(file: Path) -> None:
    file.parent.parent.mkdir()
    file.parent.write_text("something else stands where the folder should be")
    write(file, *map(delivery, range(5)))
    assert read_pages(file, "basis") is None


def test_a_full_disk_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_file, "PAGES_AT_ONCE", 1)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    old = [delivery(number) for number in range(5)]
    write(file, *old)
    with monkeypatch.context() as patch:
        patch.setattr(page_file, "_table", full)
        write(file, *(delivery(number, more="new") for number in range(5)))
    assert_holds(read(file), *old)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_the_basis_is_what_was_asked_for_and_how_it_is_understood(platform: Platform) -> None:
    resource = platform.connection.resource("users")
    others: list[Resource] = [
        replace(resource, primary_key=("name",)),
        replace(resource, endpoint={**resource.endpoint, "data_selector": "rows"}),
    ]
    assert basis_of_pages(resource, "here") == basis_of_pages(replace(resource), "here")
    bases = [basis_of_pages(resource, "here"), basis_of_pages(resource, "there")]
    bases += [basis_of_pages(other, "here") for other in others]
    assert len(set(bases)) == 4
