"""Runs of the jobs as Dagster sees them: what is materialised, told, judged, and left alone."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult, TableColumnDep

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.sandbox import Broken, Sandbox
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.orchestration.conftest import Platform, checks, failures, told

pytestmark = pytest.mark.dagster

SYNC, RECONCILE = "messaging_sync", "messaging_reconcile"


def log(instance: DagsterInstance, result: ExecuteInProcessResult) -> str:
    """Everything that a run's page shows."""
    return "\n".join(str(entry) for entry in instance.all_logs(result.run_id))


def data_version(result: ExecuteInProcessResult, resource: str) -> str | None:
    [event] = result.asset_materializations_for_node(f"messaging__{resource}")
    return (event.tags or {}).get("dagster/data_version")


def test_together_and_twice_in_one_process(platform: Platform, sandbox: Sandbox) -> None:
    first = platform.run(SYNC)
    assert first.success
    for resource in ("users", "channels", "messages"):
        ids = platform.read(f"select id from messaging.{resource}")
        assert sorted(row[0] for row in ids) == sorted(sandbox.ids(resource))
    sandbox.insert("messages", text="one more")
    second = platform.run(SYNC)
    assert second.success
    assert (told(second, "messages")["rows_new"], told(second, "users")["rows_new"]) == (1, 0)
    # A sync that changed nothing sets nothing in motion.
    assert data_version(first, "users") == data_version(second, "users")
    assert data_version(first, "messages") != data_version(second, "messages")


def test_each_alone(platform: Platform) -> None:
    result = platform.run(SYNC, "channels")
    assert result.success
    assert [event.step_key for event in result.get_asset_materialization_events()] == ["messaging__channels"]
    assert platform.read("select count(*) from messaging.channels") == [(5,)]


def test_without_a_job_as_the_button_does_it(platform: Platform) -> None:
    assert platform.run("__ASSET_JOB", "users", "messages").success
    assert platform.read("select count(*) from messaging.messages") == [(250,)]


def test_what_a_materialisation_carries(platform: Platform, sandbox: Sandbox) -> None:
    before = datetime.now(UTC).timestamp()
    carried = told(platform.run(SYNC), "messages")
    schema = carried.pop("dagster/column_schema")
    columns = {column.name: column for column in schema.columns}  # type: ignore[attr-defined]
    assert set(columns) >= {"id", "created_at", "deleted_at", "_row_hash", "text"}
    assert columns["created_at"].type == "TIMESTAMP WITH TIME ZONE"
    assert columns["id"].constraints.unique
    assert columns["thread_parent_id"].description.startswith("The message that this one replies to")
    assert all(column.description for column in columns.values())
    lineage = carried.pop("dagster/column_lineage").deps_by_column  # type: ignore[attr-defined]
    assert set(lineage) == set(columns) - {"deleted_at", "_row_hash"}
    source = AssetKey(["messaging", "api", "messages"])
    assert lineage["channel_id"] == [TableColumnDep(asset_key=source, column_name="channel_id")]
    started, seconds = carried.pop("started"), carried.pop("seconds")
    assert isinstance(started, float)
    assert before <= started <= datetime.now(UTC).timestamp()
    assert isinstance(seconds, float)
    assert seconds > 0
    transferred = carried.pop("bytes")
    assert isinstance(transferred, int)
    assert transferred > 1000
    assert str(carried.pop("reason"))
    assert carried == {
        "dagster/row_count": 250,
        "dagster/table_name": "own.messaging.messages",
        "dagster/uri": f"duckdb:///{platform.file}",
        "rows_new": 250,
        "rows_changed": 0,
        "rows_unchanged": 0,
        "rows_deleted": 0,
        "rows_restored": 0,
        "deletions_withheld": 0,
        "rows_rejected": 0,
        "api_total": 250,
        "requests": sandbox.count("/v1/messages"),
        "retries": 0,
        "connection": "messaging",
        "mode": "sync",
        "verified": "full",
    }


def test_the_api_side_shows_what_was_seen_of_it(platform: Platform) -> None:
    assert platform.run(SYNC, "users").success
    record = platform.instance.fetch_observations(AssetKey(["messaging", "api", "users"]), limit=1).records[0]
    observation = record.asset_observation
    assert observation is not None
    seen = {name: value.value for name, value in observation.metadata.items()}
    assert (seen["total"], seen["rows_seen"]) == (30, 30)


def test_the_reconcile_job_reconciles(platform: Platform) -> None:
    assert told(platform.run(RECONCILE), "users")["mode"] == "reconcile"
    assert platform.read("select distinct mode from messaging._sync_ledger") == [("reconcile",)]


def test_the_ledger_names_the_run(platform: Platform) -> None:
    run = platform.run(SYNC, "users").run_id
    assert platform.read("select run_id from messaging._sync_ledger") == [(run,)]


def test_all_checks_of_sound_data_pass_except_for_its_age(platform: Platform, sandbox: Sandbox) -> None:
    result = platform.run(SYNC)
    # The sandbox stands still, its newest message is old: that is told and fails nothing.
    assert result.success
    assert {name for name, passed in checks(result).items() if not passed} == {"messages: data_fresh"}
    sandbox.insert("messages", created_at=datetime.now(UTC).isoformat())
    assert all(checks(platform.run(SYNC)).values())


def test_a_record_that_could_not_be_stored_is_a_warning(platform: Platform, sandbox: Sandbox) -> None:
    sandbox.raw_row("users", {"name": "nobody"})
    result = platform.run(SYNC, "users")
    assert result.success
    assert checks(result)["users: complete"] is True
    assert checks(result)["users: records_stored"] is False
    assert platform.read("select count(*) from messaging._rejected_records") == [(1,)]


def test_too_many_deletions_stop_what_depends_until_they_are_accepted(
    platform: Platform, sandbox: Sandbox
) -> None:
    assert platform.run(SYNC).success
    sandbox.delete("messages", *sandbox.ids("messages")[:200])
    held_back = platform.run(SYNC)
    assert not held_back.success
    assert checks(held_back)["messages: complete"] is False
    [(step, message)] = failures(held_back).items()
    assert step == "messaging__messages"
    assert "200 of 250 rows would vanish" in message
    assert "accept_deletions: true" in message
    # What was read is there all the same, and told.
    assert told(held_back, "messages")["rows_deleted"] == 0
    accepted = platform.run(SYNC, accept_deletions=True)
    assert accepted.success
    assert told(accepted, "messages")["rows_deleted"] == 200
    # It is accepted once, not for ever.
    sandbox.delete("messages", *sandbox.ids("messages")[:20])
    assert checks(platform.run(RECONCILE))["messages: complete"] is False


def test_a_resource_that_fails_leaves_the_others_alone(platform: Platform, sandbox: Sandbox) -> None:
    sandbox.order(broken=[Broken("status", "channels", status=403)])
    result = platform.run(SYNC)
    assert not result.success
    [(step, message)] = failures(result).items()
    assert step == "messaging__channels"
    assert "/v1/channels" in message
    assert "To do: " in message
    assert platform.read("select count(*) from messaging.messages") == [(250,)]
    assert platform.read("select count(*) from messaging.users") == [(30,)]


def test_wrong_credentials_are_told_and_tried_once(
    platform: Platform, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__CLIENT_SECRET", "mistyped-secret")
    result = platform.run(SYNC)
    assert set(failures(result)) == {"messaging__users", "messaging__channels", "messaging__messages"}
    assert all("client_secret" in message for message in failures(result).values())
    assert sandbox.token_requests == 1
    assert "mistyped-secret" not in log(platform.instance, result)


def test_a_missing_secret_is_named_with_the_place_where_it_belongs(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCES__MESSAGING__CLIENT_SECRET")
    result = platform.run(SYNC, "users")
    [message] = failures(result).values()
    assert "SOURCES__MESSAGING__CLIENT_SECRET" in message
    assert ".dlt/secrets.toml" in message
    [event] = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    assert error is not None
    assert error.cause is None
    assert not platform.file.exists()


def test_an_unreachable_host_is_told(
    platform: Platform, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", "http://127.0.0.1:9")
    impatient = replace(connection, client={**connection.client, "error_handler": {"max_retries": 0}})
    result = replace(platform, defs=build_definitions([impatient])).run(SYNC)
    assert set(failures(result)) == {"messaging__users", "messaging__channels", "messaging__messages"}
    assert all("127.0.0.1:9" in message and "To do: " in message for message in failures(result).values())


def test_without_an_address_the_run_brings_its_own_api(
    project: Project, connection: Connection, instance: DagsterInstance
) -> None:
    defs = build_definitions([connection])
    file = project.path / ".warehouse" / "sandbox.duckdb"
    platform = Platform(defs, instance, file)
    first = platform.run(SYNC)
    assert first.success
    assert "SANDBOX: no address is configured for messaging" in log(instance, first)
    assert log(instance, first).count("SANDBOX:") == 1
    carried = told(first, "users")
    assert carried["dagster/table_name"] == "sandbox.messaging.users"
    assert "no address of an API is configured" in str(carried["sandbox"])
    # The next run meets the same workspace.
    second = told(platform.run(SYNC, "channels"), "channels")
    assert (second["rows_new"], second["rows_deleted"]) == (0, 0)


def test_no_message_content_reaches_the_runs_page(platform: Platform, sandbox: Sandbox) -> None:
    sandbox.insert("messages", text="a-very-private-word")
    sandbox.raw_row("messages", {"text": "a-very-private-word"})
    shown = log(platform.instance, platform.run(SYNC))
    assert "a-very-private-word" not in shown
    assert sandbox.client_secret not in shown


def test_the_newest_materialisation_is_the_one_dagster_shows(platform: Platform) -> None:
    run = platform.run(SYNC, "users").run_id
    event = platform.instance.get_latest_materialization_event(AssetKey(["messaging", "users"]))
    assert event is not None
    assert event.run_id == run
