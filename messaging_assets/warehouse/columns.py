"""The type of each column, found by the evidence of the values, and the conversion of values to it.

A type only ever widens. The types make a small lattice: nothing seen yet; boolean, integer, number,
timestamp, text; JSON. Values that disagree become text, nested ones JSON, without loss. Which rows are
loaded belongs to `records`, how a table follows to `publish`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.normalizers.naming.snake_case import NamingConvention

# Integers up to here are exact as floating-point numbers.
EXACT_IN_DOUBLE = 2**53
_NAMING = NamingConvention()
# Columns of the platform's own; a field of the API with such a name is prefixed.
OWN_COLUMNS = frozenset({"deleted_at", "_row_hash", "_sequence"})
_EPOCH_TEXT = re.compile(r"\d{9,16}(\.\d+)?", re.ASCII)
# Epoch timestamps between 1973 and 2286, in seconds, milliseconds and microseconds.
_EPOCH_UNITS = ((10**8, 10**10, 10**6), (10**11, 10**13, 10**3), (10**14, 10**16, 1))


class ColumnType(Enum):
    """The types of columns; the value is DuckDB's name."""

    UNDECIDED = "NULL"
    BOOLEAN = "BOOLEAN"
    INTEGER = "BIGINT"
    NUMBER = "DOUBLE"
    TIMESTAMP = "TIMESTAMP WITH TIME ZONE"
    TEXT = "VARCHAR"
    JSON = "JSON"

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type in which values travel; JSON travels as text."""
        return _ARROW[self]


_ARROW = {
    ColumnType.UNDECIDED: pa.null(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    ColumnType.TEXT: pa.string(),
    ColumnType.JSON: pa.string(),
}
# dlt's names of data types, as `columns` hints use them.
HINTS = {
    "bool": ColumnType.BOOLEAN,
    "bigint": ColumnType.INTEGER,
    "double": ColumnType.NUMBER,
    "timestamp": ColumnType.TIMESTAMP,
    "text": ColumnType.TEXT,
    "json": ColumnType.JSON,
}


def wider(one: ColumnType, other: ColumnType) -> ColumnType:
    """The narrowest type that holds the values of both.

    Example:
        >>> wider(ColumnType.INTEGER, ColumnType.NUMBER).name
        'NUMBER'
        >>> wider(ColumnType.INTEGER, ColumnType.TEXT).name
        'TEXT'
    """
    types = {one, other} - {ColumnType.UNDECIDED}
    if len(types) < 2:
        return next(iter(types), ColumnType.UNDECIDED)
    if types == {ColumnType.INTEGER, ColumnType.NUMBER}:
        return ColumnType.NUMBER
    return ColumnType.JSON if ColumnType.JSON in types else ColumnType.TEXT


def numbers_for_integers(before: Mapping[str, ColumnType], after: Mapping[str, ColumnType]) -> list[str]:
    """The columns whose type widens from integers to numbers, which large integers do not survive."""
    return [
        name
        for name, found in before.items()
        if found is ColumnType.INTEGER and after[name] is ColumnType.NUMBER
    ]


class ColumnNames:
    """The names of columns for the names of fields: snake case, by dlt's own convention.

    Args:
        known: The columns of fields seen in earlier syncs.

    Attributes:
        of_fields: The column of each field named so far.

    Example:
        >>> names = ColumnNames({"user_id": "user_id"})
        >>> names.name("userId"), names.name("at")
        ('user_id_2', 'at')
    """

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self.of_fields: dict[str, str] = dict(known or {})
        self._taken = set(self.of_fields.values())

    def name(self, field: str) -> str:
        """The column of a field; the same field always has the same.

        Two fields that come to the same name (`userId` and `user_id`) get columns of their own.
        """
        known = self.of_fields.get(field)
        if known is not None:
            return known
        column = column_name(field)
        candidate, number = column, 2
        while candidate in self._taken:
            candidate, number = f"{column}_{number}", number + 1
        self.of_fields[field] = candidate
        self._taken.add(candidate)
        return candidate

    def restore(self, of_fields: Mapping[str, str]) -> None:
        """Takes the names that an earlier run has given."""
        self.of_fields.update(of_fields)
        self._taken.update(of_fields.values())


def column_name(field: str) -> str:
    """The column that a field gets if no other field has it.

    Example:
        >>> column_name("userId"), column_name("deleted_at")
        ('user_id', 'source_deleted_at')
    """
    column = _NAMING.normalize_identifier(field) if field.strip() else "_empty"
    return f"source_{column.lstrip('_')}" if column in OWN_COLUMNS else column


def typed_column(
    name: str, values: Sequence[Any], known: ColumnType, instants: pa.Array | None = None
) -> tuple[ColumnType, pa.Array]:
    """Finds the type of a column's values and converts them.

    Args:
        name: The column's name; timestamps are looked for in columns that end in `_at`.
        values: JSON values, None for a missing one.
        known: The type that the column has already; the result is never narrower.
        instants: The values as instants, where somebody has found out already that they are.

    Returns:
        The type, and the values in its Arrow type.
    """
    if instants is not None and _may_be_time(name, {str}, known):
        return ColumnType.TIMESTAMP, instants
    texts = _texts(values)
    if texts is not None and texts.null_count < len(texts):
        return _typed_texts(name, texts, values, known)
    kinds = set(map(type, values)) - {type(None)}
    if _may_be_time(name, kinds, known) and (found := timestamps(values)) is not None:
        return ColumnType.TIMESTAMP, found
    column_type = wider(known, _evidence(values, kinds))
    if column_type is ColumnType.NUMBER and not _exact(values):
        column_type = ColumnType.TEXT
    return column_type, _converted(values, column_type)


def _typed_texts(
    name: str, texts: pa.Array, values: Sequence[Any], known: ColumnType
) -> tuple[ColumnType, pa.Array]:
    """What `typed_column` gives for a column of nothing but texts, as most are."""
    if _may_be_time(name, {str}, known) and (found := timestamps(values, texts)) is not None:
        return ColumnType.TIMESTAMP, found
    column_type = wider(known, ColumnType.TEXT)
    return column_type, texts if column_type is ColumnType.TEXT else _converted(values, column_type)


def _texts(values: Sequence[Any]) -> pa.Array | None:
    """Values as texts, None where one of them is none."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return None


def _may_be_time(name: str, kinds: set[type], known: ColumnType) -> bool:
    if not kinds or kinds & {dict, list, bool}:
        return False
    return known is ColumnType.TIMESTAMP or (known is ColumnType.UNDECIDED and name.endswith("_at"))


def _evidence(values: Sequence[Any], kinds: set[type]) -> ColumnType:
    if not kinds:
        return ColumnType.UNDECIDED
    if kinds & {dict, list}:
        return ColumnType.JSON
    if kinds == {str}:
        return ColumnType.TEXT
    if kinds == {bool}:
        return ColumnType.BOOLEAN
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return ColumnType.INTEGER
    return ColumnType.NUMBER if kinds <= {int, float} else ColumnType.TEXT


def _exact(values: Sequence[Any]) -> bool:
    """Whether all integers among the values are exact as floating-point numbers."""
    return all(abs(value) <= EXACT_IN_DOUBLE for value in values if type(value) is int)


def _converted(values: Sequence[Any], column_type: ColumnType) -> pa.Array:
    if column_type is ColumnType.JSON:
        return _as_json(values)
    if column_type is ColumnType.TEXT:
        return _as_text(values)
    if column_type is ColumnType.TIMESTAMP:
        converted = timestamps(values)
        assert converted is not None
        return converted
    if column_type is ColumnType.NUMBER:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array(values, column_type.arrow)


def _as_text(values: Sequence[Any]) -> pa.Array:
    """Texts as they are, booleans and numbers the way JSON writes them."""
    texts = _texts(values)
    if texts is not None:
        return texts
    return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string())


def _as_json(values: Sequence[Any]) -> pa.Array:
    """Values as JSON text; most columns hold nothing that is not orjson's."""
    try:
        texts = [None if value is None else orjson.dumps(value).decode() for value in values]
    except TypeError:
        texts = [None if value is None else json_text(value) for value in values]
    return pa.array(texts, pa.string())


def json_text(value: Any) -> str:
    """A value as JSON text, integers of any size included."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def timestamps(values: Sequence[Any], texts: pa.Array | None = None) -> pa.Array | None:
    """Values as instants in UTC, None where one of them is none.

    Understood are ISO 8601 with any offset (UTC where there is none), and seconds, milliseconds and
    microseconds since 1970, told apart by their size.

    Args:
        values: JSON values, None for a missing one.
        texts: The same as Arrow's texts, where somebody has them already.
    """
    try:
        texts = pa.array(values, pa.string()) if texts is None else texts
        found = pc.cast(texts, _ARROW[ColumnType.TIMESTAMP])
        # Arrow counts on beyond the years 1 to 9999, where no datetime exists.
        pc.min_max(found).as_py()
        return found
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, OverflowError):
        instants = [None if value is None else instant(value) for value in values]
    if any(found is None and value is not None for found, value in zip(instants, values, strict=True)):
        return None
    return pa.array(instants, _ARROW[ColumnType.TIMESTAMP])


def instant(value: Any) -> datetime | None:
    """One value as an instant, None where it is none.

    Example:
        >>> instant("2026-03-29T02:10:00+01:00").isoformat()
        '2026-03-29T01:10:00+00:00'
        >>> instant(1774746600) == instant(1774746600000)
        True
    """
    if isinstance(value, str):
        if _EPOCH_TEXT.fullmatch(value):
            return _epoch(float(value) if "." in value else int(value))
        try:
            moment = datetime.fromisoformat(value.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _epoch(value)
    return None


def _epoch(value: float) -> datetime | None:
    for low, high, to_microseconds in _EPOCH_UNITS:
        if low <= value < high:
            whole = value * to_microseconds if isinstance(value, int) else round(value * to_microseconds)
            return datetime.fromtimestamp(whole // 10**6, UTC).replace(microsecond=whole % 10**6)
    return None


def widened(column: pa.Array | pa.ChunkedArray, to: ColumnType, before: ColumnType) -> Any:
    """Converts a column that was typed before its type widened."""
    if before is to:
        return column
    if before is ColumnType.UNDECIDED:
        return pa.nulls(len(column), to.arrow)
    if to is ColumnType.NUMBER:
        return column.cast(pa.float64())
    plain = _plain_values(column, before)
    return _as_json(plain) if to is ColumnType.JSON else _as_text(plain)


def _plain_values(column: Any, before: ColumnType) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if before is ColumnType.TIMESTAMP:
        return [
            None if v is None else v.isoformat(timespec="microseconds").replace("+00:00", "Z") for v in values
        ]
    return values


def column_type_of(duckdb_type: str) -> ColumnType:
    """The type of a column of an existing table; a type that is not ours counts as text."""
    return _BY_DUCKDB_NAME.get(duckdb_type.upper(), ColumnType.TEXT)


_BY_DUCKDB_NAME = {column_type.value: column_type for column_type in ColumnType}


def hinted_types(columns: Mapping[str, str], *, without: Sequence[str] = ()) -> dict[str, ColumnType]:
    """The types that a connection file's `columns` ask for, where they are types of ours.

    Args:
        columns: dlt's data types by field or column.
        without: Fields of the key, which have the type that the API sends.
    """
    return {
        column_name(name): HINTS[data_type]
        for name, data_type in columns.items()
        if data_type in HINTS and name not in without
    }
