"""Types found by evidence: whatever JSON arrives, in whatever order and batches, comes back without loss."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging_assets.warehouse import spool as spool_module
from messaging_assets.warehouse.columns import (
    ColumnNames,
    ColumnType,
    column_name,
    hinted_types,
    instant,
    numbers_for_integers,
    timestamps,
    typed_column,
    wider,
)
from messaging_assets.warehouse.publish import Target, create_table, write_rows
from messaging_assets.warehouse.spool import Spool
from messaging_assets.warehouse.staging import attach_staging
from messaging_assets.warehouse.table import columns_of, inexact_columns, is_empty, known_types
from messaging_assets_tests.warehouse.test_spool import delivery, tables_of

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
TARGET = Target("chat", "things", ("id",))


class Shelf:
    """A table filled the way a sync fills it, without HTTP and without dlt."""

    def __init__(self, folder: Path) -> None:
        self.database = duckdb.connect()
        self.database.execute("SET TimeZone = 'UTC'; CREATE SCHEMA chat")
        attach_staging(self.database)
        self.database.execute("CREATE SCHEMA _staging.chat_staging")
        self.names = ColumnNames()
        self._folder = folder

    def sync(self, records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
        columns = columns_of(self.database, "chat", "things")
        known = {} if not columns or is_empty(self.database, "chat", "things") else known_types(columns)
        spool = Spool(self._folder, ["id"], known, self.names)
        for record in records:
            spool.add(delivery(record))
        spool.finish()
        assert spool.rejected == []
        at_risk = numbers_for_integers(known, spool.types)
        for name in inexact_columns(self.database, "chat", "things", at_risk):
            spool.types[name] = ColumnType.TEXT
        changes = create_table(self.database, TARGET, spool.types)
        if spool.rows:
            staged = pa.concat_tables(tables_of(spool))
            self.database.register("staged", staged)
            self.database.execute(f"CREATE OR REPLACE TABLE {TARGET.staged} AS FROM staged")
            self.database.unregister("staged")
            write_rows(self.database, TARGET, spool.types)
        return changes

    def column(self, name: str) -> list[Any]:
        return [
            row[0]
            for row in self.database.execute(f'SELECT "{name}" FROM chat.things ORDER BY id').fetchall()
        ]

    def type_of(self, name: str) -> str:
        found = {column.name: column.type for column in columns_of(self.database, "chat", "things")}
        return found.get(name, "")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def says_the_same(sent: Any, stored: Any, kind: str, *, is_time: bool = False) -> bool:
    """Whether a stored value still says what was sent; a column of texts holds numbers as texts."""
    if sent is None or stored is None:
        return sent is stored
    possible = [stored]
    if kind == "JSON":
        possible.append(json.loads(stored))
    if not isinstance(sent, str):
        possible += [json.loads(text) for text in possible if isinstance(text, str) and is_json(text)]
    if is_time and instant(sent) is not None:
        return any(equal(value, sent) or moment_of(value) == instant(sent) for value in possible)
    return any(equal(value, sent) for value in possible)


def equal(stored: Any, sent: Any) -> bool:
    return bool(stored == sent) and isinstance(stored, bool) == isinstance(sent, bool)


def moment_of(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else instant(value)


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.one_of(
    st.integers(-5, 5),
    st.integers(2**53 - 2, 2**53 + 2),
    st.integers(-(2**53) - 2, -(2**53) + 2),
    st.integers(2**63 - 2, 2**64 + 2),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False, allow_infinity=False),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
json_values = st.one_of(
    scalars, scalars, st.lists(nested, max_size=2), st.dictionaries(texts, nested, max_size=2)
)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.sampled_from([UTC]))
times = st.one_of(
    moments.map(datetime.isoformat),
    moments.map(lambda m: m.replace(tzinfo=None).isoformat()),
    st.integers(10**9, 10**10 - 1),
    st.integers(10**12, 10**13 - 1),
    st.integers(10**15, 10**16 - 1),
    st.sampled_from(
        ["2026-03-29T02:10:00+01:00", "2026-03-29T02:50:00+02:00", "1774746600", "soon", 5, None, ""]
    ),
)


def batches(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[list[list[Any]], int]]:
    """Values in a few syncs, and the number of rows of a chunk."""
    return st.tuples(st.lists(st.lists(values, max_size=5), min_size=1, max_size=3), st.integers(1, 4))


def fill(shelf: Shelf, syncs: list[list[Any]], chunk_rows: int, field: str) -> list[Any]:
    sent: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "CHUNK_ROWS", chunk_rows)
        for values in syncs:
            records = [{"id": len(sent) + i, field: value} for i, value in enumerate(values)]
            shelf.sync(records)
            sent.extend(values)
    return sent


fast = settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@fast
@given(batches(json_values))
def test_any_values_in_any_batches_come_back(tmp_path: Path, drawn: tuple[list[list[Any]], int]) -> None:
    shelf = Shelf(tmp_path)
    sent = fill(shelf, *drawn, "value")
    kind = shelf.type_of("value")
    stored = shelf.column("value") if kind else [None] * len(sent)
    assert all(says_the_same(a, b, kind) for a, b in zip(sent, stored, strict=True))


@settings(fast, max_examples=25)
@given(batches(json_values), st.integers(1, 4))
def test_the_type_does_not_hang_on_batches(
    tmp_path: Path, drawn: tuple[list[list[Any]], int], other_rows: int
) -> None:
    syncs, chunk_rows = drawn
    one, other = Shelf(tmp_path), Shelf(tmp_path)
    fill(one, syncs, chunk_rows, "value")
    fill(other, [[value for values in syncs for value in values]], other_rows, "value")
    assert one.type_of("value") == other.type_of("value")


@fast
@given(batches(times))
def test_times_keep_their_instant(tmp_path: Path, drawn: tuple[list[list[Any]], int]) -> None:
    shelf = Shelf(tmp_path)
    sent = fill(shelf, *drawn, "seen_at")
    kind = shelf.type_of("seen_at")
    stored = shelf.column("seen_at") if kind else [None] * len(sent)
    assert all(says_the_same(a, b, kind, is_time=True) for a, b in zip(sent, stored, strict=True))


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-29T12:00:00Z",
        "2026-03-29T14:00:00+02:00",
        "2026-03-29T06:30:00-0530",
        "2026-03-29 12:00:00",
        "2026-03-29T12:00",
        " 2026-03-29T12:00:00.000000Z ",
        1774785600,
        1774785600.0,
        1774785600000,
        1774785600000000,
        "1774785600",
        "1774785600.0",
        "1774785600000",
        "1774785600000000",
    ],
)
def test_every_way_to_write_an_instant_is_understood(value: Any) -> None:
    assert instant(value) == NOON
    found = timestamps([value, None])
    assert found is not None
    assert found.to_pylist() == [NOON, None]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "2026-13-01",
        "2026",
        "12:00",
        True,
        [],
        {},
        0,
        -1,
        5.5,
        10**17,
        "0001-01-01T00:00:00+05:00",
    ],
)
def test_what_is_no_instant_is_not_taken_for_one(value: Any) -> None:
    assert instant(value) is None
    assert timestamps([value, "2026-03-29T12:00:00Z"]) is None


def test_fractions_of_an_epoch_are_kept_to_the_microsecond() -> None:
    assert instant("1774785600.123456") == NOON.replace(microsecond=123456)
    assert instant(1774785600123.456) == NOON.replace(microsecond=123456)


def test_epochs_of_the_last_century_are_instants() -> None:
    assert instant(946684800) == instant("946684800000") == datetime(2000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "then", "kind", "stored"),
    [
        ([1], [1.5], "DOUBLE", [1.0, 1.5]),
        ([1], ["x"], "VARCHAR", ["1", "x"]),
        ([1.5], ["x"], "VARCHAR", ["1.5", "x"]),
        ([True], [1], "VARCHAR", ["true", "1"]),
        (["x"], [{"a": 1}], "JSON", ['"x"', '{"a":1}']),
        ([1], [[1, None]], "JSON", ["1", "[1,null]"]),
        ([2**60], [1.5], "VARCHAR", [str(2**60), "1.5"]),
        ([1.5], [2**60], "VARCHAR", ["1.5", str(2**60)]),
        ([1], [2**70], "VARCHAR", ["1", str(2**70)]),
        ([1], [None], "BIGINT", [1, None]),
        ([None], [1], "BIGINT", [None, 1]),
        ([{"n": 2**70}], [None], "JSON", [f'{{"n":{2**70}}}', None]),
    ],
)
@pytest.mark.parametrize("in_one_sync", [True, False])
def test_types_widen_without_loss(
    shelf: Shelf, first: list[Any], then: list[Any], kind: str, stored: list[Any], in_one_sync: bool
) -> None:
    fill(shelf, [first + then] if in_one_sync else [first, then], 1, "value")
    assert (shelf.type_of("value"), shelf.column("value")) == (kind, stored)


def test_an_instant_among_texts_becomes_a_text_of_the_same_instant(shelf: Shelf) -> None:
    fill(shelf, [["2026-03-29T14:00:00+02:00"], ["soon"]], 10, "seen_at")
    assert shelf.column("seen_at") == ["2026-03-29T12:00:00.000000Z", "soon"]
    other = Shelf(shelf._folder)
    fill(other, [["2026-03-29T14:00:00+02:00", "soon"]], 1, "seen_at")
    assert other.column("seen_at") == ["2026-03-29T12:00:00.000000Z", "soon"]


def test_changes_of_columns_are_told(shelf: Shelf) -> None:
    assert shelf.sync([{"id": 1, "a": 1}]) == ()
    assert shelf.sync([{"id": 2, "a": "x", "b": True}]) == ("a: BIGINT became VARCHAR", "b: new, BOOLEAN")
    assert shelf.sync([{"id": 3}]) == ()


@pytest.mark.parametrize("one", list(ColumnType))
@pytest.mark.parametrize("other", list(ColumnType))
def test_widening_is_a_lattice(one: ColumnType, other: ColumnType) -> None:
    both = wider(one, other)
    assert both is wider(other, one)
    assert wider(both, one) is both
    assert wider(both, other) is both


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("userId", "user_id"),
        ("select", "select"),
        ("at", "at"),
        ("deleted_at", "source_deleted_at"),
        ("deletedAt", "source_deleted_at"),
        ("_row_hash", "source_row_hash"),
        ("_sequence", "source_sequence"),
        ("", "_empty"),
        (" ", "_empty"),
        ("a b", "a_b"),
        ("1st", "_1st"),
    ],
)
def test_fields_get_columns_in_snake_case(field: str, column: str) -> None:
    assert column_name(field) == ColumnNames().name(field) == column


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True))
def test_no_two_fields_share_a_column(fields: list[str]) -> None:
    names = ColumnNames()
    columns = [names.name(field) for field in fields]
    assert len(set(columns)) == len(fields)
    assert [names.name(field) for field in fields] == columns
    later = ColumnNames(names.of_fields)
    assert [later.name(field) for field in reversed(fields)] == columns[::-1]


def test_hints_are_of_columns_and_never_of_the_key() -> None:
    hints = hinted_types({"id": "text", "seenAt": "timestamp", "n": "double", "d": "decimal"}, without=["id"])
    assert hints == {"seen_at": ColumnType.TIMESTAMP, "n": ColumnType.NUMBER}


def test_a_hint_makes_times_of_a_column_with_any_name() -> None:
    kind, values = typed_column("ts", [1774785600, "1774785600"], ColumnType.TIMESTAMP)
    assert kind is ColumnType.TIMESTAMP
    assert values.to_pylist() == [NOON, NOON]
