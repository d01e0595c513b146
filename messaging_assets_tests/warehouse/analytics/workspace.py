"""Raw tables as syncs leave them, filled by hand, and the analytics over them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from messaging_assets.api.connection import Analytics, Connection, connection_from_dict
from messaging_assets.warehouse.analytics.model import model_named, read_models
from messaging_assets.warehouse.analytics.refresh import Days, RefreshResult, refresh_models
from messaging_assets.warehouse.columns import ColumnType
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.ledger import ensure_bookkeeping, keep_columns
from messaging_assets.warehouse.publish import Target, create_table
from messaging_assets.warehouse.sql import qualified, quoted

SCHEMA = "chat"
TEXT, TIME = ColumnType.TEXT, ColumnType.TIMESTAMP
TABLES: dict[str, dict[str, ColumnType]] = {
    "users": {"id": TEXT, "name": TEXT, "created_at": TIME},
    "channels": {"id": TEXT, "name": TEXT, "created_at": TIME},
    "messages": {
        "id": TEXT,
        "channel_id": TEXT,
        "user_id": TEXT,
        "text": TEXT,
        "thread_parent_id": TEXT,
        "created_at": TIME,
        "updated_at": TIME,
    },
}
Row = Mapping[str, Any]


def connection(time_zone: str = "UTC", columns: Mapping[str, Mapping[str, str]] | None = None) -> Connection:
    """A connection with the guide's three resources."""
    guide = {"client": {"base_url": "https://api.example.com"}, "resources": list(TABLES)}
    analytics = Analytics(time_zone, columns or {})
    return replace(connection_from_dict(SCHEMA, guide), analytics=analytics)


@dataclass
class Workspace:
    """A warehouse whose raw tables are filled by hand.

    Args:
        path: The DuckDB file; it is made with empty tables.
        tables: The columns of each table, of which those that a row does not name are null.
    """

    path: Path
    connection: Connection = field(default_factory=connection)
    tables: Mapping[str, Mapping[str, ColumnType]] = field(default_factory=lambda: TABLES)

    def __post_init__(self) -> None:
        with open_database(self.path) as database:
            ensure_bookkeeping(database, SCHEMA)
            for table, types in self.tables.items():
                create_table(database, Target(SCHEMA, table, ("id",)), dict(types))

    def put(self, table: str, *rows: Row) -> None:
        """Write rows as a sync does: new ones, changed ones and restored ones, which live afterwards."""
        names = list(self.tables[table])
        columns = ", ".join([*map(quoted, names), "_row_hash"])
        mark = f"({', '.join(['?'] * (len(names) + 1))})"
        values = [value for row in rows for value in (*(row.get(name) for name in names), digest(row))]
        with open_database(self.path) as database:
            marks = ", ".join("?" * len(rows))
            database.execute(
                f"DELETE FROM {qualified(SCHEMA, table)} WHERE id IN ({marks})", [row["id"] for row in rows]
            )
            database.execute(
                f"INSERT INTO {qualified(SCHEMA, table)} ({columns}) VALUES {', '.join([mark] * len(rows))}",
                values,
            )

    def delete(self, table: str, *ids: object, at: str = "2030-01-01T00:00:00Z") -> None:
        """Mark rows as deleted."""
        marks = ", ".join("?" * len(ids))
        with open_database(self.path) as database:
            database.execute(
                f"UPDATE {qualified(SCHEMA, table)} SET deleted_at = ? WHERE id IN ({marks})", [at, *ids]
            )

    def seen(self, resource: str, fields: Mapping[str, str]) -> None:
        """Note fields that syncs have met, with their columns."""
        with open_database(self.path) as database:
            keep_columns(database, SCHEMA, resource, fields)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with open_database(self.path) as database:
            return database.execute(sql).fetchall()

    def refresh(self, *names: str, days: Days | None = None) -> dict[str, RefreshResult]:
        """Refresh some models, or all."""
        models = [model_named(name) for name in names] or read_models()
        return {
            result.model: result for result in refresh_models(self.path, self.connection, models, days=days)
        }

    def rows(self, model: str, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of a model as it is stored, in the order of its grain; all columns by default."""
        with open_database(self.path, read_only=True) as database:
            return rows_of(database, model, *columns)

    def tables_now(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all models as they are stored."""
        with open_database(self.path, read_only=True) as database:
            return {model.name: rows_of(database, model.name) for model in read_models()}

    def fresh(self, model: str, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of a model, after refreshing it."""
        self.refresh(model)
        return self.rows(model, *columns)


def rows_of(database: duckdb.DuckDBPyConnection, model: str, *columns: str) -> list[tuple[Any, ...]]:
    """The rows of a model in the order of its grain."""
    shown = ", ".join(map(quoted, columns)) or "*"
    key = ", ".join(f"{quoted(name)} NULLS LAST" for name in model_named(model).grain)
    return database.execute(f"SELECT {shown} FROM {SCHEMA}_analytics.{model} ORDER BY {key}").fetchall()


def digest(row: Row) -> int:
    """What stands for the content of a row."""
    return int.from_bytes(hashlib.sha256(repr(sorted(row.items())).encode()).digest()[:7])


def message(identity: object, created_at: str | None = "2024-03-04T10:00:00Z", **more: Any) -> Row:
    """A message of ann in general, never edited."""
    return {
        "id": identity,
        "created_at": created_at,
        "updated_at": created_at,
        "channel_id": "general",
        "user_id": "ann",
        "text": "hello",
        **more,
    }


def reply(identity: object, parent: object, created_at: str, user_id: str | None, **more: Any) -> Row:
    """A reply in general."""
    return message(identity, created_at, thread_parent_id=parent, user_id=user_id, **more)


def named(identity: object, name: str | None, created_at: str | None = "2024-03-01T00:00:00Z") -> Row:
    """A user or a channel."""
    return {"id": identity, "name": name, "created_at": created_at}


def days(first: str, last: str) -> Days:
    """A range of days."""
    return Days(date.fromisoformat(first), date.fromisoformat(last))


def dates(*texts: str) -> tuple[date, ...]:
    """Days, by their names."""
    return tuple(map(date.fromisoformat, texts))


def column_of(rows: Sequence[tuple[Any, ...]], position: int = 0) -> list[Any]:
    """One column of some rows."""
    return [row[position] for row in rows]
