"""Rows on their way to staging: in bounded memory, and without those that can't be stored."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from messaging_assets.api.delivery import Delivery, compare
from messaging_assets.api.digests import key_digests
from messaging_assets.api.row_index import RowIndex
from messaging_assets.warehouse import spool as spool_module
from messaging_assets.warehouse.columns import ColumnNames, ColumnType
from messaging_assets.warehouse.errors import WarehouseUnusableError
from messaging_assets.warehouse.spool import Spool, id_text


def delivery(*records: dict[str, Any], keyless: tuple[Any, ...] = ()) -> Delivery:
    index, values = RowIndex(), [*records, *keyless]
    index.begin_pass()
    return compare(index, values, key_digests(values, ["id"]))


def tables_of(spool: Spool) -> list[pa.Table]:
    return [pq.read_table(part.path) for part in spool.files()]


def filled(folder: Path, *deliveries: Delivery, known: dict[str, ColumnType] | None = None) -> Spool:
    spool = Spool(folder, ["id"], known or {}, ColumnNames())
    for each in deliveries:
        spool.add(each)
    spool.finish()
    return spool


def test_tables_agree_about_columns_and_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "CHUNK_ROWS", 1)
    spool = filled(
        tmp_path, delivery({"id": 1, "a": 1}), delivery({"id": 2, "b": "x"}), delivery({"id": 3, "a": []})
    )
    tables = tables_of(spool)
    assert len({table.schema for table in tables}) == 1
    assert [table["a"].to_pylist() for table in tables] == [["1"], [None], ["[]"]]
    assert [table["_sequence"].to_pylist() for table in tables] == [[0], [1], [2]]
    assert tables_of(spool) == tables


@pytest.mark.parametrize("known", [{}, {"created_at": ColumnType.TEXT}])
def test_created_at_is_an_instant_unless_texts_are_asked_for(
    tmp_path: Path, known: dict[str, ColumnType]
) -> None:
    sent = "2026-03-29T14:00:00+02:00"
    (table,) = tables_of(filled(tmp_path, delivery({"id": 1, "created_at": sent}), known=known))
    expected = sent if known else datetime(2026, 3, 29, 12, tzinfo=UTC)
    assert table["created_at"].to_pylist() == [expected]


def test_rows_of_one_schema_wait_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "CHUNK_ROWS", 1)
    spool = filled(tmp_path, *(delivery({"id": i}) for i in range(10)))
    (table,) = tables_of(spool)
    assert len(list(tmp_path.iterdir())) == 1
    assert table["id"].to_pylist() == table["_sequence"].to_pylist() == list(range(10))


def test_only_files_of_another_schema_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "CHUNK_ROWS", 1)
    spool = filled(tmp_path, delivery({"id": 1, "a": 1}), delivery({"id": 2, "a": "x"}))
    assert [part.path.name for part in spool.files()] == ["000000.converted.parquet", "000001.parquet"]


def test_large_rows_make_small_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "CHUNK_BYTES", 10_000)
    spool = filled(tmp_path, *(delivery({"id": i, "text": "x" * 3_000}) for i in range(12)))
    (part,) = spool.files()
    groups = pq.read_metadata(part.path)
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [4, 4, 4]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "CHUNK_ROWS", 1)
    with pytest.raises(WarehouseUnusableError, match="can't be written"):
        filled(tmp_path / "missing", *(delivery({"id": i}) for i in range(10)))


def test_a_record_that_arrives_well_later_is_no_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, well = {"id": 1, "created_at": "soon"}, {"id": 1, "created_at": None}
    for rows in (1, 10):
        monkeypatch.setattr(spool_module, "CHUNK_ROWS", rows)
        assert filled(tmp_path, delivery(bad), delivery({"id": 2}), delivery(well)).rejected == []
        spool = filled(tmp_path, delivery(well), delivery({"id": 2}), delivery(bad))
        assert [record.id for record in spool.rejected] == ["1"]
        assert spool.rows == 2


def test_most_of_the_first_records_say_what_an_id_is(tmp_path: Path) -> None:
    spool = filled(tmp_path, delivery({"id": "x"}, {"id": 1}, {"id": 2}))
    assert [(record.id, record.of_key) for record in spool.rejected] == [("x", True)]
    later = filled(tmp_path, delivery({"id": 1}, {"id": 2}, {"id": "x"}), known={"id": ColumnType.TEXT})
    assert [record.id for record in later.rejected] == ["1", "2"]


def test_a_page_of_nothing_but_rejects_makes_no_table(tmp_path: Path) -> None:
    spool = filled(tmp_path, delivery(keyless=("x", None, "x")), delivery({"id": 1, "created_at": "soon"}))
    assert (spool.rows, tables_of(spool)) == (0, [])
    assert [record.payload for record in spool.rejected] == ['"x"', "null", '{"created_at": "soon", "id": 1}']


def test_ids_as_texts() -> None:
    assert id_text(["a"]) == "a"
    assert id_text(["a", 1]) == id_text(["a", "1"]) == '["a", "1"]'
    assert id_text(["\ud800"]) == "\\ud800"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 20_000])
def test_a_spool_that_lacks_rows_is_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The file can't be begun, or rows can't be written while the next ones are taken."""
    monkeypatch.setattr(spool_module, "CHUNK_ROWS", 1)
    spool = Spool(tmp_path, ("id",), {}, ColumnNames())
    with largest_file(size), pytest.raises(WarehouseUnusableError, match="File too large"):
        for i in range(3):
            spool.add(delivery({"id": i, "text": "x" * 15_000}))
    for _ in range(2):
        with pytest.raises(WarehouseUnusableError, match="File too large"):
            spool.save()
        with pytest.raises(WarehouseUnusableError, match="File too large"):
            spool.add(delivery({"id": 4, "text": "x"}))
