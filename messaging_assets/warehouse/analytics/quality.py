"""What is wrong with the data, as counts and ids: for the checks and the report to judge. Never any text.

Functions take an open database and only read. The facts of a single raw table are in
`messaging_assets.warehouse.quality`.
"""

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import duckdb

from messaging_assets.api.connection import Connection
from messaging_assets.warehouse.analytics.model import Model
from messaging_assets.warehouse.analytics.refresh import analytics_schema
from messaging_assets.warehouse.analytics.sources import Sources
from messaging_assets.warehouse.ledger import has_table
from messaging_assets.warehouse.quality import EXAMPLES, Offending
from messaging_assets.warehouse.sql import qualified, quoted

#: As many of the same weekdays before say what is usual, and so many of them it takes to say anything.
WEEKS = 8
FEWEST_WEEKS = 4
#: The usual range reaches so many spreads to either side of the median.
SPREADS = 3
# The median of the distances from the median, times this, is the standard deviation of a normal spread.
_DEVIATION = 1.4826


@dataclass(frozen=True)
class References:
    """Living messages whose channel (or user) is in no row of `channels` (or `users`).

    A channel or user that is marked as deleted is known.

    Attributes:
        table: The table referred to: `channels` or `users`.
        skipped: Why nothing can be said, in words; None where it can.
        messages: How many living messages refer to an unknown one.
        unknown: How many unknown ids there are.
        ids: Up to 5 of these ids, those with the most messages first.
        without: Living messages that refer to none at all, which is no mistake by itself.
    """

    table: str
    skipped: str | None = None
    messages: int = 0
    unknown: int = 0
    ids: tuple[str, ...] = ()
    without: int = 0


@dataclass(frozen=True)
class Volume:
    """The messages of the last whole day against what is usual for its weekday.

    Attributes:
        day: The last whole day in the connection's time zone.
        messages: Its living messages.
        history: The living messages of the same weekday in the weeks before, the latest first, at most 8;
            days before the first message do not count.
        usual: The usual range, lowest and highest; None while there is too little history.
        skipped: Why nothing can be said, in words; None where it can.
    """

    day: date
    messages: int = 0
    history: tuple[int, ...] = ()
    usual: tuple[int, int] | None = None
    skipped: str | None = None

    @property
    def is_usual(self) -> bool | None:
        """Whether the day lies in the usual range; None where no range is known."""
        return None if self.usual is None else self.usual[0] <= self.messages <= self.usual[1]


def grain_duplicates(database: duckdb.DuckDBPyConnection, connection: Connection, model: Model) -> Offending:
    """The combinations of a model's grain that stand more than once in its table; none without a table."""
    schema = analytics_schema(connection.name)
    if not has_table(database, schema, model.name):
        return Offending(0)
    key = ", ".join(map(quoted, model.grain))
    shown = " || '/' || ".join(f"coalesce(CAST({quoted(name)} AS VARCHAR), 'null')" for name in model.grain)
    found = database.execute(
        f"SELECT {shown} FROM {qualified(schema, model.name)} GROUP BY {key} HAVING count(*) > 1 ORDER BY 1"  # noqa: S608
    ).fetchall()
    return Offending(len(found), tuple(row[0] for row in found[:EXAMPLES]))


def unknown_references(
    database: duckdb.DuckDBPyConnection, connection: Connection
) -> tuple[References, References]:
    """The messages of unknown channels, and those of unknown users."""
    sources = Sources(database, connection)
    return (
        _references(database, sources, "channels", "channel_id"),
        _references(database, sources, "users", "user_id"),
    )


def _references(database: duckdb.DuckDBPyConnection, sources: Sources, table: str, column: str) -> References:
    reads = {"messages": (column, "deleted_at"), table: ("id",)}
    missing = sources.missing(reads)
    if missing:
        return References(table, skipped=missing)
    rows = database.execute(
        f"""SELECT messages.{column}, count(*) AS number
            FROM ({sources.query("messages", reads["messages"])}) AS messages
            ANTI JOIN ({sources.query(table, reads[table])}) AS known ON known.id = messages.{column}
            WHERE messages.deleted_at IS NULL
            GROUP BY messages.{column}
            ORDER BY number DESC, messages.{column}"""  # noqa: S608 - quoted names
    ).fetchall()
    unknown = {identity: number for identity, number in rows if identity is not None}
    return References(
        table,
        messages=sum(unknown.values()),
        unknown=len(unknown),
        ids=tuple(unknown)[:EXAMPLES],
        without=sum(number for identity, number in rows if identity is None),
    )


def volume(database: duckdb.DuckDBPyConnection, connection: Connection, *, now: datetime) -> Volume:
    """The messages of the day before `now` against those of the same weekday before.

    Args:
        database: The open database.
        connection: The connection.
        now: A moment of the day after the last whole one, with its time zone.
    """
    time_zone = connection.analytics.time_zone
    day = now.astimezone(ZoneInfo(time_zone)).date() - timedelta(days=1)
    reads = {"messages": ("created_at", "deleted_at")}
    sources = Sources(database, connection)
    missing = sources.missing(reads)
    if missing:
        return Volume(day, skipped=missing)
    counted = database.execute(
        f"""SELECT CAST(timezone(?, created_at) AS DATE) AS day, count(*)
            FROM ({sources.query("messages", reads["messages"])})
            WHERE deleted_at IS NULL AND created_at IS NOT NULL
            GROUP BY day""",  # noqa: S608 - quoted names
        [time_zone],
    ).fetchall()
    by_day: dict[date, int] = dict(counted)
    weeks = (day - timedelta(weeks=number) for number in range(1, WEEKS + 1))
    first = min(by_day, default=day)
    history = tuple(by_day.get(same_weekday, 0) for same_weekday in weeks if same_weekday >= first)
    return Volume(day, by_day.get(day, 0), history, usual_range(history))


def usual_range(history: tuple[int, ...]) -> tuple[int, int] | None:
    """The range in which a number is usual after others; None while these are too few.

    It reaches three spreads to either side of the median. The spread is at least what chance makes of a
    number of this size, its square root, so that a row of equal numbers does not make the next one strange.

    Example:
        >>> usual_range((100, 104, 96, 100))
        (70, 130)
        >>> usual_range((100, 100, 100)) is None
        True
    """
    if len(history) < FEWEST_WEEKS:
        return None
    middle = median(history)
    deviation = _DEVIATION * median(abs(number - middle) for number in history)
    reach = SPREADS * max(deviation, math.sqrt(middle), 1.0)
    return max(0, math.floor(middle - reach)), math.ceil(middle + reach)
