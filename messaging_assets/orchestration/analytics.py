"""The analytics of a connection: an op per model, which refreshes its table, judges it and tells what it did.

The op only connects: what a model says is in its .sql file, refreshing is the warehouse's, judging that of
`analytics_checks`. When they run stands in `jobs` and `automation`; the page made of them in `report`.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetObservation,
    AssetsDefinition,
    AssetSpec,
    Config,
    DataVersion,
    Failure,
    MaterializeResult,
    MetadataValue,
    multi_asset,
)
from duckdb import DuckDBPyConnection
from pydantic import Field

from messaging_assets.api.connection import Connection
from messaging_assets.api.errors import ConfigurationError
from messaging_assets.orchestration.analytics_checks import (
    BLOCKING,
    model_check_results,
    model_check_specs,
)
from messaging_assets.orchestration.automation import follows_tables
from messaging_assets.orchestration.checks import blocking_failures
from messaging_assets.orchestration.column_lineage import Fields
from messaging_assets.orchestration.failures import explained
from messaging_assets.orchestration.freshness import freshness_policy
from messaging_assets.orchestration.lineage import owners, tags
from messaging_assets.orchestration.model_metadata import definition_metadata, refresh_metadata
from messaging_assets.orchestration.names import (
    analytics_group,
    analytics_key,
    analytics_op_name,
    raw_key,
)
from messaging_assets.orchestration.resources import WarehouseResource, uses_sandbox
from messaging_assets.warehouse.analytics.model import Model, read_models
from messaging_assets.warehouse.analytics.refresh import Days, analytics_schema, refresh_model
from messaging_assets.warehouse.ledger import known_columns


class RefreshConfig(Config):
    """What an operator can ask of the refresh of a model."""

    first: str | None = Field(
        default=None,
        description="The first day to compare in full, such as 2026-03-01; without it, from the beginning.",
    )
    last: str | None = Field(
        default=None,
        description="The last day to compare in full, such as 2026-03-31; without it, to the end.",
    )

    def days(self) -> Days | None:
        """The range of days that is asked for; None where neither end is given.

        Raises:
            ConfigurationError: An end is no day, or the range ends before it begins.
        """
        if self.first is None and self.last is None:
            return None
        ends = {"first": self.first or str(date.min), "last": self.last or str(date.max)}
        found: dict[str, date] = {}
        mistakes = []
        for name, text in ends.items():
            try:
                found[name] = date.fromisoformat(text)
            except ValueError:
                mistakes.append(f"{name}: `{text}` is no day; write it like 2026-03-31")
        if mistakes:
            raise ConfigurationError(mistakes) from None
        if found["last"] < found["first"]:
            raise ConfigurationError([f"last: {self.last} is before {self.first}, which is `first`"])
        return Days(**found)


def models_of(connection: Connection) -> tuple[Model, ...]:
    """The models of which a connection has all tables."""
    tables = {resource.table for resource in connection.resources if resource.selected}
    return tuple(model for model in read_models() if tables.issuperset(model.reads))


def analytics_assets(connection: Connection) -> list[AssetsDefinition]:
    """The models of a connection, each with its own op."""
    return [_model_asset(connection, model) for model in models_of(connection)]


def model_spec(connection: Connection, model: Model) -> AssetSpec:
    """What a model looks like in the catalogue."""
    return AssetSpec(
        key=analytics_key(connection.name, model.name),
        deps=[raw_key(connection.name, table) for table in model.reads],
        # Where a column is missing, nothing is materialised.
        skippable=True,
        group_name=analytics_group(connection.name),
        description=_description(connection, model),
        kinds={"sql", "duckdb"},
        owners=owners(connection),
        tags=tags(connection),
        code_version=_version_of(connection, model),
        freshness_policy=freshness_policy(connection),
        automation_condition=follows_tables(analytics_key(connection.name, model.name)),
        metadata=definition_metadata(connection, model, Path(__file__)),
    )


def _model_asset(connection: Connection, model: Model) -> AssetsDefinition:
    key = analytics_key(connection.name, model.name)

    @multi_asset(
        name=analytics_op_name(connection.name, model.name),
        description=_op_description(connection, model),
        specs=[model_spec(connection, model)],
        check_specs=model_check_specs(connection, model),
    )
    def refresh(
        context: AssetExecutionContext, config: RefreshConfig, warehouse: WarehouseResource
    ) -> Iterator[MaterializeResult[None] | AssetCheckResult]:
        with explained(f"refreshing {model.name} of {connection.name}"):
            file = warehouse.of(connection)
            result = refresh_model(file.path, connection, model, days=config.days())
            with file.get_connection(read_only=True) as database:
                results = model_check_results(database, connection, model, result, now=datetime.now(UTC))
                fields = _fields(database, connection, model)
        if result.skipped is not None:
            context.log.warning(result.line())
            skipped = {"skipped": MetadataValue.text(result.skipped)}
            context.log_event(AssetObservation(key, metadata=skipped))
            yield from results
            return
        context.log.info(result.line())
        yield MaterializeResult(
            metadata=refresh_metadata(
                connection,
                model,
                result,
                fields=fields,
                database=file.path,
                sandbox=uses_sandbox(connection),
            ),
            check_results=results,
            data_version=DataVersion(result.content_version),
        )
        stopping = blocking_failures(results, BLOCKING)
        if stopping:
            raise Failure(description="\n".join(stopping))

    return refresh


def _fields(database: DuckDBPyConnection, connection: Connection, model: Model) -> Fields:
    """The column of each field of the API that syncs have met, of the tables that a model reads."""
    return {
        resource.table: known_columns(database, connection.name, resource.name)
        for resource in connection.resources
        if resource.table in model.reads
    }


def _description(connection: Connection, model: Model) -> str:
    return (
        f"{model.description}\n\nTable `{analytics_schema(connection.name)}.{model.name}` in DuckDB, a row "
        f"for each {', '.join(f'`{name}`' for name in model.grain)}. Days and hours are those of "
        f"{connection.analytics.time_zone}."
    )


def _op_description(connection: Connection, model: Model) -> str:
    name = analytics_op_name(connection.name, model.name)
    return (
        f"Refreshes {model.name} of {connection.name}: computes it from the tables and writes the rows that "
        "differ. To compare certain days in full and leave the others as they are, launch it with "
        f'`ops: {{{name}: {{config: {{first: "2026-03-01", last: "2026-03-31"}}}}}}`.'
    )


def _version_of(connection: Connection, model: Model) -> str:
    """A digest of all that decides what the table holds, besides the rows, so that Dagster sees an edit."""
    said = (model.sql, connection.analytics.time_zone, repr(sorted(_words(connection, model))))
    return hashlib.sha256("\0".join(said).encode()).hexdigest()[:12]


def _words(connection: Connection, model: Model) -> Iterator[tuple[str, str, str]]:
    for table, columns in model.reads.items():
        for word in columns:
            yield table, word, connection.analytics.column(table, word)
