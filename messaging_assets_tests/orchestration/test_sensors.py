"""The sensor's ticks, over a real API and a real Dagster instance."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from dagster import DagsterInstance, DagsterRunStatus, build_sensor_context
from dagster._core.definitions.sensor_definition import SensorExecutionData

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.orchestration.sensors import LONGEST_WAIT, Cursor
from messaging_assets.sandbox import Broken, Sandbox
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.locks import sync_lock
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.orchestration.conftest import Platform

pytestmark = pytest.mark.dagster

Tick = Callable[[str | None], SensorExecutionData]


@pytest.fixture
def tick(platform: Platform) -> Tick:
    """One tick from a cursor."""
    repository = platform.defs.get_repository_def()
    sensor = repository.get_sensor_def("messaging_new_messages")

    def evaluated(cursor: str | None) -> SensorExecutionData:
        context = build_sensor_context(
            instance=platform.instance, cursor=cursor, repository_def=repository, sensor_name=sensor.name
        )
        return sensor.evaluate_tick(context)

    return evaluated


def impatient(cursor: str | None) -> str:
    """The same cursor an hour later."""
    told = json.loads(cursor or "{}")
    return json.dumps({**told, "asked_at": told["asked_at"] - LONGEST_WAIT})


def synced(platform: Platform) -> None:
    assert platform.run("messaging_sync").success


def test_it_asks_once_and_rests_after_the_sync(platform: Platform, tick: Tick, sandbox: Sandbox) -> None:
    asked = tick(None)
    [request] = asked.run_requests or []
    assert request.tags["messaging/connection"] == "messaging"
    synced(platform)
    sandbox.reset_counters()
    rested = tick(asked.cursor)
    assert not rested.run_requests
    assert rested.skip_message == "the messages are as the last sync saw them"
    assert sandbox.count("/v1/messages") == 2
    assert sandbox.count() == 3, "two looks and a token"
    assert tick(rested.cursor).skip_message == rested.skip_message


@pytest.mark.parametrize("change", ["tail", "head", "deleted", "edited"])
def test_it_sees_what_changed(platform: Platform, tick: Tick, sandbox: Sandbox, change: str) -> None:
    asked = tick(None)
    synced(platform)
    rested = tick(asked.cursor)
    assert not rested.run_requests
    newest = sandbox.ids("messages")[-1]
    if change == "deleted":
        sandbox.delete("messages", sandbox.ids("messages")[100])
    elif change == "edited":
        sandbox.edit("messages", newest, text="edited", updated_at=datetime.now(UTC).isoformat())
    else:
        sandbox.insert("messages", "head" if change == "head" else "tail", text="new")
    [request] = tick(rested.cursor).run_requests or []
    [first] = asked.run_requests or []
    assert request.run_key != first.run_key


def test_it_asks_again_until_a_sync_succeeds_with_growing_patience(
    platform: Platform, tick: Tick, sandbox: Sandbox
) -> None:
    sandbox.order(broken=[Broken("status", "messages", status=403, after=2)])
    asked = tick(None)
    assert asked.run_requests
    assert not platform.run("messaging_sync").success
    sandbox.order()
    # Not at every tick, and the state is not taken for seen.
    waiting = tick(asked.cursor)
    assert not waiting.run_requests
    assert "did not succeed" in str(waiting.skip_message)
    assert Cursor.read(waiting.cursor).confirmed is None
    again = tick(impatient(waiting.cursor))
    [request] = again.run_requests or []
    assert request.run_key != (asked.run_requests or [])[0].run_key
    synced(platform)
    assert tick(again.cursor).skip_message == "the messages are as the last sync saw them"


def test_a_sync_that_somebody_else_asked_for_counts_too(platform: Platform, tick: Tick) -> None:
    asked = tick(None)
    synced(platform)
    assert platform.run("__ASSET_JOB", "messages").success
    assert Cursor.read(tick(asked.cursor).cursor).confirmed


def test_a_sync_of_other_resources_does_not_count(platform: Platform, tick: Tick) -> None:
    asked = tick(None)
    assert platform.run("messaging_sync", "users").success
    assert Cursor.read(tick(asked.cursor).cursor).confirmed is None


def test_a_sync_that_began_before_the_change_was_seen_does_not_count(
    platform: Platform, tick: Tick, sandbox: Sandbox
) -> None:
    synced(platform)
    sandbox.insert("messages", text="after the sync")
    assert tick(None).run_requests
    assert Cursor.read(tick(None).cursor).confirmed is None


def test_an_incomplete_sync_does_not_count() -> None:
    seen = Cursor(pending="a", pending_since=10.0)
    assert seen.after_sync(0.0) == seen
    assert seen.after_sync(11.0) == Cursor(confirmed="a")


def test_it_rests_while_a_run_is_waiting(platform: Platform, tick: Tick, sandbox: Sandbox) -> None:
    for job in ("messaging_sync", "messaging_reconcile"):
        run = platform.pretend(job, DagsterRunStatus.NOT_STARTED)
        rested = tick(None)
        assert not rested.run_requests
        assert f"of {job} is waiting to begin" in str(rested.skip_message)
        platform.instance.report_run_canceled(run)
    assert sandbox.count() == 0


def test_it_rests_while_the_lock_is_held_but_not_for_a_run_that_died(
    platform: Platform, tick: Tick, sandbox: Sandbox
) -> None:
    # A killed run stays "started"; its lock does not stay.
    platform.pretend("messaging_sync", DagsterRunStatus.STARTED)
    with sync_lock(WarehouseLocation(platform.file), "messaging", purpose="a test"):
        rested = tick(None)
    assert not rested.run_requests
    assert "messaging is being synced by" in str(rested.skip_message)
    assert sandbox.count() == 0, "the sync has the rate to itself"
    assert tick(None).run_requests


def test_it_never_opens_the_database(platform: Platform, tick: Tick) -> None:
    synced(platform)
    platform.file.write_bytes(b"not a database")
    assert tick(None).run_requests


def test_an_api_that_is_down_makes_a_skipped_tick(
    platform: Platform, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tick(None)
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", "http://127.0.0.1:9")
    skipped = tick(asked.cursor)
    assert not skipped.run_requests
    assert "127.0.0.1:9" in str(skipped.skip_message)
    assert skipped.cursor in (None, asked.cursor)


def test_wrong_settings_make_a_skipped_tick(
    platform: Platform, tick: Tick, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__CLIENT_SECRET", "wrong")
    assert "client_secret" in str(tick(None).skip_message)
    monkeypatch.delenv("SOURCES__MESSAGING__CLIENT_SECRET")
    assert "SOURCES__MESSAGING__CLIENT_SECRET" in str(tick(None).skip_message)
    assert sandbox.count("/v1/messages") == 0


def test_it_tries_nothing_twice(tick: Tick, sandbox: Sandbox) -> None:
    sandbox.order(broken=[Broken("status", "messages", status=503)])
    assert "503" in str(tick(None).skip_message)
    assert sandbox.count("/v1/messages") == 1


def test_it_rests_where_no_address_is_configured(
    project: Project, connection: Connection, instance: DagsterInstance
) -> None:
    repository = build_definitions([connection]).get_repository_def()
    sensor = repository.get_sensor_def("messaging_new_messages")
    context = build_sensor_context(instance=instance, repository_def=repository, sensor_name=sensor.name)
    assert "no address is configured" in str(sensor.evaluate_tick(context).skip_message)


def test_the_cursor_holds_digests_and_times_only(tick: Tick, sandbox: Sandbox) -> None:
    sandbox.insert("messages", "head", id="a-telling-id", text="a-very-private-word")
    cursor = str(tick(None).cursor)
    assert "private" not in cursor
    assert "a-telling-id" not in cursor


@pytest.mark.parametrize("text", [None, "", "nonsense", "[]", "3", '{"other": 1}', "null"])
def test_a_cursor_of_something_else_is_an_empty_one(text: str | None) -> None:
    assert Cursor.read(text) == Cursor()


def test_a_cursor_is_read_as_it_was_written() -> None:
    cursor = Cursor("a", "b", 1.5, 2, 3.5)
    assert Cursor.read(cursor.written()) == cursor


def test_patience_doubles_up_to_its_bound() -> None:
    waits = [Cursor(asked=asked).patience(60.0) for asked in (0, 1, 2, 3, 60)]
    assert waits == [0.0, 120.0, 240.0, 480.0, LONGEST_WAIT]


def test_a_sync_that_held_deletions_back_confirms_nothing(
    platform: Platform, tick: Tick, sandbox: Sandbox
) -> None:
    first = tick(None)
    synced(platform)
    rested = tick(first.cursor)
    assert not rested.run_requests
    sandbox.delete("messages", *sandbox.ids("messages")[: len(sandbox.ids("messages")) // 2])
    asked = tick(rested.cursor)
    assert asked.run_requests
    assert not platform.run("messaging_sync").success
    later = tick(impatient(asked.cursor))
    assert later.run_requests, "what it asked for is not in the table yet"


def test_a_run_on_the_sandbox_confirms_nothing_of_the_real_api(
    platform: Platform, tick: Tick, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tick(None)
    with monkeypatch.context() as patch:
        patch.delenv("SOURCES__MESSAGING__BASE_URL")
        synced(platform)
    assert tick(impatient(asked.cursor)).run_requests


def test_without_a_total_it_rests_when_nothing_changed(
    platform: Platform, tick: Tick, sandbox: Sandbox
) -> None:
    sandbox.order(total="absent")
    synced(platform)
    cursor = tick(tick(None).cursor).cursor
    synced(platform)
    settled = tick(cursor)
    sandbox.insert("messages")
    asked = tick(settled.cursor)
    assert asked.run_requests
    synced(platform)
    assert not tick(asked.cursor).run_requests
