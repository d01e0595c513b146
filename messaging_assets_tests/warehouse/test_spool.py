"""Rows on their way to staging: in bounded memory, and without those that can't be stored."""

from pathlib import Path
from typing import Any

import pytest

from messaging_assets.api.delivery import Delivery
from messaging_assets.api.digests import content_digest
from messaging_assets.warehouse import spool as spool_module
from messaging_assets.warehouse.columns import ColumnNames, ColumnType
from messaging_assets.warehouse.errors import WarehouseUnusableError
from messaging_assets.warehouse.spool import Spool, id_text


def delivery(*records: dict[str, Any], keyless: tuple[Any, ...] = ()) -> Delivery:
    contents = [content_digest(record) for record in records]
    return Delivery(list(records), contents, list(keyless), list(records), contents)


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
    tables = list(spool.tables())
    assert len({table.schema for table in tables}) == 1
    assert [table["a"].to_pylist() for table in tables] == [["1"], [None], ["[]"]]
    assert [table["_sequence"].to_pylist() for table in tables] == [[0], [1], [2]]
    assert list(spool.tables()) == tables


def test_what_is_beyond_a_few_tables_waits_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "CHUNK_ROWS", 1)
    spool = filled(tmp_path, *(delivery({"id": i}) for i in range(10)))
    assert len(list(tmp_path.iterdir())) == 10 - spool_module.CHUNKS_IN_MEMORY
    assert [row for table in spool.tables() for row in table["id"].to_pylist()] == list(range(10))


def test_large_rows_make_small_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "CHUNK_BYTES", 10_000)
    spool = filled(tmp_path, *(delivery({"id": i, "text": "x" * 3_000}) for i in range(12)))
    assert [table.num_rows for table in spool.tables()] == [4, 4, 4]


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
    assert (spool.rows, list(spool.tables())) == (0, [])
    assert [record.payload for record in spool.rejected] == ['"x"', "null", '{"created_at": "soon", "id": 1}']


def test_ids_as_texts() -> None:
    assert id_text(["a"]) == "a"
    assert id_text(["a", 1]) == id_text(["a", "1"]) == '["a", "1"]'
    assert id_text(["\ud800"]) == "\\ud800"
