"""Whether work on a connection is under way: what schedules and the sensor ask before they ask for more.

Runs that wait are known to Dagster. Of a run that has started only the sync lock tells the truth: a
run whose process was killed stays "started" until it is noticed, while its lock is free at once.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.resources import database_file
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.locks import is_held

#: Not at work yet.
WAITING = [DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING]

#: A run begins within seconds of leaving the queue; one that has not by then was lost with its process.
LONGEST_BEGINNING = timedelta(minutes=5)


def waiting_run(instance: DagsterInstance, jobs: Sequence[str]) -> str | None:
    """The run of one of these jobs that waits to begin, in words; None where none does."""
    for job in jobs:
        for record in instance.get_run_records(RunsFilter(job_name=job, statuses=WAITING)):
            run = record.dagster_run
            age = datetime.now(UTC) - record.update_timestamp.astimezone(UTC)
            if run.status == DagsterRunStatus.QUEUED or age < LONGEST_BEGINNING:
                return f"run {run.run_id[:8]} of {job} is waiting to begin"
    return None


def working_process(connection: Connection) -> str | None:
    """The process that syncs the connection right now, in words; None where none does."""
    holder = is_held(WarehouseLocation(database_file(connection)), connection.name)
    return None if holder is None else f"{connection.name} is being synced by {holder}"
