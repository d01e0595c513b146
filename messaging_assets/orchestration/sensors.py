"""What makes a sync run because something happened at the source.

The sensor looks at both ends of the messages, remembers what it saw until a sync that began after
it has succeeded, and asks again, more and more patiently, as long as none does. It never opens the
DuckDB file. What it looks at, and how, stands in `messaging_assets.api.glance`.

Its requests count against the rate of the connection: while a sync holds the connection's lock, the sync
has the rate to itself and the sensor asks nothing; at other times it keeps to the same rate.
"""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.api.errors import MessagingError
from messaging_assets.api.glance import can_glance, glance, hurried
from messaging_assets.api.proof import is_proof
from messaging_assets.api.settings import configured_client
from messaging_assets.api.source import Api
from messaging_assets.orchestration.activity import waiting_run, working_process
from messaging_assets.orchestration.names import (
    CONNECTION_TAG,
    MESSAGES,
    raw_key,
    reconcile_job_name,
    sensor_name,
    sync_job_name,
)
from messaging_assets.orchestration.resources import uses_sandbox

#: A sync that keeps failing is asked for at least this often.
LONGEST_WAIT = 3600.0


@dataclasses.dataclass(frozen=True)
class Cursor:
    """What the sensor remembers from tick to tick; digests and times only.

    Args:
        confirmed: The state of the messages that a succeeded sync is known to have seen.
        pending: The state that no sync is known to have seen yet.
        pending_since: When that state was seen first, in seconds since 1970.
        asked: How many syncs were asked for since the last one that succeeded.
        asked_at: When the last of them was asked for.
    """

    confirmed: str | None = None
    pending: str | None = None
    pending_since: float = 0.0
    asked: int = 0
    asked_at: float = 0.0

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """Read a stored cursor; one that can't be read means that nothing was seen yet."""
        try:
            return cls(**json.loads(text or "{}"))
        except (TypeError, ValueError):
            return cls()

    def written(self) -> str:
        """The cursor as it is stored."""
        return json.dumps(dataclasses.asdict(self))

    def after_sync(self, began: float) -> "Cursor":
        """Confirm what is pending, if it was seen before a sync that succeeded began."""
        if self.pending is None or began < self.pending_since:
            return self
        return Cursor(confirmed=self.pending)

    def after_look(self, fingerprint: str, now: float) -> "Cursor":
        """Remember what was seen."""
        if fingerprint == self.confirmed:
            return Cursor(confirmed=self.confirmed)
        if fingerprint == self.pending:
            return self
        return dataclasses.replace(self, pending=fingerprint, pending_since=now)

    def after_request(self, now: float) -> "Cursor":
        """Remember that a sync was asked for."""
        return dataclasses.replace(self, asked=self.asked + 1, asked_at=now)

    def patience(self, interval: float) -> float:
        """When the next sync may be asked for: at once, and after each that failed twice as late."""
        wait = interval * 2.0 ** min(self.asked, 32) if self.asked else 0.0
        return self.asked_at + min(wait, LONGEST_WAIT)


@dataclasses.dataclass(frozen=True)
class LastSync:
    """The last sync of the messages that was complete.

    Args:
        began: When it began, in seconds since 1970.
        rows: How many messages it left.
    """

    began: float = 0.0
    rows: int | None = None


def new_messages_sensors(connection: Connection) -> list[SensorDefinition]:
    """The sensor of a connection that has messages to look at from both ends; none otherwise."""
    return [
        _new_messages_sensor(connection, resource)
        for resource in connection.resources
        if resource.table == MESSAGES and resource.selected and can_glance(resource)
    ]


def _new_messages_sensor(connection: Connection, messages: Resource) -> SensorDefinition:
    name, job = connection.name, sync_job_name(connection.name)
    watching = connection.sensor.enabled

    @sensor(
        name=sensor_name(name),
        job_name=job,
        minimum_interval_seconds=connection.sensor.interval_seconds,
        default_status=DefaultSensorStatus.RUNNING if watching else DefaultSensorStatus.STOPPED,
        description=(
            f"Looks at both ends of the messages of {name} with two requests (and one for a token), and runs "
            f"{job} when they changed. Asks again, with growing patience, until a sync has succeeded."
        ),
    )
    def tick(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        try:
            return _evaluate(context, connection, messages)
        except MessagingError as error:
            return SkipReason(str(error))

    return tick


def _evaluate(
    context: SensorEvaluationContext, connection: Connection, messages: Resource
) -> SensorResult | SkipReason:
    reason = _reason_to_rest(context.instance, connection)
    if reason is not None:
        return SkipReason(reason)
    last = _last_sync(context.instance, connection)
    fingerprint = _look(connection, messages, last.rows)
    now = datetime.now(UTC).timestamp()
    cursor = Cursor.read(context.cursor).after_sync(last.began).after_look(fingerprint, now)
    return _answer(connection, cursor, last, now)


def _answer(connection: Connection, cursor: Cursor, last: LastSync, now: float) -> SensorResult:
    """Ask for a sync if something is pending and the time has come."""
    if cursor.pending is None:
        return _skipped("the messages are as the last sync saw them", cursor)
    patience = cursor.patience(connection.sensor.interval_seconds)
    if now < patience:
        when = datetime.fromtimestamp(patience, UTC).strftime("%H:%M:%S UTC")
        return _skipped(f"a sync was asked for and did not succeed; the next is asked for at {when}", cursor)
    # The key is the same if this tick is repeated after a crash, and new for whatever comes later.
    request = RunRequest(
        run_key=f"{cursor.pending}:{cursor.asked}:{last.began:.3f}",
        tags={CONNECTION_TAG: connection.name},
    )
    return SensorResult(run_requests=[request], cursor=cursor.after_request(now).written())


def _skipped(reason: str, cursor: Cursor) -> SensorResult:
    return SensorResult(skip_reason=SkipReason(reason), cursor=cursor.written())


def _reason_to_rest(instance: DagsterInstance, connection: Connection) -> str | None:
    """Why there is no point in looking now; None where there is."""
    name = connection.name
    if uses_sandbox(connection):
        return f"no address is configured for {name}; the sandbox lives only during a run, by the schedule"
    jobs = (sync_job_name(name), reconcile_job_name(name))
    return waiting_run(instance, jobs) or working_process(connection)


def _look(connection: Connection, messages: Resource, held: int | None) -> str:
    client = configured_client(connection)
    config: Any = {**client, "client": hurried(client["client"])}
    with Api(config, name=connection.name) as api:
        return glance(api, messages, held).fingerprint


def _last_sync(instance: DagsterInstance, connection: Connection) -> LastSync:
    """The last materialisation of the messages, whoever asked for it.

    One that was incomplete, held deletions back or read the sandbox has not seen what the API shows.
    """
    event = instance.get_latest_materialization_event(raw_key(connection.name, MESSAGES))
    materialisation = event.asset_materialization if event else None
    if materialisation is None:
        return LastSync()
    told = {name: value.value for name, value in materialisation.metadata.items()}
    if not is_proof(told.get("verified")) or told.get("deletions_withheld") or told.get("sandbox"):
        return LastSync()
    began, rows = told.get("started"), told.get("dagster/row_count")
    return LastSync(
        began=float(began) if isinstance(began, float | int) else 0.0,
        rows=rows if isinstance(rows, int) else None,
    )
