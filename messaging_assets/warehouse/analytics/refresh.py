"""Bringing the tables of the analytics up to date: only rows that differ are written.

Each model is computed from the raw tables as they are and compared with the table as it is. So late
messages, edits, deletions, restored rows and new names reach the days they belong to, whatever happened
before, and nothing is written where nothing changed. Where no sync has changed a raw table since, and the day
is the same, not even that is needed. What a model says belongs to its file.

No lock of a sync is taken: a sync publishes in one transaction, and nobody else has the file open then.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from messaging_assets.api.connection import Connection
from messaging_assets.api.settings import lock_timeout
from messaging_assets.warehouse.analytics.model import Model, read_models
from messaging_assets.warehouse.analytics.sources import Sources
from messaging_assets.warehouse.database import open_database, transaction
from messaging_assets.warehouse.errors import WarehouseMissingError
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets.warehouse.memory import with_enough_memory
from messaging_assets.warehouse.sql import literal, qualified, quoted
from messaging_assets.warehouse.table import Column, columns_of

# A row per model: what its table was made by and of, and the version of its content.
BOOKKEEPING = "_models"
# The period of a model whose rows stand for a week.
WEEK = "week"
_COMPUTED = "_computed"
_DIFFERENT = "_different"
# A row as the model computes it now, and as its table holds it.
_SIDES = ("computed", "held")


@dataclass(frozen=True)
class Days:
    """A range of days, both included, in the connection's time zone."""

    first: date
    last: date


@dataclass(frozen=True)
class RefreshResult:
    """What refreshing one model did.

    Attributes:
        model: The model's name.
        table: The table, with its schema.
        skipped: Why it was not refreshed, in words; None where it was. An older table stays as it is.
        rows: Rows in the table now.
        written: Rows that are new or differ from before.
        removed: Rows that are there no longer; not counted where the table was made anew.
        days: The days whose rows were written or removed, in order (Mondays where a row stands for a week);
            empty for a model whose rows stand for the whole time.
        rebuilt: Why the table was made anew as a whole, in words; None where only differences were written.
        columns: The columns of the table now.
        content_version: Stays the same as long as the table's content does; empty where it was never built.
        seconds: How long it took.
    """

    model: str
    table: str
    skipped: str | None = None
    rows: int = 0
    written: int = 0
    removed: int = 0
    days: tuple[date, ...] = ()
    rebuilt: str | None = None
    columns: tuple[Column, ...] = ()
    content_version: str = ""
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.written or self.removed or self.rebuilt)

    def line(self) -> str:
        """What happened, as a line for a log."""
        if self.skipped:
            return f"{self.table} is skipped: {self.skipped}"
        if not self.changed:
            return f"{self.table} is up to date: {self.rows} rows, nothing written ({self.seconds:.1f} s)"
        how = f"made anew ({self.rebuilt})" if self.rebuilt else "refreshed"
        days = f" on {len(self.days)} days" if self.days else ""
        return (
            f"{self.table} is {how}: {self.rows} rows, {self.written} written, {self.removed} removed{days} "
            f"({self.seconds:.1f} s)"
        )


def analytics_schema(connection: str) -> str:
    """The schema of a connection's analytics."""
    return f"{connection}_analytics"


def refresh_model(
    database: Path, connection: Connection, model: Model, *, days: Days | None = None
) -> RefreshResult:
    """Brings one model up to date, in one transaction.

    Args:
        database: The DuckDB file.
        connection: The connection.
        model: The model.
        days: Compare every column of every row of these days, whether a sync changed anything or not, and
            leave the other days as they are; None for all days. A model without a period is refreshed as a
            whole.

    Raises:
        WarehouseMissingError: Nothing was synced yet.
        WarehouseBusyError: Another process holds the file.
        WarehouseError: DuckDB refused; the table is as it was before.
    """
    return refresh_models(database, connection, [model], days=days)[0]


def refresh_models(
    database: Path,
    connection: Connection,
    models: Sequence[Model] | None = None,
    *,
    days: Days | None = None,
) -> tuple[RefreshResult, ...]:
    """Brings several models up to date, all of them by default, each in a transaction of its own.

    The file is opened once, so that all of them see the same raw tables.

    Args:
        database: The DuckDB file.
        connection: The connection.
        models: The models.
        days: As in `refresh_model`.

    Raises:
        WarehouseMissingError: Nothing was synced yet.
        WarehouseBusyError: Another process holds the file.
        WarehouseError: DuckDB refused; the models before are refreshed, the others are as they were.
    """
    if not database.exists():
        raise WarehouseMissingError(
            "there is no warehouse yet", where=str(database), remedy="run a sync first: `messaging sync`"
        )
    asked = read_models() if models is None else models
    results: list[RefreshResult] = []

    def refresh(memory: str | None) -> None:
        with open_database(database, timeout=lock_timeout(), memory=memory) as opened:
            opened.execute(f"SET TimeZone = {literal(connection.analytics.time_zone)}")
            sources = Sources(opened, connection)
            for model in asked[len(results) :]:
                # One by one: what is refreshed stays so when a later one needs more memory.
                results.append(_Refresh(opened, sources, connection, model).run(days))  # noqa: PERF401

    with typed_failures(database):
        with_enough_memory(refresh)
    return tuple(results)


@dataclass(frozen=True)
class _Made:
    """What the bookkeeping says of a table.

    Attributes:
        definition: By which statements it was made.
        content_version: The version of its content.
        source: What it was made of: the versions of the raw tables, and the day; empty where that can't be
            told.
    """

    definition: str = ""
    content_version: str = ""
    source: str = ""


class _Refresh:
    """One refresh of one model."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, sources: Sources, connection: Connection, model: Model
    ) -> None:
        self._database = database
        self._sources = sources
        self._model = model
        self._schema = analytics_schema(connection.name)
        self._table = qualified(self._schema, model.name)
        self._title = f"{self._schema}.{model.name}"
        self._time_zone = connection.analytics.time_zone
        self._clock = time.monotonic()

    def run(self, days: Days | None) -> RefreshResult:
        """Compares, and writes what differs."""
        made = self._made()
        result = RefreshResult(self._model.name, self._title, content_version=made.content_version)
        missing = self._sources.missing(self._model.reads)
        if missing:
            return self._completed(replace(result, skipped=missing))
        definition = self._definition(self._sources.provide(self._model.reads))
        source = self._source()
        reason = self._why_anew(made, definition)
        if source and source == made.source and not days and not reason:
            return self._completed(result)
        with transaction(self._database):
            result = self._make_anew(result, reason) if reason else self._write_differences(result, days)
            if result.changed:
                result = replace(result, content_version=datetime.now(UTC).isoformat())
            # What was compared in some days alone is as old as it was in the others.
            now = _Made(definition, result.content_version, made.source if days and not reason else source)
            if now != made:
                self._keep(now)
        return self._completed(result)

    # ---- what the table was made by --------------------------------------------------------------

    def _definition(self, views: Iterable[str]) -> str:
        """A digest of all that decides what the table holds, besides the raw rows."""
        parts = (self._time_zone, *views, self._model.sql)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _source(self) -> str:
        """What the table is made of now, empty where it can't be told: no sync has written the raw tables."""
        versions = self._sources.content_versions()
        today = self._database.execute("SELECT current_date").fetchall()[0][0]
        return json.dumps([str(today), versions]) if versions else ""

    def _made(self) -> _Made:
        held = {column.name for column in columns_of(self._database, self._schema, BOOKKEEPING)}
        if not held:
            return _Made()
        source = "source" if "source" in held else "''"
        found = self._database.execute(
            f"SELECT definition, content_version, {source} "  # noqa: S608
            f"FROM {qualified(self._schema, BOOKKEEPING)} WHERE model = ?",
            [self._model.name],
        ).fetchall()
        return _Made(*found[0]) if found else _Made()

    def _keep(self, made: _Made) -> None:
        table = qualified(self._schema, BOOKKEEPING)
        self._database.execute(
            f"CREATE TABLE IF NOT EXISTS {table} "
            "(model VARCHAR NOT NULL, definition VARCHAR NOT NULL, content_version VARCHAR NOT NULL)"
        )
        self._database.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS source VARCHAR DEFAULT ''")
        self._database.execute(f"DELETE FROM {table} WHERE model = ?", [self._model.name])  # noqa: S608
        self._database.execute(
            f"INSERT INTO {table} VALUES (?, ?, ?, ?)",  # noqa: S608
            [self._model.name, made.definition, made.content_version, made.source],
        )

    def _why_anew(self, made: _Made, definition: str) -> str | None:
        held = [(column.name, column.type) for column in self._columns()]
        if not held:
            return "it was not there"
        if made.definition != definition:
            return "the model, the time zone or the names of columns changed"
        if held != [(column.name, column.type) for column in self._model.columns]:
            return "its columns were not those of the model"
        return None

    # ---- writing ---------------------------------------------------------------------------------

    def _make_anew(self, result: RefreshResult, reason: str) -> RefreshResult:
        days = self._days()
        self._database.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self._schema)}")
        self._database.execute(f"CREATE OR REPLACE TABLE {self._table} AS {self._model.sql}")
        self._describe()
        days |= self._days()
        return replace(result, rebuilt=reason, written=self._count(), days=tuple(sorted(days)))

    def _describe(self) -> None:
        """Tells whoever opens the file what the table and its columns are."""
        self._database.execute(f"COMMENT ON TABLE {self._table} IS {literal(self._model.description)}")
        for column in self._model.columns:
            place = f"{self._table}.{quoted(column.name)}"
            self._database.execute(f"COMMENT ON COLUMN {place} IS {literal(column.description)}")

    def _write_differences(self, result: RefreshResult, days: Days | None) -> RefreshResult:
        wanted = days if self._model.period else None
        columns = self._names if wanted else self._model.compared
        # Where a few columns tell the rows that differ, the others are computed for these rows alone.
        computed = f"({self._model.sql})"
        if len(columns) == len(self._names):
            self._database.execute(f"CREATE OR REPLACE TEMP TABLE {_COMPUTED} AS {self._model.sql}")
            computed = _COMPUTED
        self._find_differences(computed, columns, wanted)
        written, removed = self._database.execute(
            f"SELECT count(*) FILTER (WHERE is_computed), count(*) FILTER (WHERE NOT is_computed) "  # noqa: S608
            f"FROM {_DIFFERENT}"
        ).fetchall()[0]
        if written or removed:
            self._replace_different_rows(computed)
        return replace(result, written=written, removed=removed, days=self._days_of_differences())

    def _find_differences(self, computed: str, columns: Sequence[str], days: Days | None) -> None:
        """Notes the keys of the rows that differ, and the days to which they belong before and after."""
        period = (self._model.period,) if self._model.period else ()
        names = ", ".join(quoted(name) for name in dict.fromkeys((*self._model.grain, *period, *columns)))
        keys = (
            f"CASE WHEN computed.is_there THEN computed.{key} ELSE held.{key} END AS {key}"
            for key in map(quoted, self._model.grain)
        )
        both = [f"{side}.{quoted(name)} AS {side}_day" for name in period for side in _SIDES]
        differs = (f"computed.{name} IS DISTINCT FROM held.{name}" for name in map(quoted, columns))
        self._database.execute(
            f"""CREATE OR REPLACE TEMP TABLE {_DIFFERENT} AS
                SELECT DISTINCT {", ".join([*keys, *both])}, computed.is_there IS NOT NULL AS is_computed
                FROM (SELECT {names}, TRUE AS is_there FROM {computed}) AS computed
                FULL JOIN (SELECT {names}, TRUE AS is_there FROM {self._table}) AS held
                    ON {self._same_key("computed", "held")}
                WHERE (computed.is_there IS DISTINCT FROM held.is_there OR {" OR ".join(differs)})
                    AND {self._within(days)}"""  # noqa: S608 - quoted names
        )

    def _within(self, days: Days | None) -> str:
        """The condition that a row belongs to these days, before or after."""
        if days is None:
            return "TRUE"
        first = days.first
        if self._model.period == WEEK:
            first -= timedelta(days=first.weekday())
        period = quoted(str(self._model.period))
        either = (f"{side}.{period} BETWEEN DATE '{first}' AND DATE '{days.last}'" for side in _SIDES)
        return f"({' OR '.join(either)})"

    def _replace_different_rows(self, computed: str) -> None:
        self._database.execute(
            f"DELETE FROM {self._table} AS held USING {_DIFFERENT} AS different "  # noqa: S608
            f"WHERE {self._same_key('held', 'different')}"
        )
        self._database.execute(
            f"INSERT INTO {self._table} SELECT computed.* FROM {computed} AS computed "  # noqa: S608
            f"SEMI JOIN {_DIFFERENT} AS different ON {self._same_key('computed', 'different')}"
        )

    def _same_key(self, one: str, other: str) -> str:
        """The condition that two rows have the same key; a part of it may be null."""
        keys = map(quoted, self._model.grain)
        return " AND ".join(f"{one}.{key} IS NOT DISTINCT FROM {other}.{key}" for key in keys)

    # ---- what is there ---------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self._model.columns)

    def _columns(self) -> tuple[Column, ...]:
        return columns_of(self._database, self._schema, self._model.name)

    def _count(self) -> int:
        found = self._database.execute(f"SELECT count(*) FROM {self._table}").fetchall()  # noqa: S608
        return int(found[0][0])

    def _days(self) -> set[date]:
        """The days to which the rows of the table belong."""
        period = self._model.period
        if not period or period not in (column.name for column in self._columns()):
            return set()
        query = f"SELECT DISTINCT {quoted(period)} FROM {self._table} WHERE {quoted(period)} IS NOT NULL"  # noqa: S608
        return {row[0] for row in self._database.execute(query).fetchall()}

    def _days_of_differences(self) -> tuple[date, ...]:
        if not self._model.period:
            return ()
        query = f"SELECT DISTINCT unnest([computed_day, held_day]) AS day FROM {_DIFFERENT}"  # noqa: S608
        return tuple(sorted(row[0] for row in self._database.execute(query).fetchall() if row[0] is not None))

    def _completed(self, result: RefreshResult) -> RefreshResult:
        columns = self._columns()
        rows = self._count() if columns else 0
        return replace(result, rows=rows, columns=columns, seconds=time.monotonic() - self._clock)
