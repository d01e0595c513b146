"""All definitions together: what there is, and that loading them takes nothing but the files."""

import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DefaultScheduleStatus, DefaultSensorStatus, Definitions

from messaging_assets.api.connection import Connection, read_connection
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.warehouse.analytics.model import read_models

pytestmark = pytest.mark.dagster

MODELS = [model.name for model in read_models()]
OTHER = """\
client: {}
resources: [users, {name: teams, endpoint: teams, selected: false}]
schedules: {sync: {cron: "0 6 * * 1-5", timezone: Europe/Berlin}, reconcile: {enabled: false}}
"""

# Run as a process of its own: nothing of the suite is imported or configured there.
LOAD = """
import sys, time

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"{event} {arguments}")
    if event == "open" and ".duckdb" in str(arguments[0]):
        raise SystemExit(f"{event} {arguments}")
    # Nothing is drawn before the report is made.
    if event == "import" and arguments[0] == "matplotlib":
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(watch)
started = time.perf_counter()
from messaging_assets.definitions import defs
repository = defs.get_repository_def()
print(time.perf_counter() - started, *sorted(repository.job_names))
"""


@pytest.fixture
def defs(connection: Connection, tmp_path: Path) -> Definitions:
    """The packaged connection beside another one."""
    file = tmp_path / "other.yaml"
    file.write_text(OTHER)
    return build_definitions([connection, read_connection(file)])


def test_every_connection_has_its_jobs_schedules_and_sensor(defs: Definitions) -> None:
    repository = defs.get_repository_def()
    assert {name for name in repository.job_names if not name.startswith("__")} == {
        "messaging_sync",
        "messaging_reconcile",
        "other_sync",
        "other_reconcile",
    }
    schedules = {
        one.name: (one.cron_schedule, one.execution_timezone, one.default_status)
        for one in repository.schedule_defs
    }
    running, stopped = DefaultScheduleStatus.RUNNING, DefaultScheduleStatus.STOPPED
    assert schedules == {
        "messaging_sync_schedule": ("*/15 * * * *", "UTC", running),
        "messaging_reconcile_schedule": ("30 3 * * *", "UTC", running),
        "other_sync_schedule": ("0 6 * * 1-5", "Europe/Berlin", running),
        "other_reconcile_schedule": ("30 3 * * *", "UTC", stopped),
    }
    # The other connection has no messages, to look for or to make analytics of.
    [follow, new] = repository.sensor_defs
    assert (new.name, new.job_name) == ("messaging_new_messages", "messaging_sync")
    assert (new.minimum_interval_seconds, new.default_status) == (60, DefaultSensorStatus.RUNNING)
    assert (follow.name, follow.default_status) == ("messaging_analytics_follow", DefaultSensorStatus.RUNNING)


def test_every_asset_is_described_owned_and_in_a_group_of_its_connection(defs: Definitions) -> None:
    groups: dict[str | None, set[str]] = {}
    for spec in defs.resolve_all_asset_specs():
        groups.setdefault(spec.group_name, set()).add(spec.key.to_user_string())
        assert spec.description
        assert spec.owners
        assert spec.kinds
        assert spec.tags["messaging/connection"] == spec.key.path[0]
        assert "dagster/code_references" in spec.metadata
    names = ("users", "channels", "messages")
    assert groups == {
        "messaging": {f"messaging/{name}" for name in names},
        "messaging_api": {f"messaging/api/{name}" for name in names},
        "messaging_analytics": {f"messaging/analytics/{name}" for name in (*MODELS, "report")},
        "other": {"other/users"},
        "other_api": {"other/api/users"},
    }


def test_a_resource_that_is_only_a_parent_is_no_asset(defs: Definitions) -> None:
    assert not [spec for spec in defs.resolve_all_asset_specs() if "teams" in spec.key.path]


def test_each_resource_and_each_model_is_one_op_of_each_job(defs: Definitions) -> None:
    tables = {"messaging__users", "messaging__channels", "messaging__messages"}
    models = {f"messaging__analytics__{name}" for name in MODELS}
    for job in ("messaging_sync", "messaging_reconcile"):
        assert {node.name for node in defs.resolve_job_def(job).nodes} == tables | models


def test_every_check_says_what_to_do(defs: Definitions) -> None:
    checks = list(defs.resolve_asset_graph().asset_check_keys)
    assert {key.name for key in checks if key.asset_key.path == ["other", "users"]} == {
        "complete",
        "records_stored",
        "id_unique",
        "id_not_null",
        "created_at_valid",
        "columns_stable",
    }
    assert {key.asset_key.path[-1] for key in checks if key.name == "data_fresh"} == {"messages"}
    assert {
        key.name for key in checks if key.asset_key.path == ["messaging", "analytics", "user_activity"]
    } == {
        "columns_found",
        "grain_unique",
    }
    blocking = ("complete", "id_unique", "id_not_null", "grain_unique")
    for key in checks:
        spec = defs.resolve_asset_graph().get_check_spec(key)
        assert spec.description is not None
        assert "To do: " in spec.description
        assert spec.blocking == (key.name in blocking)


def test_loading_takes_no_network_no_secret_no_database_and_little_time(tmp_path: Path) -> None:
    package = Path(__file__).parents[2]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(package)}
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert loaded.returncode == 0, loaded.stderr
    seconds, *jobs = loaded.stdout.split()
    assert jobs == ["__ASSET_JOB", "messaging_reconcile", "messaging_sync"]
    # A bound for a busy machine; with compiled bytecode it takes about a second.
    assert float(seconds) < 20
    assert not list(tmp_path.rglob("*.duckdb"))
