"""The schedules' ticks, on a real Dagster instance."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunRequest, build_schedule_context
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from messaging_assets.orchestration import activity
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.locks import sync_lock
from messaging_assets_tests.orchestration.conftest import Platform

pytestmark = pytest.mark.dagster

SYNC, RECONCILE = "messaging_sync", "messaging_reconcile"
Tick = Callable[[str], ScheduleExecutionData]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance in a folder, which a schedule's context can find again."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with DagsterInstance.local_temp(str(folder)) as instance:
        yield instance


@pytest.fixture
def tick(platform: Platform) -> Tick:
    """One tick of the schedule of a job."""
    repository = platform.defs.get_repository_def()

    def evaluated(job: str) -> ScheduleExecutionData:
        context = build_schedule_context(
            instance=platform.instance,
            scheduled_execution_time=datetime(2024, 3, 1, 3, 30, tzinfo=UTC),
            repository_def=repository,
        )
        return repository.get_schedule_def(f"{job}_schedule").evaluate_tick(context)

    return evaluated


def requested(tick: ScheduleExecutionData) -> list[str | None]:
    assert all(isinstance(request, RunRequest) for request in tick.run_requests or [])
    return [request.run_key for request in tick.run_requests or []]


@pytest.mark.parametrize("job", [SYNC, RECONCILE])
def test_a_tick_asks_for_a_run(tick: Tick, job: str) -> None:
    assert requested(tick(job)) == ["2024-03-01T03:30:00+00:00"]


def test_what_waits_already_is_not_asked_for_again(platform: Platform, tick: Tick) -> None:
    platform.pretend(SYNC, DagsterRunStatus.NOT_STARTED)
    skipped = tick(SYNC)
    assert not skipped.run_requests
    assert "of messaging_sync is waiting to begin" in str(skipped.skip_message)
    # A sync does not replace a reconcile, a reconcile does replace a sync.
    assert requested(tick(RECONCILE))
    platform.pretend(RECONCILE, DagsterRunStatus.NOT_STARTED)
    assert "of messaging_reconcile is waiting" in str(tick(RECONCILE).skip_message)


def test_a_sync_is_not_asked_for_beside_another_but_a_reconcile_is(platform: Platform, tick: Tick) -> None:
    with sync_lock(WarehouseLocation(platform.file), "messaging", purpose="a test"):
        assert "messaging is being synced by" in str(tick(SYNC).skip_message)
        assert requested(tick(RECONCILE))
    assert requested(tick(SYNC))


def test_a_run_that_died_silences_nothing(platform: Platform, tick: Tick) -> None:
    platform.pretend(SYNC, DagsterRunStatus.STARTED)
    assert requested(tick(SYNC))


def test_a_run_that_was_lost_before_it_began_silences_nothing(
    platform: Platform, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.pretend(SYNC, DagsterRunStatus.STARTING)
    assert not requested(tick(SYNC))
    monkeypatch.setattr(activity, "LONGEST_BEGINNING", timedelta(0))
    assert requested(tick(SYNC))
