"""Running a sync job through Dagster without its UI, and reporting what it did.

The run stands in the same history as those of `dagster dev`: in DAGSTER_HOME where that is set, else in the
folder that dagster.yaml names. What a job does is defined in `orchestration`.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import (
    AssetKey,
    AssetObservation,
    DagsterError,
    DagsterEventType,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    InitLoggerContext,
    LoggerDefinition,
    logger,
)
from filelock import FileLock

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.analytics import models_of
from messaging_assets.orchestration.assets import SyncConfig
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.orchestration.names import (
    analytics_key,
    op_name,
    raw_key,
    reconcile_job_name,
    sync_job_name,
)
from messaging_assets.orchestration.resources import database_file
from messaging_assets.warehouse.location import owner_only_files


@dataclass(frozen=True)
class TableReport:
    """What a run did to a table."""

    name: str
    rows: int
    new: int
    changed: int
    deleted: int
    verified: str
    withheld: int
    seconds: float


@dataclass(frozen=True)
class AnalyticsReport:
    """What a run did to the models of the analytics.

    Attributes:
        refreshed: How many of them are up to date now.
        changed: How many of these hold something else than before.
        skipped: The names of those that were skipped, each with the reason.
        stopped: How many were not refreshed because something failed.
    """

    refreshed: int
    changed: int
    skipped: tuple[str, ...]
    stopped: int


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        database: The DuckDB file.
        tables: The tables that were materialised.
        analytics: What it did to the models.
        failures: What failed: each cause once, with the steps that it stopped.
    """

    database: Path
    tables: tuple[TableReport, ...]
    analytics: AnalyticsReport
    failures: tuple[str, ...]


def run_sync(connection: Connection, *, reconcile: bool, accept_deletions: bool, verbose: bool) -> RunReport:
    """Runs a connection's sync or reconcile job in this process.

    Args:
        connection: The connection.
        reconcile: Run the reconcile job instead of the sync job.
        accept_deletions: Mark deletions even if more rows vanish than the connection allows.
        verbose: Show every event of the run, not only what is worth reading.
    """
    job_name = (reconcile_job_name if reconcile else sync_job_name)(connection.name)
    definitions = Definitions.merge(
        build_definitions([connection]), Definitions(loggers={"console": _console(verbose=verbose)})
    )
    config = SyncConfig(mode="reconcile" if reconcile else "sync", accept_deletions=accept_deletions)
    ops = {
        op_name(connection.name, resource.table): {"config": config.model_dump()}
        for resource in connection.resources
        if resource.selected
    }
    with owner_only_files(), _instance() as instance:
        result = definitions.resolve_job_def(job_name).execute_in_process(
            run_config={"ops": ops, "loggers": {"console": {}}}, instance=instance, raise_on_error=False
        )
        return RunReport(
            database_file(connection),
            tuple(_tables(result, connection)),
            _analytics(result, connection),
            tuple(_failures(result)),
        )


@contextmanager
def _instance() -> Iterator[DagsterInstance]:
    try:
        instance = DagsterInstance.get()
    except DagsterError:
        # DAGSTER_HOME is not set.
        here = Path.cwd()
        has_own = (here / "dagster.yaml").exists()
        instance = _of_project(here) if has_own else DagsterInstance.ephemeral()
    with instance:
        yield instance


def _of_project(folder: Path) -> DagsterInstance:
    """The instance of dagster.yaml, opened by one process at a time: two that make its history spoil it."""
    lock = folder / ".dagster" / "opening.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock, mode=0o600):
        return DagsterInstance.from_config(str(folder))


def _tables(result: ExecuteInProcessResult, connection: Connection) -> Iterator[TableReport]:
    for key, metadata in _materialised(result):
        if key in {raw_key(connection.name, resource.table) for resource in connection.resources}:
            seconds = metadata["seconds"].value
            assert isinstance(seconds, float)
            yield TableReport(
                name=".".join(key.path),
                rows=_count(metadata, "dagster/row_count"),
                new=_count(metadata, "rows_new"),
                changed=_count(metadata, "rows_changed"),
                deleted=_count(metadata, "rows_deleted"),
                verified=str(metadata["verified"].value),
                withheld=_count(metadata, "deletions_withheld"),
                seconds=seconds,
            )


def _analytics(result: ExecuteInProcessResult, connection: Connection) -> AnalyticsReport:
    models = {analytics_key(connection.name, model.name): model.name for model in models_of(connection)}
    refreshed = [metadata for key, metadata in _materialised(result) if key in models]
    written = [_count(metadata, "rows_written") or _count(metadata, "rows_removed") for metadata in refreshed]
    skipped = [
        f"{models[seen.asset_key]}: {seen.metadata['skipped'].value}"
        for seen in _observed(result)
        if seen.asset_key in models
    ]
    return AnalyticsReport(
        refreshed=len(refreshed),
        changed=sum(map(bool, written)),
        skipped=tuple(skipped),
        stopped=len(models) - len(refreshed) - len(skipped),
    )


def _observed(result: ExecuteInProcessResult) -> Iterator[AssetObservation]:
    for event in result.get_asset_observation_events():
        yield event.asset_observation_data.asset_observation


def _materialised(result: ExecuteInProcessResult) -> Iterator[tuple[AssetKey, Mapping[str, Any]]]:
    for event in result.get_asset_materialization_events():
        yield event.materialization.asset_key, event.materialization.metadata


def _count(metadata: Mapping[str, Any], name: str) -> int:
    return int(metadata[name].value)


def _failures(result: ExecuteInProcessResult) -> Iterator[str]:
    steps: dict[str, list[str]] = {}
    for event in result.all_events:
        if event.event_type is DagsterEventType.STEP_FAILURE:
            told = event.step_failure_data.user_failure_data
            error = event.step_failure_data.error
            words = told.description if told else error.message.strip() if error else None
            steps.setdefault(words or "without a word", []).append(event.step_key or "the run")
    for words, stopped in steps.items():
        yield f"{', '.join(stopped)}: {words}"


def _console(*, verbose: bool) -> LoggerDefinition:
    """A logger for a terminal: the time and the message, on standard error."""

    @logger
    def console(_: InitLoggerContext) -> logging.Logger:
        handler = logging.StreamHandler()
        handler.setFormatter(_Concise("%(asctime)s %(message)s", "%H:%M:%S"))
        shown = logging.Logger("messaging", logging.DEBUG if verbose else logging.INFO)
        shown.addHandler(handler)
        return shown

    return console


class _Concise(logging.Formatter):
    """Shows Dagster's messages without the run's id and the process before them."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", None) or {}
        step, message = meta.get("step_key"), meta.get("orig_message")
        if message is not None:
            record = logging.makeLogRecord({**record.__dict__, "args": ()})
            record.msg = f"{step}: {message}" if step else message
            record.exc_info = record.exc_text = None
        return super().format(record)
