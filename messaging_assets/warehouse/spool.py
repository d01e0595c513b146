"""Changed rows on their way to staging: judged, typed, and kept in bounded memory.

Records that can't be stored are kept aside with the reason. The others become Arrow tables, which wait in
files beside the warehouse (`parts`). Where they go afterwards belongs to `staging`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from messaging_assets.api.delivery import Delivery
from messaging_assets.api.digests import Digests
from messaging_assets.api.page import field_values
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
from messaging_assets.warehouse.parts import Part, Parts

# Rows of one Arrow table. Below a thousand the cost of a table shows; above some thousands the first rows
# have left the processor's caches before they are looked at again.
CHUNK_ROWS = 2_000
# Bytes of JSON in one Arrow table, where rows are large.
CHUNK_BYTES = 16 * 2**20
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


class Spool:
    """Takes what a sweep delivers and gives it back as files that agree about columns and types.

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
        self._contents: list[Digests] = []
        self._bytes = 0
        self._maybe_unencodable = False
        self._parts = Parts(folder)
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
        if len(delivery.records):
            self._records.extend(delivery.records)
            self._contents.append(delivery.contents)
            self._bytes += delivery.size * len(delivery.records) // len(delivery.seen)
            self._maybe_unencodable |= not delivery.plain
        if len(self._records) >= CHUNK_ROWS or self._bytes >= CHUNK_BYTES:
            self._close_chunk()

    def finish(self) -> None:
        """Ends taking; the types are final afterwards unless somebody widens them.

        Raises:
            WarehouseUnusableError: The rows can't be written beside the warehouse.
        """
        self._close_chunk()
        self._parts.close()

    def save(self) -> dict[str, Any]:
        """Writes all rows taken so far to files; gives the state, as JSON values, that `restore` takes.

        Raises:
            WarehouseUnusableError: They can't be written beside the warehouse.
        """
        self.finish()
        return {
            "rows": self.rows,
            "types": _names_of(self.types),
            "large_integers": sorted(self.large_integers),
            "names": self._names.of_fields,
            "parts": [
                {"file": part.path.name, "types": _names_of(part.types), "rows": part.rows}
                for part in self._parts.parts
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
        parts = (
            Part(self._folder / part["file"], _types_of(part["types"]), part["rows"])
            for part in state["parts"]
        )
        self._parts = Parts(self._folder, tuple(parts))
        for record in state["rejected"]:
            self._reject(Rejected(**record))

    def files(self) -> Iterator[Part]:
        """The rows, in files with the same columns of the same types.

        Raises:
            WarehouseUnusableError: They can't be written beside the warehouse.
        """
        return self._parts.of_types(self._decided_types())

    def _decided_types(self) -> dict[str, ColumnType]:
        return {name: found for name, found in self.types.items() if found is not ColumnType.UNDECIDED}

    def _close_chunk(self) -> None:
        records, contents = self._records, self._contents
        maybe_unencodable = self._maybe_unencodable
        self._records, self._contents = [], []
        self._bytes, self._maybe_unencodable = 0, False
        if not records:
            return
        values = _values_by_field(records)
        for field in values:
            self._names.name(field)
        digests = np.concatenate(contents)
        created = timestamps(values.get(self._created_field(), ()))
        wrong = self._wrong(records, values, created, maybe_unencodable=maybe_unencodable)
        if wrong:
            well = [i for i in range(len(records)) if i not in wrong]
            digests = digests[well]
            values = {field: [column[i] for i in well] for field, column in values.items()}
            created = None
        if len(digests):
            self._write(values, digests, created)

    def _write(self, values: Mapping[str, Sequence[Any]], digests: Digests, created: pa.Array | None) -> None:
        found: dict[str, tuple[ColumnType, pa.Array]] = {}
        for field, column in values.items():
            name = self._names.name(field)
            instants = created if field == self._created_field() else None
            found[name] = typed_column(name, column, self.types.get(name, ColumnType.UNDECIDED), instants)
            self._note_type(name, *found[name])
        types, rows = self._decided_types(), len(digests)
        arrays = {
            name: widened(found[name][1], decided, found[name][0])
            if name in found
            else pa.nulls(rows, decided.arrow)
            for name, decided in types.items()
        }
        sequence = pa.array(np.arange(self.rows, self.rows + rows))
        self._parts.write(pa.table({**arrays, ROW_HASH: pa.array(digests), SEQUENCE: sequence}), types)
        self.rows += rows

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

    # Records that can't be stored

    def _wrong(
        self,
        records: list[dict[str, Any]],
        values: Mapping[str, Sequence[Any]],
        created: pa.Array | None,
        *,
        maybe_unencodable: bool,
    ) -> set[int]:
        """The places of records that can't be stored, which are kept aside."""
        wrong_keys = self._wrong_keys(values)
        reasons = self._wrong_times(values) if created is None else {}
        if maybe_unencodable:
            reasons |= _unencodable(records)
        reasons |= wrong_keys
        for i, record in enumerate(records) if reasons or self._rejected else ():
            if i in reasons:
                self._reject(Rejected(reasons[i], _payload(record), self._id_of(record), i in wrong_keys))
            elif self._rejected:
                self._forgive(self._id_of(record))
        return set(reasons)

    def _reject(self, record: Rejected) -> None:
        self._rejected[record.payload] = record

    def _forgive(self, well: str) -> None:
        """Lets go of the rejects of a row that has now arrived well."""
        outdated = [payload for payload, record in self._rejected.items() if record.id == well]
        for payload in outdated:
            del self._rejected[payload]

    def _id_of(self, record: Mapping[str, Any]) -> str:
        return id_text([record[field] for field in self._primary_key])

    def _wrong_times(self, values: Mapping[str, Sequence[Any]]) -> dict[int, str]:
        """Why records can't be stored, by their place, where created_at is not an instant in all of them."""
        created = values[self._created_field()]
        wrong = (i for i, value in enumerate(created) if value is not None and instant(value) is None)
        return dict.fromkeys(wrong, "created_at is not a point in time")

    def _created_field(self) -> str:
        """The field that fills the column created_at: `createdAt` with some APIs."""
        fields = (field for field, column in self._names.of_fields.items() if column == CREATED_AT)
        return next(fields, CREATED_AT)

    def _wrong_keys(self, columns: Mapping[str, Sequence[Any]]) -> dict[int, str]:
        reasons: dict[int, str] = {}
        for field in self._primary_key:
            values = columns[field]
            wanted = self._key_type(field, values)
            if wanted is str and set(map(type, values)) == {str}:
                continue
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


def _values_by_field(records: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """The values of each field, None where a record has none."""
    fields = list(records[0])
    if len(fields) > 1 and set(map(len, records)) == {len(fields)}:
        try:
            # Most records have the same fields: then all columns are made at once, without Python code.
            return dict(zip(fields, zip(*map(itemgetter(*fields), records), strict=True), strict=True))
        except KeyError:
            pass
    return {field: field_values(records, field) for field in dict.fromkeys(chain.from_iterable(records))}


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


def _unencodable(records: list[dict[str, Any]]) -> dict[int, str]:
    wrong = (i for i, record in enumerate(records) if not _encodable(record))
    return dict.fromkeys(wrong, "a text holds half of a surrogate pair, which no text column can hold")


def _why_keyless(value: Any) -> str:
    return "it has no usable id" if isinstance(value, dict) else "it is not an object"


def _payload(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
