"""Changed rows on their way to staging: judged, typed, and kept in bounded memory.

Records that can't be stored are kept aside with the reason. Rows wait as Arrow tables; beyond a few of
them they wait in Parquet files beside the warehouse, readable by the owner alone. Where they go afterwards
belongs to `staging`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from messaging_assets.api.sweep import Delivery
from messaging_assets.warehouse.columns import (
    EXACT_IN_DOUBLE,
    ColumnNames,
    ColumnType,
    instant,
    timestamps,
    typed_column,
    widened,
    wider,
)

# Rows of one Arrow table. Below a few thousand the cost of a table shows, above it only memory grows.
CHUNK_ROWS = 10_000
# Tables held in memory before they are written to files.
CHUNKS_IN_MEMORY = 4
ROW_HASH = "_row_hash"
SEQUENCE = "_sequence"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can't be stored, kept aside.

    Attributes:
        reason: Why, in words, without the record's content.
        payload: The record as JSON; characters that no text can hold are escaped.
        id: Its id, where it has a single one.
    """

    reason: str
    payload: str
    id: str | None = None


@dataclass
class _Chunk:
    types: dict[str, ColumnType]
    rows: pa.Table | Path

    def table(self) -> pa.Table:
        return pq.read_table(self.rows) if isinstance(self.rows, Path) else self.rows


class Spool:
    """Takes what a sweep delivers and gives it back as Arrow tables that agree about types.

    Args:
        folder: An empty folder of the owner's alone.
        primary_key: The fields that tell rows apart.
        known_types: The types of the table's columns, and those that the connection file asks for.
        names: The names of columns for fields.
    """

    def __init__(
        self,
        folder: Path,
        primary_key: Sequence[str],
        known_types: Mapping[str, ColumnType],
        names: ColumnNames,
    ) -> None:
        self.rows = 0
        self.rejected: list[Rejected] = []
        self.types: dict[str, ColumnType] = dict(known_types)
        self.large_integers: set[str] = set()
        self._folder = folder
        self._primary_key = tuple(primary_key)
        self._names = names
        self._records: list[dict[str, Any]] = []
        self._contents: list[int] = []
        self._chunks: list[_Chunk] = []

    def add(self, delivery: Delivery) -> None:
        """Takes the rows of a page."""
        self.rejected.extend(Rejected(_why_keyless(value), _payload(value)) for value in delivery.keyless)
        self._records.extend(delivery.records)
        self._contents.extend(delivery.contents)
        if len(self._records) >= CHUNK_ROWS:
            self._close_chunk()

    def finish(self) -> None:
        """Ends taking; the types are final afterwards unless `widen` changes them."""
        self._close_chunk()

    def tables(self) -> Iterator[pa.Table]:
        """The rows, each table with the same columns of the same types."""
        names = [name for name, known in self.types.items() if known is not ColumnType.UNDECIDED]
        for chunk in self._chunks:
            table = chunk.table()
            columns = {name: self._column(chunk, table, name) for name in names}
            yield pa.table({**columns, ROW_HASH: table[ROW_HASH], SEQUENCE: table[SEQUENCE]})

    def _column(self, chunk: _Chunk, table: pa.Table, name: str) -> Any:
        if name not in chunk.types:
            return pa.nulls(table.num_rows, self.types[name].arrow)
        return widened(table[name], self.types[name], chunk.types[name])

    def _close_chunk(self) -> None:
        records, contents = self._without_rejects(self._records, self._contents)
        self._records, self._contents = [], []
        if not records:
            return
        fields = dict.fromkeys(field for record in records for field in record)
        types: dict[str, ColumnType] = {}
        arrays: dict[str, Any] = {}
        for field in fields:
            name = self._names.name(field)
            known = self.types.get(name, ColumnType.UNDECIDED)
            values = [record.get(field) for record in records]
            types[name], arrays[name] = typed_column(name, values, known)
            self._note_type(name, types[name], arrays[name])
        arrays[ROW_HASH] = pa.array(contents, pa.int64())
        arrays[SEQUENCE] = pa.array(range(self.rows, self.rows + len(records)), pa.int64())
        self.rows += len(records)
        self._keep(_Chunk(types, pa.table(arrays)))

    def _note_type(self, name: str, found: ColumnType, values: pa.Array) -> None:
        if found is ColumnType.INTEGER and len(values) > values.null_count:
            bounds = pc.min_max(values).as_py()
            if max(-bounds["min"], bounds["max"]) > EXACT_IN_DOUBLE:
                self.large_integers.add(name)
        before = self.types.get(name, ColumnType.UNDECIDED)
        after = wider(before, found)
        if after is ColumnType.NUMBER and name in self.large_integers:
            after = ColumnType.TEXT
        self.types[name] = after

    def _keep(self, chunk: _Chunk) -> None:
        self._chunks.append(chunk)
        if len(self._chunks) > CHUNKS_IN_MEMORY:
            oldest = self._chunks[-CHUNKS_IN_MEMORY - 1]
            path = self._folder / f"{len(self._chunks):06}.parquet"
            pq.write_table(oldest.rows, path)
            oldest.rows = path

    def _without_rejects(
        self, records: list[dict[str, Any]], contents: list[int]
    ) -> tuple[list[dict[str, Any]], list[int]]:
        if not records:
            return records, contents
        reasons = self._reasons(records)
        if not reasons:
            return records, contents
        self.rejected.extend(self._rejected(records[i], why) for i, why in reasons.items())
        kept = [i for i in range(len(records)) if i not in reasons]
        return [records[i] for i in kept], [contents[i] for i in kept]

    def _reasons(self, records: list[dict[str, Any]]) -> dict[int, str]:
        """Why records can't be stored, by their place. Whole columns are tried first: most are fine."""
        reasons: dict[int, str] = {}
        for field in self._primary_key:
            reasons.update(self._wrong_keys(field, [record[field] for record in records]))
        if timestamps([record.get("created_at") for record in records]) is None:
            for i, record in enumerate(records):
                created = record.get("created_at")
                if created is not None and instant(created) is None:
                    reasons[i] = "created_at is not a point in time"
        if not _surely_encodable(records):
            for i, record in enumerate(records):
                if not _encodable([record]):
                    reasons[i] = "a text holds half of a surrogate pair, which no text column can hold"
        return reasons

    def _rejected(self, record: dict[str, Any], reason: str) -> Rejected:
        only_key = record[self._primary_key[0]] if len(self._primary_key) == 1 else None
        known_as = None if only_key is None else str(only_key).encode(errors="backslashreplace").decode()
        return Rejected(reason, _payload(record), known_as)

    def _wrong_keys(self, field: str, values: list[Any]) -> dict[int, str]:
        name = self._names.name(field)
        known = self.types.get(name, ColumnType.UNDECIDED)
        if known is ColumnType.UNDECIDED:
            known = ColumnType.TEXT if isinstance(values[0], str) else ColumnType.INTEGER
        wanted, words = (str, "a text") if known is ColumnType.TEXT else (int, "an integer")
        return {
            i: f"{field} is not {words} as it is in other records"
            for i, value in enumerate(values)
            if not isinstance(value, wanted)
        }


def _surely_encodable(records: list[dict[str, Any]]) -> bool:
    """Whether all texts can be stored, as far as can be told at once: orjson refuses large integers too."""
    try:
        orjson.dumps(records)
    except TypeError:
        return False
    return True


def _encodable(records: list[dict[str, Any]]) -> bool:
    try:
        json.dumps(records, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _why_keyless(value: Any) -> str:
    return "it has no usable id" if isinstance(value, dict) else "it is not an object"


def _payload(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
