"""Changed rows on their way to staging: judged, typed, and kept in bounded memory.

Records that can't be stored are kept aside with the reason. Rows wait as Arrow tables; beyond a few of
them they wait in Parquet files beside the warehouse, readable by the owner alone. Where they go afterwards
belongs to `staging`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from messaging_assets.api.delivery import Delivery
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
from messaging_assets.warehouse.location import readable_os_errors

# Rows of one Arrow table. Below a few thousand the cost of a table shows, above it only memory grows.
CHUNK_ROWS = 10_000
# Bytes of JSON in one Arrow table, where rows are large.
CHUNK_BYTES = 16 * 2**20
# Tables held in memory before they are written to files.
CHUNKS_IN_MEMORY = 4
ROW_HASH = "_row_hash"
SEQUENCE = "_sequence"
CREATED_AT = "created_at"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can't be stored, kept aside.

    Attributes:
        reason: Why, in words, without the record's content.
        payload: The record as JSON; characters that no text can hold are escaped.
        id: Its id, where it has one; of several fields as a JSON list.
        of_key: Whether it is the key that can't be stored.
    """

    reason: str
    payload: str
    id: str | None = None
    of_key: bool = False


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
        self.types: dict[str, ColumnType] = dict(known_types)
        self.large_integers: set[str] = set()
        self._folder = folder
        self._primary_key = tuple(primary_key)
        self._names = names
        self._records: list[dict[str, Any]] = []
        self._contents: list[int] = []
        self._bytes = 0
        self._maybe_unencodable = False
        self._chunks: list[_Chunk] = []
        self._rejected: dict[str, Rejected] = {}

    @property
    def rejected(self) -> list[Rejected]:
        """The records that can't be stored, each once, without those that arrived well later on."""
        return list(self._rejected.values())

    def add(self, delivery: Delivery) -> None:
        """Takes the rows of a page.

        Raises:
            WarehouseUnusableError: They can't be written beside the warehouse.
        """
        for value in delivery.keyless:
            self._reject(Rejected(_why_keyless(value), _payload(value)))
        self._records.extend(delivery.records)
        self._contents.extend(delivery.contents)
        self._weigh(delivery.records)
        if len(self._records) >= CHUNK_ROWS or self._bytes >= CHUNK_BYTES:
            self._close_chunk()

    def _weigh(self, records: list[dict[str, Any]]) -> None:
        """Counts bytes, and finds out on the way whether orjson writes the records: most it does."""
        try:
            self._bytes += len(orjson.dumps(records))
        except TypeError:
            self._maybe_unencodable = True
            self._bytes += len(json.dumps(records))

    def finish(self) -> None:
        """Ends taking; the types are final afterwards unless `widen` changes them."""
        self._close_chunk()

    def save(self) -> dict[str, Any]:
        """Writes all rows taken so far to files; gives the state, as JSON values, that `restore` takes.

        Raises:
            WarehouseUnusableError: They can't be written beside the warehouse.
        """
        self._close_chunk()
        for i in range(len(self._chunks)):
            self._write(i)
        return {
            "rows": self.rows,
            "types": _names_of(self.types),
            "large_integers": sorted(self.large_integers),
            "names": self._names.of_fields,
            "chunks": [
                {"file": chunk.rows.name, "types": _names_of(chunk.types)}
                for chunk in self._chunks
                if isinstance(chunk.rows, Path)
            ],
            "rejected": [asdict(record) for record in self._rejected.values()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes what an earlier spool in the same folder has saved."""
        self.rows = state["rows"]
        self.large_integers = set(state["large_integers"])
        self._names.restore(state["names"])
        for name, found in _types_of(state["types"]).items():
            self.types[name] = wider(found, self.types.get(name, found))
        self._chunks = [
            _Chunk(_types_of(chunk["types"]), self._folder / chunk["file"]) for chunk in state["chunks"]
        ]
        for record in state["rejected"]:
            self._reject(Rejected(**record))

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
        fields = dict.fromkeys(chain.from_iterable(self._records))
        for field in fields:
            self._names.name(field)
        records, contents = self._without_rejects(self._records, self._contents)
        self._records, self._contents = [], []
        self._bytes, self._maybe_unencodable = 0, False
        if not records:
            return
        types: dict[str, ColumnType] = {}
        arrays: dict[str, Any] = {}
        for field in fields:
            name = self._names.name(field)
            known = self.types.get(name, ColumnType.UNDECIDED)
            values = _values_of(field, records)
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
            self._write(len(self._chunks) - CHUNKS_IN_MEMORY - 1)

    def _write(self, i: int) -> None:
        chunk = self._chunks[i]
        if isinstance(chunk.rows, Path):
            return
        path = self._folder / f"{i:06}.parquet"
        with readable_os_errors(path):
            pq.write_table(chunk.rows, path)
        chunk.rows = path

    # Records that can't be stored

    def _without_rejects(
        self, records: list[dict[str, Any]], contents: list[int]
    ) -> tuple[list[dict[str, Any]], list[int]]:
        if not records:
            return records, contents
        wrong_keys = self._wrong_keys(records)
        reasons = {**self._wrong_contents(records), **wrong_keys}
        if not reasons and not self._rejected:
            return records, contents
        for i, record in enumerate(records):
            if i in reasons:
                self._reject(Rejected(reasons[i], _payload(record), self._id_of(record), i in wrong_keys))
            elif self._rejected:
                self._forgive(self._id_of(record))
        kept = [i for i in range(len(records)) if i not in reasons]
        return [records[i] for i in kept], [contents[i] for i in kept]

    def _reject(self, record: Rejected) -> None:
        self._rejected[record.payload] = record

    def _forgive(self, well: str) -> None:
        """Lets go of the rejects of a row that has now arrived well."""
        outdated = [payload for payload, record in self._rejected.items() if record.id == well]
        for payload in outdated:
            del self._rejected[payload]

    def _id_of(self, record: Mapping[str, Any]) -> str:
        return id_text([record[field] for field in self._primary_key])

    def _wrong_contents(self, records: list[dict[str, Any]]) -> dict[int, str]:
        """Why records can't be stored, by their place. Whole columns are tried first: most are fine."""
        reasons: dict[int, str] = {}
        field = self._created_field()
        created = _values_of(field, records)
        if timestamps(created) is None:
            for i, value in enumerate(created):
                if value is not None and instant(value) is None:
                    reasons[i] = "created_at is not a point in time"
        if self._maybe_unencodable:
            for i, record in enumerate(records):
                if not _encodable(record):
                    reasons[i] = "a text holds half of a surrogate pair, which no text column can hold"
        return reasons

    def _created_field(self) -> str:
        """The field that fills the column created_at: `createdAt` with some APIs."""
        fields = (field for field, column in self._names.of_fields.items() if column == CREATED_AT)
        return next(fields, CREATED_AT)

    def _wrong_keys(self, records: list[dict[str, Any]]) -> dict[int, str]:
        reasons: dict[int, str] = {}
        for field in self._primary_key:
            values = [record[field] for record in records]
            wanted = self._key_type(field, values)
            words = "a text" if wanted is str else "an integer of at most 64 bits"
            for i, value in enumerate(values):
                if not isinstance(value, wanted) or not _fits_key(value):
                    reasons[i] = f"{field} is not {words} as it is in other records"
        return reasons

    def _key_type(self, field: str, values: Sequence[Any]) -> type:
        """The type that a field of the key has, or the one that most of the first records say it has."""
        name = self._names.name(field)
        known = self.types.get(name, ColumnType.UNDECIDED)
        if known is ColumnType.UNDECIDED:
            texts = sum(isinstance(value, str) for value in values)
            return str if 2 * texts >= len(values) else int
        return str if known is ColumnType.TEXT else int


def _values_of(field: str, records: list[dict[str, Any]]) -> list[Any]:
    """The values of a field, None where a record has none."""
    try:
        # Most records have every field: then no Python code runs for each of them.
        return list(map(itemgetter(field), records))
    except KeyError:
        return [record.get(field) for record in records]


def _names_of(types: Mapping[str, ColumnType]) -> dict[str, str]:
    return {column: found.name for column, found in types.items()}


def _types_of(names: Mapping[str, str]) -> dict[str, ColumnType]:
    return {column: ColumnType[name] for column, name in names.items()}


def id_text(key: Sequence[Any]) -> str:
    """The key of a row as a text, the same for a number and for the text of its digits.

    Example:
        >>> id_text([7]), id_text(["a", 7])
        ('7', '["a", "7"]')
    """
    texts = [str(value).encode(errors="backslashreplace").decode() for value in key]
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)


def _fits_key(value: Any) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _encodable(record: dict[str, Any]) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _why_keyless(value: Any) -> str:
    return "it has no usable id" if isinstance(value, dict) else "it is not an object"


def _payload(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
