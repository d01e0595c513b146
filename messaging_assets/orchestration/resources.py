"""What an op is given: the API of a connection, the warehouse's file, dlt.

A resource is opened when it is first used in a run and closed with the run. Building one touches
nothing. The API's address, the secrets and the place of the file are asked for at that moment, so
that they can be changed without loading the definitions again.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb
from dagster import AssetExecutionContext, ConfigurableResource, InitResourceContext, OpExecutionContext
from dagster_dlt import DagsterDltResource, DagsterDltTranslator
from dagster_duckdb import DuckDBResource
from dlt.common.pipeline import LoadInfo
from dlt.common.warnings import DltDeprecationWarning
from dlt.extract.resource import DltResource
from dlt.extract.source import DltSource
from dlt.pipeline.pipeline import Pipeline
from pydantic import Field, PrivateAttr

from messaging_assets.api.connection import Connection
from messaging_assets.api.errors import MessagingError
from messaging_assets.api.settings import (
    SandboxAddress,
    base_url,
    configured_client,
    configured_without_address,
    lock_timeout,
    warehouse_database,
)
from messaging_assets.api.source import Api
from messaging_assets.sandbox import Sandbox
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.reader_copy import refresh_reader_copy


def uses_sandbox(connection: Connection) -> bool:
    """Whether the bundled sandbox stands in for the connection's API: no address is configured."""
    return base_url(connection.name) is None


def database_file(connection: Connection) -> Path:
    """The DuckDB file that holds the connection's tables, for the API that is configured now."""
    return warehouse_database(connection.name, sandbox=uses_sandbox(connection))


def _doubt(connection: Connection) -> str:
    """What speaks against the sandbox being meant, in words; nothing where nothing does."""
    key = configured_without_address(connection.name)
    return f"{key} is set, though: is base_url spelt right? " if key else ""


def _has_auth(connection: Connection) -> bool:
    places = (connection.client, *(resource.endpoint for resource in connection.resources))
    return any(place.get("auth") for place in places)


class MessagingApi(ConfigurableResource["MessagingApi"]):
    """The API of each connection, opened once per run; the bundled sandbox where none is configured."""

    sandbox_users: int = Field(default=200, description="Users that the sandbox begins with.")
    sandbox_channels: int = Field(default=12, description="Channels that the sandbox begins with.")
    sandbox_messages: int = Field(default=2000, description="Messages that the sandbox begins with.")

    _closing: ExitStack = PrivateAttr(default_factory=ExitStack)
    _opened: dict[str, Api] = PrivateAttr(default_factory=dict)
    _log: Any = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["MessagingApi"]:
        """Close with the run what was opened in it."""
        with ExitStack() as self._closing:
            self._opened = {}
            self._log = context.log
            yield self

    def open(self, connection: Connection) -> Api:
        """The connection's API, opened on the first call.

        Raises:
            ConfigurationError: A setting is missing; each is named.
        """
        name = connection.name
        if name not in self._opened:
            self._opened[name] = self._closing.enter_context(self._connect(connection))
        return self._opened[name]

    def _connect(self, connection: Connection) -> Api:
        sandbox = self._sandbox(connection) if uses_sandbox(connection) else None
        return Api(configured_client(connection, sandbox=sandbox), name=connection.name)

    def _sandbox(self, connection: Connection) -> SandboxAddress:
        sandbox = self._closing.enter_context(
            Sandbox.living(
                users=self.sandbox_users,
                channels=self.sandbox_channels,
                messages=self.sandbox_messages,
                authentication="oauth2" if _has_auth(connection) else "none",
            )
        )
        self._log.info(
            f"SANDBOX: no address is configured for {connection.name}. The bundled sandbox API at "
            f"{sandbox.base_url} is read; its data goes into {database_file(connection)}. "
            f"{_doubt(connection)}For your own API set sources.{connection.name}.base_url, client_id and "
            "client_secret."
        )
        return SandboxAddress(sandbox.base_url, sandbox.client_id, sandbox.client_secret)


class WarehouseResource(DuckDBResource):
    """dagster-duckdb's resource, for the file of a connection and with patience for its lock.

    A run that used a file looks after the copy for readers when it ends, whether it succeeded or not.
    """

    database: str = Field(
        default="",
        description="Path of the DuckDB file; empty for the file that the connection's configuration names.",
    )

    _used: set[Path] = PrivateAttr(default_factory=set)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["WarehouseResource"]:
        """Replace the copies for readers of what has changed, when the run ends."""
        self._used = set()
        yield self
        for file in sorted(self._used):
            _look_after_readers(file, context.log)

    def of(self, connection: Connection) -> "WarehouseResource":
        """The resource for the file of one connection."""
        file = Path(self.database) if self.database else database_file(connection)
        self._used.add(file)
        return WarehouseResource(database=str(file), connection_config=self.connection_config)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.database)

    @contextmanager
    def get_connection(self, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file; hold it briefly, since one process at a time can.

        Args:
            read_only: Whether nothing is going to be written.

        Yields:
            The open database.
        """
        with open_database(self.path, timeout=lock_timeout(), read_only=read_only) as connection:
            yield connection


def _look_after_readers(file: Path, log: Any) -> None:
    """Replace the copy for readers, if there is something to copy and it has changed."""
    if not file.exists():
        return
    try:
        copy = refresh_reader_copy(WarehouseLocation(file))
    except MessagingError as error:
        # What the run has done is done, and the copy is as it was.
        log.warning(f"the copy for readers is not replaced: {error}")
        return
    if copy is not None and copy.made:
        log.info(f"{copy.path} is replaced, the copy for notebooks and other readers")


class MessagingDltResource(DagsterDltResource):
    """dagster-dlt's resource, telling only what is true and safe to show.

    Rows, columns and the table's name are known when the warehouse has published what dlt staged:
    see `metadata`.
    """

    def load(
        self,
        context: AssetExecutionContext,
        source: DltSource,
        pipeline: Pipeline,
        translator: DagsterDltTranslator,
    ) -> None:
        """Run the pipeline and note in the run's log what it did; the materialisation is the caller's."""
        with warnings.catch_warnings():
            # dagster-dlt empties the pipeline by a name that dlt calls deprecated.
            warnings.simplefilter("ignore", DltDeprecationWarning)
            for event in self.run(
                context=context,
                dlt_source=source,
                dlt_pipeline=pipeline,
                dagster_dlt_translator=translator,
            ):
                context.log.debug(f"staged by dlt: {dict(event.metadata or {})}")

    def extract_resource_metadata(
        self,
        context: OpExecutionContext | AssetExecutionContext,  # noqa: ARG002
        resource: DltResource,
        load_info: LoadInfo,
        dlt_pipeline: Pipeline,
    ) -> Mapping[str, Any]:
        """What was staged, and by which pipeline; neither values nor files."""
        return {
            "staged": resource.name,
            "pipeline": dlt_pipeline.pipeline_name,
            "load_packages": len(load_info.loads_ids),
        }
