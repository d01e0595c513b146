"""When a connection's jobs run by the clock: cron and time zone from the connection file.

A tick that finds the same work waiting or under way is skipped and says so. What makes a job run
because something happened stands in `sensors`.
"""

from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from messaging_assets.api.connection import Connection, Schedule
from messaging_assets.orchestration.activity import waiting_run, working_process
from messaging_assets.orchestration.names import (
    CONNECTION_TAG,
    reconcile_job_name,
    schedule_name,
    sync_job_name,
)


def sync_schedule(connection: Connection) -> ScheduleDefinition:
    """Sync by the clock; what waits or works already is as good as this tick."""
    jobs = (sync_job_name(connection.name), reconcile_job_name(connection.name))
    return _schedule(connection, jobs[0], connection.schedules.sync, instead=jobs, beside_work=False)


def reconcile_schedule(connection: Connection) -> ScheduleDefinition:
    """Reconcile by the clock, after a sync that is under way: no sync replaces a reconcile."""
    job = reconcile_job_name(connection.name)
    return _schedule(connection, job, connection.schedules.reconcile, instead=(job,), beside_work=True)


def _schedule(
    connection: Connection, job: str, when: Schedule, *, instead: tuple[str, ...], beside_work: bool
) -> ScheduleDefinition:
    @schedule(
        name=schedule_name(job),
        job_name=job,
        cron_schedule=when.cron,
        execution_timezone=when.timezone,
        default_status=DefaultScheduleStatus.RUNNING if when.enabled else DefaultScheduleStatus.STOPPED,
        description=f"Runs {job} at {when.cron} ({when.timezone}), unless the same work is under way.",
        tags={CONNECTION_TAG: connection.name},
    )
    def tick(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        reason = waiting_run(context.instance, instead)
        if reason is None and not beside_work:
            reason = working_process(connection)
        if reason is not None:
            return SkipReason(reason)
        return RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return tick
