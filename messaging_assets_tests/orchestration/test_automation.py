"""What sets the analytics in motion, and what does not: Dagster's own evaluation over real runs."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from dagster import AssetKey, AssetSelection, evaluate_automation_conditions
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor

from messaging_assets.api.connection import Analytics, Connection
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.sandbox import Broken, Sandbox
from messaging_assets.warehouse.analytics.model import read_models
from messaging_assets_tests.orchestration.conftest import Platform, checks

pytestmark = pytest.mark.dagster

SYNC = "messaging_sync"
TABLES = ("users", "channels", "messages")
MODELS = {model.name for model in read_models()}
READ_USERS = {model.name for model in read_models() if "users" in model.reads}
REPORT = {"report"}


@dataclass
class Sensor:
    """The sensor's looks, one after another, at times of a clock of its own."""

    platform: Platform
    now: datetime
    cursor: AssetDaemonCursor | None = None

    def look(self, later: timedelta = timedelta(seconds=30)) -> set[str]:
        """What is asked for at the next look."""
        self.now += later
        seen = evaluate_automation_conditions(
            self.platform.defs,
            self.platform.instance,
            asset_selection=AssetSelection.groups("messaging_analytics"),
            cursor=self.cursor,
            evaluation_time=self.now,
        )
        self.cursor = seen.cursor
        keys = [result.key for result in seen.results]
        return {key.path[-1] for key in keys if isinstance(key, AssetKey) and seen.get_num_requested(key)}

    def make(self, *names: str) -> bool:
        """Does what was asked for, in a run."""
        return self.platform.run("__ASSET_JOB", *(f"analytics/{name}" for name in names)).success


@pytest.fixture
def sensor(platform: Platform) -> Sensor:
    """Half past the hour, so that no hour begins by accident."""
    return Sensor(platform, datetime.now(UTC).replace(minute=30, second=0, microsecond=0))


def test_before_the_first_sync_nothing_is_asked_for(sensor: Sensor) -> None:
    assert sensor.look() == set()
    assert sensor.look() == set()


def test_the_first_tables_set_everything_in_motion_once(sensor: Sensor, platform: Platform) -> None:
    assert platform.run(SYNC, *TABLES).success
    # Also where the tables were there before the sensor.
    assert sensor.look() == MODELS
    # They are asked for, and not made yet: the report is about what is there.
    assert sensor.look() == REPORT
    assert sensor.look() == set()
    assert sensor.make(*MODELS, *REPORT)
    assert sensor.look() == set()


def test_a_model_waits_until_all_its_tables_are_there(sensor: Sensor, platform: Platform) -> None:
    assert platform.run(SYNC, "messages", "users").success
    assert sensor.look() == {model.name for model in read_models() if "channels" not in model.reads}


def test_by_data_version_a_sync_that_changed_nothing_sets_nothing_in_motion(
    sensor: Sensor, platform: Platform, sandbox: Sandbox
) -> None:
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    assert platform.run(SYNC, *TABLES).success
    assert sensor.look() == set()
    sandbox.insert("users", name="Newcomer")
    assert platform.run(SYNC, *TABLES).success
    assert sensor.look() == READ_USERS
    assert sensor.make(*READ_USERS)
    assert sensor.look() == REPORT
    assert sensor.look() == set()


def test_what_the_job_has_done_is_not_done_again(
    sensor: Sensor, platform: Platform, sandbox: Sandbox
) -> None:
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    sandbox.insert("messages")
    assert platform.run(SYNC).success
    # No model; the report is no part of the job.
    assert sensor.look() == REPORT
    assert sensor.look() == set()


def test_a_blocking_check_holds_back_what_depends_until_it_passes(
    sensor: Sensor, platform: Platform, sandbox: Sandbox
) -> None:
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    sandbox.delete("messages", *sandbox.ids("messages")[:200])
    sandbox.insert("messages")
    assert not platform.run(SYNC).success
    assert sensor.look() == REPORT
    assert sensor.look() == set()
    sandbox.insert("users", name="Newcomer")
    assert platform.run(SYNC, "users").success
    # All models read the messages, whose deletions are still held back.
    assert sensor.look() == REPORT
    assert platform.run(SYNC, "messages", accept_deletions=True).success
    assert sensor.look() == MODELS


def test_records_that_are_kept_aside_hold_nothing_back(
    sensor: Sensor, platform: Platform, sandbox: Sandbox
) -> None:
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    sandbox.insert("messages")
    sandbox.raw_row("messages", {"id": 7, "text": "its id is of another type"}, 50)
    synced = platform.run(SYNC, *TABLES)
    assert synced.success
    assert checks(synced)["messages: records_stored"] is False
    assert sensor.look() == MODELS


def test_a_skipped_model_is_left_alone_until_its_definition_changes(
    sensor: Sensor, platform: Platform, sandbox: Sandbox, connection: Connection
) -> None:
    lacking = replace(connection, analytics=Analytics(columns={"messages": {"thread_parent_id": "answers"}}))
    sensor.platform = lacks = replace(platform, defs=build_definitions([lacking]))
    assert lacks.run(SYNC).success
    assert sensor.look() == REPORT
    assert sensor.look() == set()
    sandbox.insert("messages")
    assert lacks.run(SYNC, *TABLES).success
    skipped = {model.name for model in read_models() if "thread_parent_id" in model.reads["messages"]}
    assert sensor.look() == MODELS - skipped
    sensor.platform = platform
    assert sensor.look() == skipped


def test_the_report_comes_soon_after_a_change_and_each_morning(
    sensor: Sensor, platform: Platform, sandbox: Sandbox
) -> None:
    sensor.now = sensor.now.replace(hour=12)
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    assert sensor.look() == set()
    sandbox.insert("messages")
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    assert sensor.make(*REPORT)
    assert sensor.look(timedelta(hours=1)) == set()
    # A change just after it was asked for, and just after it was made.
    sandbox.insert("messages")
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    assert sensor.make(*REPORT)
    sandbox.insert("messages")
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    assert sensor.make(*REPORT)
    assert sensor.look() == set()
    sensor.now = sensor.now.replace(hour=5) + timedelta(days=1)
    assert sensor.look() == set()
    assert sensor.look(timedelta(hours=1)) == REPORT


def test_the_report_tells_of_failures(sensor: Sensor, platform: Platform, sandbox: Sandbox) -> None:
    assert platform.run(SYNC).success
    assert sensor.look() == REPORT
    assert sensor.look() == set()
    sandbox.order(broken=[Broken("status", "channels", status=403)])
    assert not platform.run(SYNC).success
    assert sensor.look() == REPORT
    assert sensor.look() == set()
