"""A warehouse and a sandbox for each test: syncs over real HTTP, through dlt, into a real DuckDB file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from messaging_assets.api.connection import Connection, connection_from_dict
from messaging_assets.api.source import Api
from messaging_assets.sandbox import Sandbox
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.sync import Mode, SyncResult, sync_resource
from messaging_assets_tests.conftest import Project

PAGE = 20


def guide(sandbox: Sandbox, *resources: Mapping[str, Any]) -> dict[str, Any]:
    """The guide's dictionary, with small pages and no patience."""
    return {
        "client": {
            "base_url": sandbox.base_url,
            "auth": {
                "type": "oauth2",
                "client_id": sandbox.client_id,
                "client_secret": sandbox.client_secret,
                "token_url": f"{sandbox.base_url}/oauth/token",
            },
        },
        "resource_defaults": {
            "primary_key": "id",
            "write_disposition": "merge",
            "endpoint": {
                "data_selector": "data",
                "paginator": {"type": "offset", "limit": PAGE},
                "error_handler": {"max_retries": 0},
            },
        },
        "resources": [*map(resource_words, ("users", "channels", "messages")), *resources],
    }


def resource_words(name: str, **more: Any) -> dict[str, Any]:
    """A resource of the guide's dictionary that reads the sandbox's list of that name."""
    return {"name": name, "endpoint": {"path": f"/v1/{name}"}, **more}


@dataclass
class Platform:
    """A sandbox, a connection to it and a warehouse."""

    sandbox: Sandbox
    location: WarehouseLocation
    resources: tuple[Mapping[str, Any], ...] = ()
    max_deleted_share: float = 0.1
    client: Mapping[str, Any] = field(default_factory=dict)

    @property
    def guide(self) -> dict[str, Any]:
        made = guide(self.sandbox, *self.resources)
        return {**made, "client": {**made["client"], **self.client}}

    @property
    def connection(self) -> Connection:
        return replace(connection_from_dict("chat", self.guide), max_deleted_share=self.max_deleted_share)

    def things(self, *rows: Any, **words: Any) -> None:
        """Make `things`, a resource of these rows, the last one of the connection."""
        self.sandbox.add_resource("things", rows)
        self.resources = (resource_words("things", **words),)

    def change(self, identity: object, **fields: Any) -> None:
        """Change fields of one of the things."""
        row = next(row for row in self.sandbox.rows("things") if row["id"] == identity)
        self.sandbox.replace("things", identity, {**row, **fields})

    def sync(self, resource: str = "things", *, mode: Mode = "reconcile", **settings: Any) -> SyncResult:
        """Bring a table up to date, by reading everything unless told otherwise."""
        with Api(self.guide, name="chat") as api:
            return sync_resource(
                api, self.connection, resource, location=self.location, mode=mode, **settings
            )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with open_database(self.location.database, read_only=True) as database:
            return database.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        """Change the warehouse behind the platform's back."""
        with open_database(self.location.database) as database:
            database.execute(sql)

    def rows(self, resource: str = "things") -> dict[Any, dict[str, Any]]:
        """The rows of a table by their id, without the platform's own hash."""
        with open_database(self.location.database, read_only=True) as database:
            return table_rows(database, f"chat.{resource}")

    def living(self, resource: str = "things") -> list[Any]:
        return sorted(row["id"] for row in self.rows(resource).values() if row["deleted_at"] is None)

    def types(self, resource: str = "things") -> dict[str, str]:
        return {
            name: kind
            for name, kind in self.query(
                "SELECT column_name, data_type FROM duckdb_columns() "
                f"WHERE schema_name = 'chat' AND table_name = '{resource}'"
            )
            if name not in ("_row_hash", "deleted_at")
        }

    def rejects(self, resource: str = "things") -> list[tuple[str | None, str]]:
        return [
            (identity, reason)
            for identity, reason in self.query(
                "SELECT id, reason FROM chat._rejected_records "
                f"WHERE resource = '{resource}' ORDER BY id, payload"
            )
        ]


def table_rows(database: duckdb.DuckDBPyConnection, table: str) -> dict[Any, dict[str, Any]]:
    found = database.execute(f"SELECT * EXCLUDE (_row_hash) FROM {table}")
    names = [column[0] for column in found.description or ()]
    rows = found.fetchall()
    return {row[names.index("id")]: dict(zip(names, row, strict=True)) for row in rows}


@pytest.fixture
def location(tmp_path: Path) -> WarehouseLocation:
    """A place for a warehouse, in a folder that does not exist yet."""
    return WarehouseLocation(tmp_path / "data" / "chat.duckdb")


@pytest.fixture
def platform(project: Project, location: WarehouseLocation) -> Iterator[Platform]:
    """A platform with an empty warehouse; few rows, so that a sync is a matter of pages of twenty."""
    with Sandbox(users=45, channels=8, messages=60) as sandbox:
        yield Platform(sandbox, location)
