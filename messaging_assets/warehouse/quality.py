"""Facts about a table that a check judges: keys that are missing or double, dates that can't be.

Counting belongs here; which count is bad, and how bad, is decided where the checks are. No values
but keys leave this module, so that no message content reaches a check's metadata.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from messaging_assets.api.connection import Resource
from messaging_assets.warehouse.columns import ColumnNames
from messaging_assets.warehouse.sql import qualified, quoted

#: As many keys are named as examples, so that a check's metadata stays short.
EXAMPLES = 5

#: The clocks of two hosts differ; a row is from the future only beyond that.
CLOCK_TOLERANCE = timedelta(minutes=5)

_ALIVE = "deleted_at is null"


@dataclass(frozen=True)
class Offending:
    """Rows that break a rule.

    Args:
        count: How many there are.
        examples: The keys of the first few, as text.
    """

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class CreationFacts:
    """What created_at says about the rows alive.

    Args:
        missing: Rows without it, or with a value that is no point in time.
        in_future: Rows that are yet to be created.
        newest: The latest point in time that is not in the future.
    """

    missing: Offending
    in_future: Offending
    newest: datetime | None


@dataclass(frozen=True)
class TableFacts:
    """What a check needs to know about a table.

    Args:
        duplicates: Keys that more than one row has.
        without_key: Rows of which a part of the key is null.
        creation: What created_at says; None where the table has no such column.
    """

    duplicates: Offending
    without_key: int
    creation: CreationFacts | None


def table_facts(database: duckdb.DuckDBPyConnection, schema: str, resource: Resource) -> TableFacts:
    """Look at a table.

    Args:
        database: The open database; it is only read.
        schema: The table's schema.
        resource: The resource that it is the table of.

    Returns:
        The facts.
    """
    names = ColumnNames()
    key = tuple(quoted(names.name(field)) for field in resource.primary_key)
    looked = _Look(database, qualified(schema, resource.table), key)
    return TableFacts(looked.duplicates(), looked.without_key(), looked.creation())


@dataclass(frozen=True)
class _Look:
    database: duckdb.DuckDBPyConnection
    source: str
    key: tuple[str, ...]

    def duplicates(self) -> Offending:
        key = ", ".join(self.key)
        present = " and ".join(f"{column} is not null" for column in self.key)
        groups = f"{self.source} where {present} group by {key} having count(*) > 1"
        return self._offending(f"(select {key} from {groups})", "true")  # noqa: S608

    def without_key(self) -> int:
        return self._count(self.source, " or ".join(f"{column} is null" for column in self.key))

    def creation(self) -> CreationFacts | None:
        types = {row[0]: str(row[1]) for row in self.database.execute(f"describe {self.source}").fetchall()}
        if "created_at" not in types:
            return None
        timed = types["created_at"].startswith(("TIMESTAMP", "DATE"))
        created = "created_at" if timed else "try_cast(created_at::varchar as timestamptz)"
        future = f"{created} > now() + interval {int(CLOCK_TOLERANCE.total_seconds())} seconds"
        newest = f"select epoch(max({created})) from {self.source} where {_ALIVE} and not {future}"  # noqa: S608
        seconds = self.database.execute(newest).fetchall()[0][0]
        return CreationFacts(
            missing=self._offending(self.source, f"{_ALIVE} and {created} is null"),
            in_future=self._offending(self.source, f"{_ALIVE} and {future}"),
            newest=None if seconds is None else datetime.fromtimestamp(seconds, UTC),
        )

    def _offending(self, source: str, condition: str) -> Offending:
        count = self._count(source, condition)
        if not count:
            return Offending(0)
        shown = f"concat_ws('/', {', '.join(self.key)})"
        example = f"select {shown} from {source} where {condition} order by 1 limit {EXAMPLES}"  # noqa: S608
        return Offending(count, tuple(row[0] for row in self.database.execute(example).fetchall()))

    def _count(self, source: str, condition: str) -> int:
        counted = f"select count(*) from {source} where {condition}"  # noqa: S608
        return int(self.database.execute(counted).fetchall()[0][0])
