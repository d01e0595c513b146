"""The numbers of the report, read from a warehouse as it is at one moment.

Counting belongs here; what is good or bad is judged in `findings`, words and pictures are made elsewhere.
Days, weeks and hours are those of the connection's time zone, as the models count them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.api.settings import lock_timeout
from messaging_assets.warehouse.analytics.model import Model, RawColumn, read_models
from messaging_assets.warehouse.analytics.quality import (
    References,
    Volume,
    grain_duplicates,
    unknown_references,
    volume,
)
from messaging_assets.warehouse.analytics.refresh import analytics_schema
from messaging_assets.warehouse.analytics.sources import Sources, api_field, warehouse_column
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets.warehouse.ledger import (
    LEDGER,
    REJECTS,
    LedgerEntry,
    has_table,
    known_columns,
    last_syncs,
)
from messaging_assets.warehouse.quality import Offending, TableFacts, table_facts
from messaging_assets.warehouse.sql import qualified
from messaging_assets.warehouse.table import DELETED_AT

#: Whole days that are shown, and those of them that are the week.
SHOWN_DAYS = 28
WEEK = 7
#: Rows of the charts by channel.
CHANNELS = 10
#: Days of the ledger that are shown.
LEDGER_DAYS = 30
#: So many syncs are shown each by itself; of more, one an hour.
MOST_SYNCS = 500
# So far back a sync that ended well is looked for.
LAST_SYNCS = 500


@dataclass(frozen=True)
class Missing:
    """There is nothing to show.

    Args:
        reason: Why, as a sentence without a full stop.
    """

    reason: str


@dataclass(frozen=True)
class Day:
    """A day of the workspace."""

    day: date
    messages: int = 0
    active_users: int = 0
    new_users: int = 0


@dataclass(frozen=True)
class Activity:
    """What was written, day by day.

    Attributes:
        days: The last 28 whole days, the oldest first; a day without anything is there, too.
        today: The day under way.
        people: Users who wrote in the last 7 whole days, and in the 7 before; None where nobody can say.
    """

    days: tuple[Day, ...]
    today: Day
    people: tuple[int, int] | None

    @property
    def week(self) -> tuple[Day, ...]:
        """The last 7 whole days."""
        return self.days[-WEEK:]

    @property
    def week_before(self) -> tuple[Day, ...]:
        """The 7 days before these."""
        return self.days[-2 * WEEK : -WEEK]


@dataclass(frozen=True)
class ChannelWeek:
    """A channel's messages in the last 7 whole days, and in the 7 before."""

    name: str
    messages: int
    before: int


@dataclass(frozen=True)
class Channels:
    """The busiest channels of the last 7 whole days.

    Attributes:
        busiest: The first of them.
        active: How many channels were written in.
        health: How many channels are busy, quiet and dead; empty where nobody can say.
    """

    busiest: tuple[ChannelWeek, ...]
    active: int
    health: Mapping[str, int]


@dataclass(frozen=True)
class Wait:
    """How long the threads of a channel waited for the first reply, in seconds."""

    channel: str
    threads: int
    median: float
    p90: float


@dataclass(frozen=True)
class Waits:
    """The waits of a week, by channel, those with the most threads first."""

    monday: date
    channels: tuple[Wait, ...]


@dataclass(frozen=True)
class TableState:
    """How a raw table stands.

    Attributes:
        resource: The resource that it is the table of.
        endpoint: The path that it is read from.
        table: Its name.
        exists: Whether it is there.
        rows: Living rows.
        deleted: Rows marked as deleted.
        rejected: Records kept aside.
        last: The last sync that ended well, None if none did.
        failed: What the very last sync failed of, None if it ended well.
        facts: What a look at its rows showed, None without a table.
        history: How many rows lived after each of the syncs of the last days.
    """

    resource: str
    endpoint: str
    table: str
    exists: bool
    rows: int = 0
    deleted: int = 0
    rejected: int = 0
    last: LedgerEntry | None = None
    failed: str | None = None
    facts: TableFacts | None = None
    history: tuple[tuple[datetime, int], ...] = ()


@dataclass(frozen=True)
class ModelState:
    """How a model stands.

    Attributes:
        model: The model.
        rows: Rows of its table, None where there is none.
        skipped: Why it can't be refreshed, None where it can.
        duplicates: Keys that stand more than once.
        origins: Where each column comes from: raw columns, each with the API's field.
    """

    model: Model
    rows: int | None
    skipped: str | None
    duplicates: Offending
    origins: Mapping[str, tuple["Origin", ...]]


@dataclass(frozen=True)
class Origin:
    """A raw column that a model's column is made of.

    Attributes:
        table: The raw table.
        column: What the column is called there.
        field: The API's field, None for a column that the sync itself writes.
    """

    table: str
    column: str
    field: str | None


@dataclass(frozen=True)
class Figures:
    """All numbers of a report."""

    connection: Connection
    as_of: datetime
    activity: Activity | Missing
    channels: Channels | Missing
    heatmap: Mapping[tuple[int, int], int] | Missing
    waits: Waits | Missing
    tables: tuple[TableState, ...]
    models: tuple[ModelState, ...]
    references: tuple[References, ...]
    volume: Volume

    @property
    def now(self) -> datetime:
        """The moment of the report, in the connection's time zone."""
        return self.as_of.astimezone(ZoneInfo(self.connection.analytics.time_zone))


def read_figures(database: Path, connection: Connection, *, as_of: datetime) -> Figures:
    """Reads the numbers of a report.

    Args:
        database: The DuckDB file.
        connection: The connection.
        as_of: The moment for which the report is made; its day is the one under way.

    Raises:
        WarehouseMissingError: Nothing was synced yet.
        WarehouseBusyError: Another process holds the file.
        WarehouseError: DuckDB refused.
    """
    with (
        typed_failures(database),
        open_database(database, timeout=lock_timeout(), read_only=True) as opened,
    ):
        return _Reading(opened, connection, as_of).figures()


class _Reading:
    """One reading of the numbers."""

    def __init__(self, database: duckdb.DuckDBPyConnection, connection: Connection, as_of: datetime) -> None:
        self._database = database
        self._connection = connection
        self._as_of = as_of
        self._today = as_of.astimezone(ZoneInfo(connection.analytics.time_zone)).date()
        self._schema = analytics_schema(connection.name)
        self._sources = Sources(database, connection)
        self._models = {model.name: self._model(model) for model in read_models()}

    def figures(self) -> Figures:
        """Reads all of them."""
        return Figures(
            connection=self._connection,
            as_of=self._as_of,
            activity=self._activity(),
            channels=self._channels(),
            heatmap=self._heatmap(),
            waits=self._waits(),
            tables=tuple(self._table(r) for r in self._connection.resources if r.selected),
            models=tuple(self._models.values()),
            references=unknown_references(self._database, self._connection),
            volume=volume(self._database, self._connection, now=self._as_of),
        )

    def _rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        return self._database.execute(query, values).fetchall()

    def _of(self, model: str) -> str:
        return qualified(self._schema, model)

    def _before(self, days: int) -> date:
        return self._today - timedelta(days=days)

    def _missing(self, model: str, nothing: str) -> Missing:
        """Why a model has nothing to show."""
        state = self._models[model]
        if state.rows is None:
            return Missing(state.skipped or "the analytics were not refreshed yet")
        return Missing(nothing)

    # ---- the week --------------------------------------------------------------------------------

    def _activity(self) -> Activity | Missing:
        if not self._models["daily_workspace_activity"].rows:
            return self._missing("daily_workspace_activity", "nothing has happened in this workspace yet")
        rows = self._rows(
            f"""SELECT day, messages, active_users_1d, new_users FROM {self._of("daily_workspace_activity")}
                WHERE day BETWEEN $first AND $today""",  # noqa: S608
            first=self._before(SHOWN_DAYS),
            today=self._today,
        )
        found = {row[0]: Day(*row) for row in rows}
        shown = [self._before(number) for number in range(SHOWN_DAYS, -1, -1)]
        *days, today = (found.get(day, Day(day)) for day in shown)
        return Activity(tuple(days), today, self._people())

    def _people(self) -> tuple[int, int] | None:
        """Users who wrote in the week, and in the one before."""
        if self._models["messages_enriched"].rows is None:
            return None
        now, before = self._rows(
            f"""SELECT count(DISTINCT user_id) FILTER (day >= $week),
                    count(DISTINCT user_id) FILTER (day < $week)
                FROM {self._of("messages_enriched")}
                WHERE NOT is_deleted AND day >= $before AND day < $today""",  # noqa: S608
            **self._weeks(),
        )[0]
        return now, before

    def _weeks(self) -> dict[str, date]:
        """The first days of the week before, of the week, and after it."""
        return {"before": self._before(2 * WEEK), "week": self._before(WEEK), "today": self._today}

    def _channels(self) -> Channels | Missing:
        if not self._models["daily_channel_activity"].rows:
            return self._missing("daily_channel_activity", "nobody has written in a channel yet")
        rows = self._rows(
            f"""SELECT any_value(channel_name),
                    coalesce(sum(messages) FILTER (day >= $week), 0)::BIGINT AS now,
                    coalesce(sum(messages) FILTER (day < $week), 0)::BIGINT AS before
                FROM {self._of("daily_channel_activity")} WHERE day >= $before AND day < $today
                GROUP BY channel_id HAVING now > 0 ORDER BY now DESC, channel_id""",  # noqa: S608
            **self._weeks(),
        )
        if not rows:
            return Missing(f"nobody has written in a channel in the last {WEEK} days")
        return Channels(tuple(ChannelWeek(*row) for row in rows[:CHANNELS]), len(rows), self._health())

    def _health(self) -> dict[str, int]:
        if not self._models["channel_health"].rows:
            return {}
        counted = dict(self._rows(f"SELECT status, count(*) FROM {self._of('channel_health')} GROUP BY 1"))  # noqa: S608
        return {status: counted.get(status, 0) for status in ("busy", "quiet", "dead")}

    def _heatmap(self) -> dict[tuple[int, int], int] | Missing:
        if not self._models["hourly_heatmap"].rows:
            return self._missing("hourly_heatmap", "nobody has written anything yet")
        rows = self._rows(f"SELECT weekday, hour, messages FROM {self._of('hourly_heatmap')}")  # noqa: S608
        return {(weekday, hour): messages for weekday, hour, messages in rows}

    def _waits(self) -> Waits | Missing:
        if not self._models["response_times"].rows:
            return self._missing("response_times", "nobody has answered anybody yet")
        this_week = self._before(self._today.weekday())
        table = self._of("response_times")
        rows = self._rows(
            f"""SELECT week, channel_name, threads, median_seconds, p90_seconds FROM {table}
                WHERE week = (SELECT max(week) FROM {table} WHERE week < $monday)
                ORDER BY threads DESC, channel_id LIMIT $channels""",  # noqa: S608
            monday=this_week,
            channels=CHANNELS,
        )
        if not rows:
            return Missing("nobody has answered anybody before this week")
        return Waits(rows[0][0], tuple(Wait(*row[1:]) for row in rows))

    # ---- the data --------------------------------------------------------------------------------

    def _table(self, resource: Resource) -> TableState:
        schema, table = self._connection.name, resource.table
        endpoint = str(resource.endpoint.get("path", resource.name))
        syncs = last_syncs(self._database, schema, resource=resource.name, limit=LAST_SYNCS)
        state = TableState(
            resource=resource.name,
            endpoint=endpoint,
            table=table,
            exists=has_table(self._database, schema, table),
            last=next((sync for sync in syncs if sync.error is None), None),
            failed=syncs[0].error if syncs else None,
        )
        if not state.exists:
            return state
        rows, deleted = self._rows(
            f"SELECT count(*) FILTER ({DELETED_AT} IS NULL), count({DELETED_AT}) "  # noqa: S608
            f"FROM {qualified(schema, table)}"
        )[0]
        rejected = self._rows(
            f"SELECT count(*) FROM {qualified(schema, REJECTS)} WHERE resource = $resource",  # noqa: S608
            resource=resource.name,
        )[0][0]
        return replace(
            state,
            rows=rows,
            deleted=deleted,
            rejected=rejected,
            facts=table_facts(self._database, schema, resource),
            history=self._history(resource),
        )

    def _history(self, resource: Resource) -> tuple[tuple[datetime, int], ...]:
        rows = self._rows(
            f"""SELECT epoch(ended_at), rows_alive FROM {qualified(self._connection.name, LEDGER)}
                WHERE resource = $resource AND error IS NULL AND ended_at >= $first ORDER BY 1""",  # noqa: S608
            resource=resource.name,
            first=self._as_of - timedelta(days=LEDGER_DAYS),
        )
        history = [(datetime.fromtimestamp(seconds, UTC), alive) for seconds, alive in rows]
        if len(history) > MOST_SYNCS:
            # The last one of each hour.
            history = list({f"{moment:%F %H}": (moment, alive) for moment, alive in history}.values())
        return tuple(history)

    def _model(self, model: Model) -> ModelState:
        rows = None
        if has_table(self._database, self._schema, model.name):
            rows = self._rows(f"SELECT count(*) FROM {self._of(model.name)}")[0][0]  # noqa: S608
        return ModelState(
            model=model,
            rows=rows,
            skipped=self._sources.missing(model.reads),
            duplicates=grain_duplicates(self._database, self._connection, model),
            origins={
                column.name: tuple(self._origin(raw) for raw in column.upstream) for column in model.columns
            },
        )

    def _origin(self, raw: RawColumn) -> Origin:
        resource = next((r.name for r in self._connection.resources if r.table == raw.table), raw.table)
        known = known_columns(self._database, self._connection.name, resource)
        field = api_field(self._connection, raw, known)
        return Origin(raw.table, warehouse_column(self._connection, raw), field)
