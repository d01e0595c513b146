"""The raw tables in the words of the models: what a column is called, and whether it is there.

In a session the models read temporary views named `users`, `channels` and `messages`, which give the
columns of a connection's tables the models' names and types. Writing is `refresh`'s.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import duckdb

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.warehouse.analytics.model import RAW_TABLES, RawColumn
from messaging_assets.warehouse.columns import ColumnType
from messaging_assets.warehouse.ledger import known_columns, latest_content_versions
from messaging_assets.warehouse.spool import ROW_HASH
from messaging_assets.warehouse.sql import qualified, quoted
from messaging_assets.warehouse.table import DELETED_AT, columns_of, is_empty

OWN_COLUMNS = (DELETED_AT, ROW_HASH)


class _Problem(NamedTuple):
    """Why a column can't be read."""

    words: str


def warehouse_column(connection: Connection, raw: RawColumn) -> str:
    """What a raw column is called in a connection's warehouse."""
    return connection.analytics.column(raw.table, raw.column)


def api_field(connection: Connection, raw: RawColumn, known: Mapping[str, str] | None = None) -> str | None:
    """The API's field that a raw column comes from; None for a column that the sync itself writes.

    Args:
        connection: The connection.
        raw: The raw column.
        known: The column of each field that syncs have met (`ledger.known_columns`), where the database is
            at hand; without it the field is taken to be called like the column.
    """
    if raw.column in OWN_COLUMNS:
        return None
    column = warehouse_column(connection, raw)
    return next((field for field, name in (known or {}).items() if name == column), column)


class Sources:
    """The raw tables of a connection as a database has them, for one session.

    Args:
        database: The open database; only temporary views are made in it.
        connection: The connection.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._tables = {table: self._expressions(table) for table in RAW_TABLES}

    def missing(self, reads: Mapping[str, Sequence[str]]) -> str | None:
        """Why these columns can't be read, by table, in words; None where they can."""
        problems = []
        for table, columns in reads.items():
            found = self._tables[table]
            if isinstance(found, _Problem):
                problems.append(found.words)
                continue
            wanted = (found[column] for column in columns)
            problems.extend(problem.words for problem in wanted if isinstance(problem, _Problem))
        return "; ".join(problems) or None

    def content_versions(self) -> dict[str, str]:
        """The version of the content of each raw table, by table; without those that no sync has written."""
        latest = latest_content_versions(self._database, self._connection.name)
        return {
            resource.table: latest[resource.name]
            for resource in self._connection.resources
            if resource.name in latest
        }

    def provide(self, reads: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Makes the views that a query reads; gives the statements that made them.

        Args:
            reads: The columns that it reads, by table; none of them is missing.
        """
        statements = tuple(
            f"CREATE OR REPLACE TEMP VIEW {quoted(table)} AS {self.query(table, columns)}"
            for table, columns in reads.items()
        )
        for statement in statements:
            self._database.execute(statement)
        return statements

    def query(self, table: str, columns: Sequence[str]) -> str:
        """The query that gives columns of a table in the words of the models; none of them is missing."""
        expressions = self._tables[table]
        assert isinstance(expressions, dict)
        selected = ", ".join(f"{expressions[column]} AS {quoted(column)}" for column in columns)
        rows = qualified(self._connection.name, table)
        if self._may_hold_versions(table):
            # A row per id, or each message of a user or channel would count as often as that was written.
            rows = f"(SELECT DISTINCT ON ({expressions['id']}) * FROM {rows} ORDER BY rowid DESC)"  # noqa: S608
        return f"SELECT {selected} FROM {rows}"  # noqa: S608

    def _may_hold_versions(self, table: str) -> bool:
        """Whether a table keeps each version of a row beside the ones before."""
        return any(
            resource.table == table and resource.write_disposition == "append"
            for resource in self._connection.resources
        )

    def _expressions(self, table: str) -> dict[str, str | _Problem] | _Problem:
        """How to read each column of a table, or why it can't be read."""
        schema = self._connection.name
        resource = next((item for item in self._connection.resources if item.table == table), None)
        if resource is None:
            return _Problem(f"the connection has no resource `{table}`")
        types = {column.name: column.type for column in columns_of(self._database, schema, table)}
        if not types:
            return _Problem(f"there is no table {schema}.{table} yet: sync {resource.name} first")
        if not {DELETED_AT, ROW_HASH} <= types.keys():
            return _Problem(f"the table {schema}.{table} was not made by a sync")
        may_lack = self._columns_without_values(resource)
        return {
            word: self._expression(RawColumn(table, word), kind, types, may_lack)
            for word, kind in RAW_TABLES[table].items()
        }

    def _columns_without_values(self, resource: Resource) -> set[str] | None:
        """The columns that a table lacks because no row has had a value there; None where that is any."""
        if is_empty(self._database, self._connection.name, resource.table):
            return None
        return set(known_columns(self._database, self._connection.name, resource.name).values())

    def _expression(
        self, raw: RawColumn, kind: str, types: Mapping[str, str], may_lack: set[str] | None
    ) -> str | _Problem:
        column = raw.column if raw.column in OWN_COLUMNS else warehouse_column(self._connection, raw)
        if column in types:
            return self._converted(raw, kind, column, types[column])
        if may_lack is None or column in may_lack:
            return f"CAST(NULL AS {kind})"
        return _Problem(
            f"{self._connection.name}.{raw.table} has no column `{column}`; if it is called something else "
            f"there, name it in the connection file under `analytics.columns.{raw.table}.{raw.column}`"
        )

    def _converted(self, raw: RawColumn, kind: str, column: str, found: str) -> str | _Problem:
        if raw.column in OWN_COLUMNS:
            return quoted(column)
        if kind == ColumnType.TIMESTAMP.value:
            return self._time(raw, column, found)
        is_json = found == ColumnType.JSON.value
        text = f"{quoted(column)} ->> '$'" if is_json else f"CAST({quoted(column)} AS VARCHAR)"
        # APIs that know no null send an empty text for an id or a name that is not there.
        return text if raw.column == "text" else f"nullif({text}, '')"

    def _time(self, raw: RawColumn, column: str, found: str) -> str | _Problem:
        if found == ColumnType.TIMESTAMP.value:
            return quoted(column)
        if found == ColumnType.TEXT.value:
            # Not all of the values are times. Where one has no offset, UTC is meant.
            utc = f"TRY_CAST({quoted(column)} || '+00' AS {ColumnType.TIMESTAMP.value})"
            return f"coalesce({utc}, TRY_CAST({quoted(column)} AS {ColumnType.TIMESTAMP.value}))"
        return _Problem(
            f"{self._connection.name}.{raw.table}.{column} is {found} and not a time; say in the connection "
            f"file `columns: {{{column}: {{data_type: timestamp}}}}` at the resource, or name another column "
            f"under `analytics.columns.{raw.table}.{raw.column}`"
        )
