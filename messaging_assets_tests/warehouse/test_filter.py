"""A sync by the API's own filter: one request and the pages of what is new."""

from collections.abc import Iterator
from typing import Any

import pytest

from messaging_assets.sandbox import At, Insert, Sandbox
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.sync import SyncResult
from messaging_assets_tests.warehouse.conftest import Platform, guide
from messaging_assets_tests.warehouse.test_sync import ledger, refuse_to_stage

MESSAGES = 200
BY_UPDATE = {"cursor_path": "updated_at", "start_param": "updated_since"}


class Filtering(Platform):
    """A platform whose messages are asked for by update time."""

    incremental: dict[str, Any] = BY_UPDATE

    @property
    def guide(self) -> dict[str, Any]:
        words = guide(self.sandbox)
        words["resources"][2]["endpoint"]["incremental"] = self.incremental
        return words


@pytest.fixture
def filtering(platform: Platform, location: WarehouseLocation) -> Iterator[Filtering]:
    with Sandbox(users=3, channels=2, messages=MESSAGES) as sandbox:
        yield Filtering(sandbox, location)


def sync(platform: Platform, **settings: Any) -> SyncResult:
    return platform.sync("messages", mode="sync", **settings)


def texts(platform: Platform) -> dict[str, str]:
    held = platform.rows("messages")
    return {key: row["text"] for key, row in held.items() if row["deleted_at"] is None}


def truth(platform: Platform) -> dict[str, str]:
    return {row["id"]: row["text"] for row in platform.sandbox.rows("messages")}


def test_nothing_new_is_one_request_and_nothing_written(filtering: Filtering) -> None:
    first = sync(filtering)
    assert (first.verified, first.new) == ("full", MESSAGES)
    latest = max(row["updated_at"] for row in filtering.sandbox.rows("messages"))
    assert ledger(filtering, "messages")[0].cursor == f'"{latest}"'
    filtering.sandbox.reset_counters()
    second = sync(filtering, stage=refuse_to_stage)
    assert filtering.sandbox.count("/v1/messages") == 1
    assert (second.verified, second.changed, second.new) == ("filter", 0, 0)
    assert second.content_version == first.content_version


def test_new_and_edited_rows_come_by_the_filter_wherever_they_stand(filtering: Filtering) -> None:
    sync(filtering)
    ids = filtering.sandbox.ids("messages")
    filtering.sandbox.edit("messages", ids[20], text="edited", updated_at="2026-02-01T00:00:00Z")
    filtering.sandbox.insert("messages", "tail", updated_at="2026-02-02T00:00:00Z")
    result = sync(filtering)
    assert (result.verified, result.new, result.changed) == ("filter", 1, 1)
    assert texts(filtering) == truth(filtering)


def test_a_deletion_is_the_reconcile_jobs(filtering: Filtering) -> None:
    sync(filtering)
    filtering.sandbox.delete("messages", filtering.sandbox.ids("messages")[7])
    assert sync(filtering).deleted == 0
    result = filtering.sync("messages")
    assert (result.verified, result.deleted) == ("full", 1)
    assert sync(filtering).verified == "filter"


def test_a_late_edit_is_within_the_lag(filtering: Filtering) -> None:
    filtering.incremental = {**BY_UPDATE, "lag": 3600 * 24 * 365 * 3}
    sync(filtering)
    ids = filtering.sandbox.ids("messages")
    early = min(row["updated_at"] for row in filtering.sandbox.rows("messages"))
    filtering.sandbox.edit("messages", ids[0], text="late", updated_at=early)
    assert sync(filtering).changed == 1
    assert texts(filtering) == truth(filtering)


def test_what_is_not_proved_moves_no_cursor(filtering: Filtering) -> None:
    sync(filtering)
    before = ledger(filtering, "messages")[0].cursor
    for i in range(60):
        filtering.sandbox.insert("messages", "tail", updated_at=f"2026-03-01T00:00:{i:02}Z", created_at=None)
    restless = At(1, Insert("messages", where="random"), every=1)
    filtering.sandbox.order(order="none", total="absent", script=[restless])
    result = sync(filtering)
    assert result.verified == "no"
    assert ledger(filtering, "messages")[0].cursor == before
    filtering.sandbox.order()
    assert sync(filtering).verified == "filter"
    assert texts(filtering) == truth(filtering)


def test_the_initial_value_bounds_every_reading(filtering: Filtering) -> None:
    updated = sorted(row["updated_at"] for row in filtering.sandbox.rows("messages"))
    filtering.incremental = {**BY_UPDATE, "initial_value": updated[150]}
    assert sync(filtering).new == 50
    result = filtering.sync("messages")
    assert (result.verified, result.new, result.deleted) == ("full", 0, 0)
