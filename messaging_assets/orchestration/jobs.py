"""The jobs of a connection: sync, often, and reconcile, now and then.

Which assets run together, and with which configuration, belongs here. When they run stands in
`schedules` and `sensors`.
"""

from typing import TYPE_CHECKING

from dagster import AssetSelection, RunConfig, define_asset_job, in_process_executor

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.assets import SyncConfig
from messaging_assets.orchestration.names import (
    CONNECTION_TAG,
    MODE_TAG,
    op_name,
    raw_key,
    reconcile_job_name,
    sync_job_name,
)

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def sync_job(connection: Connection) -> "UnresolvedAssetJobDefinition":
    """Bring all tables of a connection up to date."""
    return define_asset_job(
        name=sync_job_name(connection.name),
        selection=_tables(connection),
        description=(
            f"Brings the tables of {connection.name} up to date, proves them complete and marks what is "
            "gone. A resource that fails leaves the others alone: they are loaded, and the run fails."
        ),
        tags={CONNECTION_TAG: connection.name, MODE_TAG: "sync"},
        executor_def=in_process_executor,
    )


def reconcile_job(connection: Connection) -> "UnresolvedAssetJobDefinition":
    """Read everything, compare it with the tables, mark what is gone."""
    return define_asset_job(
        name=reconcile_job_name(connection.name),
        selection=_tables(connection),
        description=(
            f"Reads everything that {connection.name} has, proves that it is everything, compares it with "
            "the tables, and marks as deleted what is gone, whatever a sync may leave out to be cheap."
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


def _tables(connection: Connection) -> AssetSelection:
    return AssetSelection.assets(
        *(raw_key(connection.name, resource.table) for resource in connection.resources if resource.selected)
    )
