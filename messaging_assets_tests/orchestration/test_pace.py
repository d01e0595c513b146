"""What a run's log says before and while it waits, and that its resources share one rate."""

import time
from dataclasses import replace

import pytest
from dagster import ExecuteInProcessResult

from messaging_assets.api import transport
from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.sandbox import Sandbox
from messaging_assets_tests.orchestration.conftest import Platform, told

pytestmark = pytest.mark.dagster


def lines(platform: Platform, result: ExecuteInProcessResult) -> list[str]:
    return [entry.user_message for entry in platform.instance.all_logs(result.run_id)]


def test_a_run_begins_with_what_it_will_take_and_asks_nothing_for_it(
    platform: Platform, sandbox: Sandbox
) -> None:
    first = platform.run("messaging_sync", "messages")
    assert not any("plan:" in line for line in lines(platform, first)), "never synced: nothing is known"
    sandbox.reset_counters()
    second = platform.run("messaging_sync", "messages")
    [line] = [line for line in lines(platform, second) if "plan:" in line]
    assert line.startswith("plan: this sync takes about ")
    assert "a reconcile about " in line
    assert told(second, "messages")["requests"] == sandbox.count("/v1/messages")


def test_all_resources_of_a_run_share_the_rate_and_long_waits_are_told(
    platform: Platform, connection: Connection, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "QUIET_SECONDS", 0.01)
    slow = replace(connection, client={**connection.client, "requests_per_second": 20})
    slowly = replace(platform, defs=build_definitions([slow]))
    began = time.monotonic()
    result = slowly.run("messaging_sync")
    assert result.success
    last = max(asked.seconds for asked in sandbox.requests)
    assert last - began >= (sandbox.count() - 1) / 20
    told_waits = [line for line in lines(platform, result) if "between requests, at 20 a second" in line]
    assert len(told_waits) == 1, "a line stands for a minute"
