"""`dagster dev` itself, as a user starts it: code location, daemon, UI and their memory."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

import messaging_assets
from messaging_assets.orchestration.checks import DESCRIPTIONS
from messaging_assets.sandbox import Sandbox
from messaging_assets.warehouse.analytics.model import read_models
from messaging_assets.warehouse.database import open_database

pytestmark = pytest.mark.dagster

PACKAGE = Path(messaging_assets.__file__).parent
MODELS = [model.name for model in read_models()]
RESOURCES = ("users", "channels", "messages")
T = TypeVar("T")

LAUNCH = """
mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
RUN = "query Run($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
SCHEDULES = """
query Schedules($selector: RepositorySelector!) {
  schedulesOrError(repositorySelector: $selector) {
    __typename
    ... on Schedules { results { name cronSchedule executionTimezone scheduleState { status } } }
  }
  sensorsOrError(repositorySelector: $selector) {
    __typename
    ... on Sensors { results { name sensorState { status } } }
  }
}
"""
ASSETS = """
{
  assetNodes {
    assetKey { path }
    groupName
    description
    owners { __typename }
    dependencyKeys { path }
    internalFreshnessPolicy { __typename }
    freshnessStatusInfo { freshnessStatus }
    assetMaterializations(limit: 9) { runId }
    assetChecksOrError {
      __typename
      ... on AssetChecks { checks { name } }
    }
  }
}
"""
JUDGED = """
query Judged($key: AssetKeyInput!) {
  assetCheckExecutions(assetKey: $key, checkName: "complete", limit: 9) { runId status }
}
"""
MADE = """
query Made($key: AssetKeyInput!) {
  assetOrError(assetKey: $key) { ... on Asset { assetMaterializations(limit: 1) { runId } } }
}
"""
REPOSITORY = {"repositoryLocationName": "messaging_assets", "repositoryName": "__repository__"}


@pytest.mark.timeout(240)
def test_dagster_dev_syncs_shows_and_remembers(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    with Sandbox(users=30, channels=5, messages=250) as sandbox:
        environment = settings(tmp_path, sandbox)
        with dagster_dev(project, environment) as ask:
            run = launch(ask, "messaging_sync")
            assert until_over(ask, run) == "SUCCESS"
            assert_assets_are_shown(ask, run)
            assert_schedules_and_sensors_run(ask)
            assert_the_report_is_made_by_itself(ask)
        with open_database(tmp_path / "own.duckdb", timeout=10, read_only=True) as database:
            for resource in RESOURCES:
                ids = database.execute(f"select id from messaging.{resource}").fetchall()
                assert sorted(row[0] for row in ids) == sorted(sandbox.ids(resource))
        with dagster_dev(project, environment) as ask:
            assert ask(RUN, {"id": run})["runOrError"]["status"] == "SUCCESS"


def assert_assets_are_shown(ask: "Ask", run: str) -> None:
    nodes = {"/".join(node["assetKey"]["path"]): node for node in ask(ASSETS)["assetNodes"]}
    tables = {f"messaging/{resource}" for resource in RESOURCES}
    ends = {f"messaging/api/{resource}" for resource in RESOURCES}
    analytics = {f"messaging/analytics/{name}" for name in (*MODELS, "report")}
    assert set(nodes) == tables | ends | analytics
    assert all(node["description"] and node["owners"] for node in nodes.values())
    for resource in RESOURCES:
        table = nodes[f"messaging/{resource}"]
        assert table["groupName"] == "messaging"
        assert table["dependencyKeys"] == [{"path": ["messaging", "api", resource]}]
        assert table["internalFreshnessPolicy"]["__typename"] == "TimeWindowFreshnessPolicy"
        assert table["freshnessStatusInfo"]["freshnessStatus"] in ("HEALTHY", "UNKNOWN")
        # The sensor may have asked for a sync of its own.
        assert {"runId": run} in table["assetMaterializations"]
        checks = {check["name"] for check in table["assetChecksOrError"]["checks"]}
        assert checks >= set(DESCRIPTIONS) - {"data_fresh"}
        judged = ask(JUDGED, {"key": table["assetKey"]})["assetCheckExecutions"]
        assert {"runId": run, "status": "SUCCEEDED"} in judged
    for name in MODELS:
        assert {"runId": run} in nodes[f"messaging/analytics/{name}"]["assetMaterializations"]


def assert_the_report_is_made_by_itself(ask: "Ask") -> None:
    """The sensor of the analytics looks every half minute; nobody else asks for the report."""
    key = {"path": ["messaging", "analytics", "report"]}
    made = until(lambda: ask(MADE, {"key": key})["assetOrError"].get("assetMaterializations"), seconds=100)
    assert until_over(ask, made[0]["runId"]) == "SUCCESS"


def assert_schedules_and_sensors_run(ask: "Ask") -> None:
    shown = ask(SCHEDULES, {"selector": REPOSITORY})
    schedules = {schedule["name"]: schedule for schedule in shown["schedulesOrError"]["results"]}
    assert set(schedules) == {"messaging_sync_schedule", "messaging_reconcile_schedule"}
    assert {schedule["scheduleState"]["status"] for schedule in schedules.values()} == {"RUNNING"}
    sensors = {one["name"]: one["sensorState"]["status"] for one in shown["sensorsOrError"]["results"]}
    assert sensors == {"messaging_new_messages": "RUNNING", "messaging_analytics_follow": "RUNNING"}


def launch(ask: "Ask", job: str) -> str:
    answer = ask(LAUNCH, {"parameters": {"selector": {**REPOSITORY, "jobName": job}, "mode": "default"}})
    assert answer["launchRun"]["__typename"] == "LaunchRunSuccess", answer
    return str(answer["launchRun"]["run"]["runId"])


def until_over(ask: "Ask", run: str) -> str:
    def status() -> str | None:
        now = str(ask(RUN, {"id": run})["runOrError"]["status"])
        return now if now in ("SUCCESS", "FAILURE", "CANCELED") else None

    return until(status, seconds=100)


Ask = Callable[..., dict[str, Any]]


@contextmanager
def dagster_dev(project: Path, environment: Mapping[str, str], port: int | None = None) -> Iterator[Ask]:
    """Start `dagster dev` in a project and end it, with all that it started."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)],
        cwd=project,
        env=dict(environment),
        start_new_session=True,
        # A suite that runs in the background ignores interrupts, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    def ask(query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        assert process.poll() is None, "dagster dev ended"
        return graphql(port, query, variables or {})

    try:
        until(lambda: loaded(ask), seconds=40)
        yield ask
    finally:
        end(process)


def loaded(ask: Ask) -> bool:
    """Whether the UI answers and has the code location."""
    try:
        answer = ask("{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return [entry["loadStatus"] for entry in answer["workspaceOrError"]["locationEntries"]] == ["LOADED"]


def end(process: "subprocess.Popen[bytes]") -> None:
    """End the whole group: kindly, then surely."""
    os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def graphql(port: int, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer = json.loads(response.read())
    assert "errors" not in answer, answer["errors"]
    return dict(answer["data"])


def until(look: Callable[[], T | None], *, seconds: float) -> T:
    """Look again and again until there is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"nothing after {seconds} s")


def new_project(folder: Path) -> Path:
    """A checkout with what `dagster dev` needs."""
    folder.mkdir()
    shutil.copytree(PACKAGE, folder / PACKAGE.name)
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(PACKAGE.parent / name, folder)
    return folder


def settings(home: Path, sandbox: Sandbox) -> dict[str, str]:
    """A clean environment, configured for the sandbox as for anybody's API."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SOURCES__MESSAGING__BASE_URL": sandbox.base_url,
        "SOURCES__MESSAGING__CLIENT_ID": sandbox.client_id,
        "SOURCES__MESSAGING__CLIENT_SECRET": sandbox.client_secret,
        "DESTINATION__DUCKDB__CREDENTIALS": str(home / "own.duckdb"),
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
