"""What stands behind the tables: what stops it, what leaves it alone, and resources of one's own."""

import duckdb
import pytest
from dagster import (
    AssetCheckSeverity,
    AssetKey,
    AssetsDefinition,
    AssetSelection,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    asset,
    define_asset_job,
)

from messaging_assets.api.connection import Connection, read_connection
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.sandbox import Sandbox
from messaging_assets.warehouse import progress
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.orchestration.conftest import Platform, checks, failures, use_sandbox

pytestmark = pytest.mark.dagster


def run_with(
    platform: Platform, connection: Connection, dependent: AssetsDefinition
) -> ExecuteInProcessResult:
    """Runs users, messages and an asset behind one of them."""
    everything = define_asset_job(
        "everything",
        AssetSelection.assets(["messaging", "users"], ["messaging", "messages"], dependent.key),
    )
    defs = Definitions.merge(
        build_definitions([connection]), Definitions(assets=[dependent], jobs=[everything])
    )
    job = defs.resolve_job_def("everything")
    return job.execute_in_process(instance=platform.instance, raise_on_error=False)


def materialised(result: ExecuteInProcessResult) -> set[str]:
    return {event.step_key or "" for event in result.all_events if event.is_step_materialization}


@asset(deps=[AssetKey(["messaging", "users"])])
def people() -> None:
    """Depends on the users."""


@asset(deps=[AssetKey(["messaging", "messages"])])
def words() -> None:
    """Depends on the messages."""


def test_keys_that_are_double_or_missing_stop_what_depends(
    platform: Platform, connection: Connection
) -> None:
    assert platform.run("messaging_sync").success
    with duckdb.connect(str(platform.file)) as database:
        database.execute("INSERT INTO messaging.users SELECT * FROM messaging.users LIMIT 1")
        database.execute("INSERT INTO messaging.users (name) VALUES ('nobody')")
    result = run_with(platform, connection, people)
    assert not result.success
    assert checks(result)["users: id_unique"] is False
    assert checks(result)["users: id_not_null"] is False
    assert set(failures(result)) == {"messaging__users"}
    assert "messaging__messages" in materialised(result)
    assert "people" not in materialised(result)


def test_old_data_stops_nothing(platform: Platform, connection: Connection) -> None:
    result = run_with(platform, connection, words)
    assert result.success
    (fresh,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "data_fresh"]
    assert (fresh.passed, fresh.severity, fresh.blocking) == (False, AssetCheckSeverity.ERROR, False)
    assert "words" in materialised(result)


def test_progress_stands_in_the_runs_log(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    result = platform.run("messaging_sync", "messages")
    lines = [entry.user_message for entry in platform.instance.all_logs(result.run_id)]
    assert any("of 250 rows" in line and "rows/s" in line and "s left" in line for line in lines)


def test_a_further_resource_of_the_file_becomes_an_asset(
    project: Project, sandbox: Sandbox, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.add_resource("teams", [{"id": number, "name": f"team {number}"} for number in range(130)])
    use_sandbox(monkeypatch, sandbox, "chat")
    file = project.write(
        "chat.yaml",
        "client: {auth: {type: oauth2}}\n"
        "resource_defaults: {primary_key: id, write_disposition: merge}\n"
        "resources:\n"
        "  - name: teams\n"
        "    endpoint: {path: /v1/teams, data_selector: data, paginator: {type: offset, limit: 50}}\n",
    )
    job = build_definitions([read_connection(file)]).resolve_job_def("chat_sync")
    assert job.execute_in_process(instance=instance).success
    with duckdb.connect(str(project.path / ".warehouse" / "messaging.duckdb"), read_only=True) as database:
        ids = database.execute("SELECT id FROM chat.teams ORDER BY id").fetchall()
    assert [row[0] for row in ids] == list(range(130))
