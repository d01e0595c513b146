"""The jobs of a connection: sync, often, and reconcile, now and then.

Which assets run together, and with which configuration, belongs here. When they run stands in
`schedules` and `sensors`.
"""

from typing import TYPE_CHECKING

from dagster import AssetSelection, RunConfig, define_asset_job, in_process_executor

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.analytics import models_of
from messaging_assets.orchestration.assets import SyncConfig
from messaging_assets.orchestration.names import (
    CONNECTION_TAG,
    MODE_TAG,
    analytics_key,
    op_name,
    raw_key,
    reconcile_job_name,
    sync_job_name,
)

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def sync_job(connection: Connection) -> "UnresolvedAssetJobDefinition":
    """Bring all tables of a connection up to date, and then the models that read them."""
    return define_asset_job(
        name=sync_job_name(connection.name),
        selection=_tables_and_models(connection),
        description=(
            f"Brings the tables of {connection.name} up to date, proves them complete, marks what is gone, "
            "and refreshes the models of the analytics. A resource that fails leaves the others alone: they "
            "are loaded, the models that don't read it are refreshed, and the run fails."
        ),
        tags={CONNECTION_TAG: connection.name, MODE_TAG: "sync"},
        executor_def=in_process_executor,
    )


def reconcile_job(connection: Connection) -> "UnresolvedAssetJobDefinition":
    """Read everything, compare it with the tables, mark what is gone."""
    return define_asset_job(
        name=reconcile_job_name(connection.name),
        selection=_tables_and_models(connection),
        description=(
            f"Reads everything that {connection.name} has, proves that it is everything, compares it with "
            "the tables, marks as deleted what is gone, whatever a sync may leave out to be cheap, and "
            "refreshes the models of the analytics."
        ),
        tags={CONNECTION_TAG: connection.name, MODE_TAG: "reconcile"},
        config=RunConfig(
            ops={
                op_name(connection.name, resource.table): SyncConfig(mode="reconcile")
                for resource in connection.resources
                if resource.selected
            }
        ),
        executor_def=in_process_executor,
    )


def _tables_and_models(connection: Connection) -> AssetSelection:
    """What a job brings up to date; by name, so that what others build on it stays theirs to run."""
    name = connection.name
    tables = [raw_key(name, resource.table) for resource in connection.resources if resource.selected]
    models = [analytics_key(name, model.name) for model in models_of(connection)]
    return AssetSelection.assets(*tables, *models)
