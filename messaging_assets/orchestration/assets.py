"""The tables of a connection: one op per resource, which syncs it, judges it and tells what it did.

The op only connects: the sync is the warehouse's, the staging dlt's, the specification the
translator's, the judging that of `checks`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from dagster import (
    AssetExecutionContext,
    AssetObservation,
    AssetsDefinition,
    Config,
    DataVersion,
    Failure,
    MaterializeResult,
    multi_asset,
)
from dlt.extract.source import DltSource
from dlt.pipeline.pipeline import Pipeline
from pydantic import Field

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.orchestration.checks import blocking_failures, check_results, check_specs
from messaging_assets.orchestration.failures import explained
from messaging_assets.orchestration.metadata import materialisation_metadata, observation_metadata
from messaging_assets.orchestration.names import api_key, op_name
from messaging_assets.orchestration.resources import (
    MessagingApi,
    MessagingDltResource,
    WarehouseResource,
    uses_sandbox,
)
from messaging_assets.orchestration.translator import MessagingTranslator
from messaging_assets.warehouse.ledger import known_columns
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.plan import plan_before_sync
from messaging_assets.warehouse.quality import table_facts
from messaging_assets.warehouse.sync import sync_resource


class SyncConfig(Config):
    """What an operator can ask of the sync of a resource."""

    mode: Literal["sync", "reconcile"] = Field(
        default="sync",
        description=(
            "sync reads what it takes to prove what is new and what is gone; reconcile reads everything, and "
            "so finds every edit."
        ),
    )
    accept_deletions: bool = Field(
        default=False,
        description="Mark deletions even if more rows would vanish than the connection allows.",
    )


def raw_assets(connection: Connection) -> list[AssetsDefinition]:
    """The tables of a connection, each with its own op."""
    translator = MessagingTranslator(connection)
    return [
        _raw_asset(connection, resource, translator) for resource in connection.resources if resource.selected
    ]


def _raw_asset(
    connection: Connection, resource: Resource, translator: MessagingTranslator
) -> AssetsDefinition:
    @multi_asset(
        name=op_name(connection.name, resource.table),
        description=f"Syncs {resource.name} of {connection.name} and checks the table.",
        specs=[translator.spec(resource)],
        check_specs=check_specs(connection, resource),
    )
    def materialise(
        context: AssetExecutionContext,
        config: SyncConfig,
        api: MessagingApi,
        warehouse: WarehouseResource,
        dlt: MessagingDltResource,
    ) -> Iterator[MaterializeResult[None]]:
        def stage(source: DltSource, pipeline: Pipeline) -> None:
            dlt.load(context, source, pipeline, translator)

        with explained(f"syncing {resource.name} of {connection.name}"):
            started = datetime.now(UTC)
            file = warehouse.of(connection)
            location = WarehouseLocation(file.path)
            plan = plan_before_sync(connection, resource, location)
            if plan is not None:
                context.log.info(plan.line(config.mode))
            result = sync_resource(
                api.open(connection),
                connection,
                resource.name,
                location=location,
                mode=config.mode,
                run_id=context.run.run_id,
                stage=stage,
                progress=lambda progress: context.log.info(progress.line()),
                waiting=context.log.info,
                accept_deletions=config.accept_deletions,
            )
            with file.get_connection(read_only=True) as database:
                facts = table_facts(database, connection.name, resource)
                fields = known_columns(database, connection.name, resource.name)
            results = check_results(connection, resource, result, facts)
            metadata = materialisation_metadata(
                result,
                connection,
                resource,
                fields=fields,
                database=file.path,
                sandbox=uses_sandbox(connection),
                started=started,
            )
        context.log_event(
            AssetObservation(api_key(connection.name, resource.table), metadata=observation_metadata(result))
        )
        yield MaterializeResult(
            metadata=metadata, check_results=results, data_version=DataVersion(result.content_version)
        )
        stopping = blocking_failures(results)
        if stopping:
            raise Failure(description="\n".join(stopping))

    return materialise
