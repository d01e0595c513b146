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
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.locks import sync_lock
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
        assert "Analytics: 7 tables are up to date, 7 of them changed\n" in first.output
        assert "make dev" in first.output
        assert f"duckdb {database} -c 'FROM messaging.messaging.users'" in first.output
        assert sandbox.client_secret not in first.output

        sandbox.edit("messages", sandbox.ids("messages")[3], text="edited")
        sandbox.insert("messages")
        sandbox.delete("messages", sandbox.ids("messages")[7])
        second = run("sync", "--reconcile")
        assert row_of(second.output, "messaging.messages")[1:5] == ["250", "1", "1", "1"]
        assert "none of them changed" in run("sync").output
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
    assert "Analytics: 2 tables are up to date, 2 of them changed; 5 wait for what failed" in result.output
    assert "Traceback" not in result.output


def test_a_model_that_can_not_be_had_is_told(sandbox: Sandbox) -> None:
    sandbox.reshape("messages", lambda row: {name: row[name] for name in row if name != "text"})
    with sandbox:
        result = run("sync")
    assert result.exit_code == 0, result.output
    assert "Analytics: 6 tables are up to date, 6 of them changed\n" in result.output
    assert "  skipped messages_enriched: messaging.messages has no column `text`" in result.output


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
        assert "200 of 250 rows would vanish" in refused.output
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


def test_compact_writes_the_file_anew(sandbox: Sandbox, project: Project) -> None:
    nothing_yet = run("compact")
    assert nothing_yet.exit_code == 1
    assert "messaging sync" in nothing_yet.output
    with sandbox:
        run("sync")
    file = project.path / ".warehouse" / "messaging.duckdb"
    before = file.stat()
    result = run("compact")
    assert result.exit_code == 0, result.output
    assert f"{file}: {before.st_size / 1e6:,.1f} MB became" in result.output
    assert file.stat().st_ino != before.st_ino


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


def test_plan_before_and_after_a_sync(sandbox: Sandbox) -> None:
    for _ in range(550):
        sandbox.insert("messages")
    with sandbox:
        before = run("plan")
        assert before.exit_code == 0, before.output
        assert "as fast as the API answers, 8 in flight" in before.output
        assert "note: nothing was synced yet" in before.output
        assert row_of_text(before.output, "messages").count("10 requests") == 2
        assert {name: sandbox.count(f"/v1/{name}") for name in ("users", "channels", "messages")} == {
            "users": 1,
            "channels": 1,
            "messages": 1,
        }
        assert run("sync").exit_code == 0
        after = run("plan")
        ran = run("sync")
    line = row_of_text(after.output, "messages")
    assert line.split()[:3] == ["messages", "800", "800"]
    assert "  2 requests in " in line
    assert "the API's total and the last sync" in line
    assert "messages: plan: this sync takes about 2 requests in " in ran.output
    assert row_of(run("status").output, "messaging.messages")[1] == "800"


def test_plan_says_how_long_it_takes_at_the_configured_rate(sandbox: Sandbox, project: Project) -> None:
    words = "client: {in_flight: 2, requests_per_second: 20}\nresources: [{name: users, endpoint: "
    paged = "{path: /v1/users, data_selector: data, paginator: {type: offset, limit: 2}}}]\n"
    project.write("connections/messaging.yaml", words + paged)
    project.config('[messaging]\nconnections = "connections"\n')
    # Without words for it in the file, the sandbox wants no token.
    with Sandbox(users=101, authentication="none") as open_api:
        result = CliRunner(env={"SOURCES__MESSAGING__BASE_URL": open_api.base_url}).invoke(main, ["plan"])
    assert result.exit_code == 0, result.output
    assert "at most 20 requests a second, 2 in flight" in result.output
    assert row_of_text(result.output, "users").count("101 requests in 5 s") == 2
    assert row_of_text(result.output, "together").count("101 requests in 5 s") == 2


def test_plan_asks_nothing_while_a_sync_is_under_way(sandbox: Sandbox, project: Project) -> None:
    location = WarehouseLocation(project.path / ".warehouse" / "messaging.duckdb")
    with sandbox, sync_lock(location, "messaging", purpose="syncing for a test"):
        result = run("plan")
    assert result.exit_code == 0, result.output
    assert "note: messaging is being synced by process" in result.output
    assert row_of_text(result.output, "messages").count("not known") == 2
    assert sandbox.count() == 0


def test_plan_says_what_it_could_not_ask(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__CLIENT_SECRET", "not-the-secret")
    with sandbox:
        refused = run("plan")
    assert refused.exit_code == 0, refused.output
    assert "users is planned without the API: the token endpoint refuses the client" in refused.output
    assert "not-the-secret" not in refused.output
    monkeypatch.delenv("SOURCES__MESSAGING__CLIENT_SECRET")
    missing = run("plan")
    assert missing.exit_code == 1
    assert "sources.messaging.client_secret" in missing.output


def test_export_writes_the_tables_and_then_only_what_changed(sandbox: Sandbox, project: Project) -> None:
    with sandbox:
        run("sync")
        first = run("export")
        assert first.exit_code == 0, first.output
        folder = project.path / ".warehouse" / "exports" / "messaging"
        assert f"messaging to {folder}" in first.output
        assert row_of(first.output, "messaging/users.parquet")[1:] == ["20", "1", "0", "0"]
        files = f"{folder}/messaging/messages/*/*.parquet"
        assert duckdb.execute(f"SELECT count(*), count(day) FROM '{files}'").fetchall() == [(250, 250)]
        again = run("export", "--table", "users", "--table", "messages")
        assert row_of(again.output, "messaging/users.parquet")[1:] == ["20", "0", "1", "0"]
        assert "channels" not in again.output


def test_export_of_some_days_into_a_folder(sandbox: Sandbox, project: Project) -> None:
    with sandbox:
        run("sync")
    days = ("--from", "2024-12-31", "--to", "2024-12-31")
    result = run("export", "--folder", "out", "--table", "messages", *days)
    (written,) = (project.path / "out" / "messaging" / "messages").iterdir()
    assert written.name == "day=2024-12-31"
    assert row_of(result.output, "messaging/messages")[2] == "1"
    wrong = run("export", "--from", "yesterday")
    assert wrong.exit_code == 2
    assert "'yesterday' does not match the format" in wrong.output


def test_export_of_a_table_that_is_not_there(sandbox: Sandbox) -> None:
    with sandbox:
        run("sync")
    result = run("export", "--table", "massages")
    assert result.exit_code == 1
    assert "there is no table massages of messaging" in result.output
    assert "channels, messages, users" in result.output
