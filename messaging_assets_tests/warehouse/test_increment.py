"""A sync of a list in a known order: a few requests, and nothing written where nothing changed."""

from typing import Any

import pytest

from messaging_assets.api.errors import ResponseStatusError
from messaging_assets.sandbox import Sandbox
from messaging_assets.sandbox.faults import Broken
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.sync import SyncResult
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.test_sync import counts, ledger, refuse_to_stage

MESSAGES = 400


@pytest.fixture
def busy(platform: Platform, location: WarehouseLocation) -> Any:
    """A platform whose messages take twenty pages."""
    with Sandbox(users=3, channels=2, messages=MESSAGES) as sandbox:
        yield Platform(sandbox, location)


def sync(platform: Platform, **settings: Any) -> SyncResult:
    return platform.sync("messages", mode="sync", **settings)


def assert_exact(platform: Platform) -> None:
    held = platform.rows("messages")
    truth = {row["id"]: row["text"] for row in platform.sandbox.rows("messages")}
    assert {key: row["text"] for key, row in held.items() if row["deleted_at"] is None} == truth


def known_order(platform: Platform) -> str | None:
    return ledger(platform, "messages")[0].list_order


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize(("total", "requests"), [("right", 2), ("absent", 3), ("wrong", 3)])
def test_nothing_changed_costs_at_most_three_requests_and_writes_nothing(
    busy: Platform, order: Any, total: Any, requests: int
) -> None:
    busy.sandbox.order(order=order, total=total)
    first = sync(busy)
    assert (first.verified, known_order(busy)) == ("full", f"created_at and id, {order}")
    before = busy.query("SELECT rowid, * FROM chat.messages")
    busy.sandbox.reset_counters()
    second = sync(busy, stage=refuse_to_stage)
    assert busy.sandbox.count("/v1/messages") == requests
    assert (second.verified, second.new, second.changed, second.deleted) == ("order", 0, 0, 0)
    assert second.content_version == first.content_version
    assert busy.query("SELECT rowid, * FROM chat.messages") == before
    assert sync(busy).verified == "order"


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("total", ["right", "absent"])
@pytest.mark.parametrize("page_cap", [None, 7])
def test_new_and_gone_rows_end_exact(busy: Platform, order: Any, total: Any, page_cap: int | None) -> None:
    busy.sandbox.order(order=order, total=total, page_cap=page_cap)
    sync(busy)
    for _ in range(30):
        busy.sandbox.insert("messages", "tail" if order == "ascending" else "head")
    ids = busy.sandbox.ids("messages")
    busy.sandbox.delete("messages", ids[40], ids[200], ids[201])
    result = sync(busy)
    assert (result.verified, result.new, result.deleted) == ("order", 30, 3)
    assert_exact(busy)
    assert counts(busy.sync("messages")) == {"unchanged": MESSAGES + 27}


def test_new_rows_cost_their_pages(busy: Platform) -> None:
    sync(busy)
    for _ in range(30):
        busy.sandbox.insert("messages", "tail")
    busy.sandbox.reset_counters()
    assert sync(busy).new == 30
    assert busy.sandbox.count("/v1/messages") <= 5
    assert_exact(busy)


def test_a_deleted_row_that_returns_is_restored(busy: Platform) -> None:
    sync(busy)
    gone = busy.sandbox.ids("messages")[150]
    busy.sandbox.delete("messages", gone)
    assert sync(busy).deleted == 1
    busy.sandbox.restore("messages", gone)
    result = sync(busy)
    assert (result.verified, counts(result)["restored"]) == ("order", 1)
    assert_exact(busy)


def test_more_than_may_vanish_is_withheld_here_too(busy: Platform) -> None:
    sync(busy)
    busy.sandbox.delete("messages", *busy.sandbox.ids("messages")[300:360])
    result = sync(busy)
    assert (result.deleted, result.deletions_withheld) == (0, 60)
    assert known_order(busy) is None
    assert sync(busy, accept_deletions=True).deleted == 60
    assert_exact(busy)


def test_an_edit_in_the_middle_is_the_reconcile_jobs(busy: Platform) -> None:
    sync(busy)
    ids = busy.sandbox.ids("messages")
    busy.sandbox.edit("messages", ids[200], text="edited")
    busy.sandbox.edit("messages", ids[-1], text="edited at the end")
    assert counts(sync(busy))["changed"] == 1
    assert counts(busy.sync("messages"))["changed"] == 1
    assert_exact(busy)


def test_a_list_without_an_order_is_read_as_a_whole(busy: Platform) -> None:
    busy.sandbox.order(order="none")
    sync(busy)
    assert known_order(busy) is None
    assert (sync(busy).verified, sync(busy).pages >= 20) == ("full", True)


@pytest.mark.parametrize("place", [50, 390])
def test_a_list_by_update_may_look_ordered_until_a_row_moves(busy: Platform, place: int) -> None:
    busy.sandbox.order(order="updated")
    sync(busy)
    assert known_order(busy) == "created_at and id, descending"
    edited = busy.sandbox.ids("messages")[place]
    busy.sandbox.edit("messages", edited, text="edited", updated_at="2031-01-01T00:00:00Z")
    result = sync(busy)
    assert (result.verified, result.changed) == ("full", 1)
    assert known_order(busy) is None
    assert_exact(busy)


def test_a_list_that_loses_its_order_is_read_as_a_whole_and_says_so(busy: Platform) -> None:
    sync(busy)
    busy.sandbox.order(order="descending")
    result = sync(busy)
    assert result.verified == "full"
    assert "read as a whole, since" in result.reason
    assert known_order(busy) == "created_at and id, descending"
    assert_exact(busy)


def test_a_rejected_record_is_a_reason_to_read_everything(busy: Platform) -> None:
    busy.sandbox.raw_row("messages", {"id": "bad", "created_at": "soon"})
    assert sync(busy).rejected == 1
    assert known_order(busy) is None
    assert sync(busy).rejected == 1


def test_a_failed_sync_does_not_forget_the_order(busy: Platform) -> None:
    sync(busy)
    busy.sandbox.order(broken=[Broken("status", resource="messages")])
    with pytest.raises(ResponseStatusError):
        sync(busy)
    busy.sandbox.order()
    assert sync(busy).verified == "order"


def test_a_short_list_is_read_as_a_whole(busy: Platform) -> None:
    busy.sync("users", mode="sync")
    assert busy.sync("users", mode="sync").verified == "full"


def test_a_table_that_was_emptied_is_filled_again(busy: Platform) -> None:
    sync(busy)
    busy.execute("DELETE FROM chat.messages WHERE id IN (SELECT id FROM chat.messages LIMIT 100 OFFSET 50)")
    result = sync(busy)
    assert_exact(busy)
    assert result.verified == "full"


def test_a_parallel_table_of_integer_ids_in_their_order(busy: Platform) -> None:
    busy.things(*({"id": i * 3, "name": f"thing {i}"} for i in range(200)))
    busy.sync(mode="sync")
    assert ledger(busy, "things")[0].list_order == "id, ascending"
    busy.sandbox.delete("things", 300)
    busy.sandbox.raw_row("things", {"id": 900, "name": "new"})
    result = busy.sync(mode="sync")
    assert (result.verified, result.new, result.deleted) == ("order", 1, 1)
    assert busy.living() == sorted(row["id"] for row in busy.sandbox.rows("things"))


def test_a_list_that_is_read_up_to_a_maximum_is_read_as_a_whole(busy: Platform) -> None:
    rows = [{"id": i, "name": f"thing {i}"} for i in range(200)]
    endpoint = {"path": "/v1/things", "paginator": {"type": "offset", "limit": 20, "maximum_offset": 100}}
    busy.things(*rows, endpoint=endpoint)
    busy.sync(mode="sync")
    assert ledger(busy, "things")[0].list_order is None
    assert busy.sync(mode="sync").pages > 5
