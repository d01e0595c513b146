"""All of Dagster's definitions for a set of connections, built by one pure function.

Nothing is defined here: this is where what the other modules define comes together.
"""

from collections.abc import Sequence

from dagster import AssetsDefinition, AssetSpec, Definitions, SensorDefinition, in_process_executor

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.analytics import analytics_assets
from messaging_assets.orchestration.assets import raw_assets
from messaging_assets.orchestration.automation import automation_sensor
from messaging_assets.orchestration.jobs import reconcile_job, sync_job
from messaging_assets.orchestration.lineage import api_specs
from messaging_assets.orchestration.report import report_assets
from messaging_assets.orchestration.resources import MessagingApi, MessagingDltResource, WarehouseResource
from messaging_assets.orchestration.schedules import reconcile_schedule, sync_schedule
from messaging_assets.orchestration.sensors import new_messages_sensors


def build_definitions(connections: Sequence[Connection]) -> Definitions:
    """Define the assets, jobs, schedules and sensors of these connections.

    Args:
        connections: The connections, each read from its file.

    Returns:
        Definitions that load without network, secret or database.

    Example:
        >>> build_definitions(()).get_repository_def().job_names
        ['__ASSET_JOB']
    """
    assets: list[AssetsDefinition | AssetSpec] = []
    sensors: list[SensorDefinition] = []
    for connection in connections:
        assets += api_specs(connection)
        assets += raw_assets(connection)
        sensors += new_messages_sensors(connection)
        analytics = [*analytics_assets(connection), *report_assets(connection)]
        if analytics:
            assets += analytics
            sensors.append(automation_sensor(connection))
    return Definitions(
        assets=assets,
        jobs=[job(connection) for connection in connections for job in (sync_job, reconcile_job)],
        schedules=[
            schedule(connection)
            for connection in connections
            for schedule in (sync_schedule, reconcile_schedule)
        ],
        sensors=sensors,
        resources={"api": MessagingApi(), "warehouse": WarehouseResource(), "dlt": MessagingDltResource()},
        # One writer at a time: processes of their own would only wait for each other.
        executor=in_process_executor,
    )
