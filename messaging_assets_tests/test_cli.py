"""The command line as its user sees it: what it prints, its exit codes, and that nothing secret is in it."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from messaging_assets.cli import main
from messaging_assets.sandbox import Broken, Faults, Sandbox
from messaging_assets_tests.conftest import Project

pytestmark = pytest.mark.dagster


@pytest.fixture
def sandbox(project: Project, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox that the connection is configured for by environment alone."""
    started = Sandbox(users=20, channels=4, messages=250).start()
    point_at(started, monkeypatch)
    return started


def point_at(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", sandbox.base_url)
    monkeypatch.setenv("SOURCES__MESSAGING__CLIENT_ID", sandbox.client_id)
    monkeypatch.setenv("SOURCES__MESSAGING__CLIENT_SECRET", sandbox.client_secret)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def row_of_text(output: str, table: str) -> str:
    return next(line for line in output.splitlines() if line.startswith(table))


def row_of(output: str, table: str) -> list[str]:
    return row_of_text(output, table).split()


def test_sync_loads_and_tells_what_changed(sandbox: Sandbox, project: Project) -> None:
    with sandbox:
        first = run("sync")
        assert first.exit_code == 0, first.output
        assert row_of(first.output, "messaging.messages")[:6] == [
            "messaging.messages",
            "250",
            "250",
            "0",
            "0",
            "full",
        ]
        database = project.path / ".warehouse" / "messaging.duckdb"
        assert f"DuckDB file: {database}" in first.output
        assert "make dev" in first.output
        assert f"duckdb {database} -c 'FROM messaging.messaging.users'" in first.output
        assert sandbox.client_secret not in first.output

        sandbox.edit("messages", sandbox.ids("messages")[3], text="edited")
        sandbox.insert("messages")
        sandbox.delete("messages", sandbox.ids("messages")[7])
        second = run("sync", "--reconcile")
        assert row_of(second.output, "messaging.messages")[1:5] == ["250", "1", "1", "1"]
        with duckdb.connect(str(database), read_only=True) as opened:
            ids = opened.sql(
                "SELECT id FROM messaging.messaging.messages WHERE deleted_at IS NULL"
            ).fetchall()
        assert sorted(row[0] for row in ids) == sorted(sandbox.ids("messages"))


def test_sync_runs_stand_in_the_history_that_dagster_yaml_names(sandbox: Sandbox, project: Project) -> None:
    project.write(
        "dagster.yaml",
        "storage: {sqlite: {base_dir: .dagster}}\n"
        "local_artifact_storage:\n"
        "  module: dagster._core.storage.root\n"
        "  class: LocalArtifactStorage\n"
        "  config: {base_dir: .dagster}\n",
    )
    with sandbox:
        assert run("sync").exit_code == 0
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(project.path)) as instance:
        (stored,) = instance.get_runs()
        assert stored.job_name == "messaging_sync"
        assert stored.is_success


def test_what_failed_is_told_and_the_rest_is_loaded(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=(Broken("status", status=403, resource="channels"),)))
    with sandbox:
        result = run("sync")
    assert result.exit_code == 1
    assert "FAILED" in result.output
    assert "channels" in result.output.split("FAILED")[1]
    assert "403" in result.output
    assert row_of(result.output, "messaging.messages")[1] == "250"
    assert "Traceback" not in result.output


def test_one_cause_is_told_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCES__MESSAGING__CLIENT_SECRET")
    with sandbox:
        result = run("sync")
    assert result.exit_code == 1
    assert result.output.count("sources.messaging.client_secret is missing") == 1
    told = next(line for line in result.output.splitlines() if line.startswith("FAILED"))
    assert all(name in told for name in ("users", "channels", "messages"))


def test_accepting_deletions(sandbox: Sandbox) -> None:
    with sandbox:
        run("sync")
        sandbox.delete("messages", *sandbox.ids("messages")[:200])
        refused = run("sync")
        assert refused.exit_code == 1
        assert "200 rows would vanish" in refused.output
        assert "200 deletions withheld" in row_of_text(refused.output, "messaging.messages")
        assert "200 deletions withheld" in row_of_text(run("status").output, "messaging.messages")
        accepted = run("sync", "--accept-deletions")
        assert accepted.exit_code == 0, accepted.output
        assert row_of(accepted.output, "messaging.messages")[1:5] == ["50", "0", "0", "200"]


def test_check_says_what_works(sandbox: Sandbox) -> None:
    with sandbox:
        result = run("check")
    assert result.exit_code == 0, result.output
    assert "the API: is reached and accepts the credentials" in result.output
    assert "messages: answers; its first row has 9 fields" in result.output
    assert {asked.path for asked in sandbox.requests if asked.path.startswith("/v1")} == {
        "/v1/users",
        "/v1/channels",
        "/v1/messages",
    }
    assert sandbox.count("/v1/messages") == 1


def test_check_says_what_does_not(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox:
        sandbox.order(Faults(broken=(Broken("status", status=403, resource="users"),)))
        partly = run("check")
        assert partly.exit_code == 1
        assert "BROKEN users" in partly.output
        assert "ok     messages" in partly.output
        monkeypatch.setenv("SOURCES__MESSAGING__CLIENT_SECRET", "not-the-secret")
        sandbox.order(Faults())
        refused = run("check")
    assert refused.exit_code == 1
    assert "sources.messaging.client_secret" in refused.output
    assert "not-the-secret" not in refused.output
    assert refused.output.count("BROKEN") == 1


def test_check_doubts_that_the_sandbox_is_meant_where_secrets_stand_without_an_address(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "spelt right" not in run("check").output
    project.secrets('[sources.messaging]\nclient_id = "x"\nbaseurl = "http://127.0.0.1:1"\n')
    doubted = run("check").output
    assert "sources.messaging.client_id is set, and sources.messaging.base_url is not" in doubted
    assert "is base_url spelt right?" in run("sync").output


def test_check_names_missing_settings(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", "http://127.0.0.1:1")
    result = run("check")
    assert result.exit_code == 1
    assert "SOURCES__MESSAGING__CLIENT_ID" in result.output
    assert "SOURCES__MESSAGING__CLIENT_SECRET" in result.output


def test_mistakes_in_connection_files_are_told_all_at_once(project: Project) -> None:
    project.config('[messaging]\nconnections = "connections"\n')
    project.write("connections/chat.yaml", "client: {}\nresources: [{name: users, endpoint: {limt: 3}}]\n")
    project.write("connections/Bad Name.yaml", "client: {}\nresources: [users]\n")
    result = run("check")
    assert result.exit_code == 1
    assert "chat.yaml" in result.output
    assert "limt" in result.output
    assert "Bad Name.yaml" in result.output
    assert "Traceback" not in result.output


def test_check_does_not_praise_an_api_that_gives_no_token(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", f"{sandbox.base_url}/wrong")
    with sandbox:
        result = run("check")
    assert result.exit_code == 1
    assert "accepts the credentials" not in result.output


def test_status_before_and_after_a_sync(sandbox: Sandbox) -> None:
    before = run("status")
    assert before.exit_code == 1
    assert "messaging sync" in before.output
    with sandbox:
        run("sync")
    after = run("status")
    assert after.exit_code == 0, after.output
    assert row_of(after.output, "messaging.messages")[1:3] == ["250", "0"]
    assert "just now" in after.output
    assert "outcome" in after.output


def test_an_unknown_connection_is_told(project: Project) -> None:
    result = run("status", "--connection", "nonesuch")
    assert result.exit_code == 1
    assert "nonesuch" in result.output
    assert "messaging" in result.output


def test_without_configuration_the_sandbox_is_read_and_said_to_be(tmp_path: Path) -> None:
    """The console script itself, in an empty folder with an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    script = Path(sys.executable).with_name("messaging")
    ran = subprocess.run(
        [script, "sync"],
        cwd=tmp_path,
        env={"PATH": os.defpath, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert "SANDBOX" in ran.stderr
    assert int(row_of(ran.stdout, "messaging.messages")[1].replace(",", "")) > 1_000
    assert (tmp_path / ".warehouse" / "sandbox.duckdb").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".warehouse").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / ".warehouse" / "messaging.duckdb").exists()
    assert not any(home.iterdir())


def test_check_goes_on_behind_a_resource_whose_token_is_refused(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=401, resource="channels")]))
    with sandbox:
        result = run("check")
    assert result.exit_code == 1
    assert "ok     users" in result.output
    assert "BROKEN channels" in result.output
    assert "ok     messages" in result.output


def test_status_shows_the_connections_that_have_a_warehouse(
    sandbox: Sandbox, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection reads a configured API and was never synced, the other one was, from the sandbox."""
    paged = "{path: /v1/users, paginator: {type: offset, limit: 100}}"
    words = f"client: {{}}\nresources: [{{name: users, endpoint: {paged}}}]\n"
    project.write("connections/alpha.yaml", words)
    project.write("connections/messaging.yaml", words)
    project.config('[messaging]\nconnections = "connections"\n')
    monkeypatch.delenv("SOURCES__MESSAGING__BASE_URL")
    with sandbox:
        assert run("sync", "--connection", "messaging").exit_code == 0
        monkeypatch.setenv("SOURCES__ALPHA__BASE_URL", sandbox.base_url)
        result = run("status")
    assert result.exit_code == 1
    assert "alpha: there is no warehouse yet" in result.output
    assert row_of(result.output, "messaging.users")[0] == "messaging.users"


def test_the_history_is_the_owners_alone(sandbox: Sandbox, project: Project) -> None:
    project.write("dagster.yaml", "storage: {sqlite: {base_dir: .dagster}}\n")
    before = os.umask(0o022)
    try:
        with sandbox:
            assert run("sync").exit_code == 0
    finally:
        os.umask(before)
    made = [file for file in (project.path / ".dagster").rglob("*") if file.is_file()]
    assert made
    assert all(file.stat().st_mode & 0o077 == 0 for file in made)
