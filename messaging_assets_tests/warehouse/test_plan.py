"""What a sync and a reconcile will take: the estimate from facts, and the facts from ledger and API."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from messaging_assets.api.source import Api
from messaging_assets.sandbox import Broken
from messaging_assets.warehouse.ledger import LedgerEntry
from messaging_assets.warehouse.plan import (
    Cost,
    Facts,
    Plan,
    Plans,
    busy_note,
    duration,
    plan,
    plan_before_sync,
    read_plans,
    total_of,
)
from messaging_assets_tests.api.fake_clock import FakeClock
from messaging_assets_tests.warehouse.conftest import PAGE, Platform
from messaging_assets_tests.warehouse.processes import elsewhere, hold_database, hold_lock

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ORDER = "created_at and id, ascending"


def entry(requests: int, seconds: float, **values: Any) -> LedgerEntry:
    """A sync of a million messages, at 100 a page, that did not fail."""
    facts = {"rows_alive": 1_000_000, "api_total": 1_000_000, "page_size": 100, "list_order": ORDER, **values}
    return LedgerEntry(
        "messages",
        facts.pop("mode", "sync"),
        "run",
        NOON,
        NOON + timedelta(seconds=seconds),
        requests=requests,
        **facts,
    )


def whole(requests: int, seconds: float, **values: Any) -> LedgerEntry:
    return entry(requests, seconds, **{"verified": "full", "rows_seen": 1_000_000, **values})


def cheap(requests: int, seconds: float, **values: Any) -> LedgerEntry:
    return entry(requests, seconds, **{"verified": "order", "rows_seen": 300, **values})


def messages(*syncs: LedgerEntry, **values: Any) -> Facts:
    return Facts("messages", limit=100, syncs=syncs, **values)


def about(seconds: float, rel: float | None = None) -> Any:
    """A time that fits a number of the same size."""
    return pytest.approx(seconds, rel=rel)


def requests_of(facts: Facts) -> tuple[int, int]:
    planned = plan(facts)
    assert planned.sync is not None
    assert planned.reconcile is not None
    return planned.sync.requests, planned.reconcile.requests


# --- never synced


@pytest.mark.parametrize(("rows", "requests"), [(0, 1), (1, 1), (100, 2), (1_000, 12), (100_000, 1_012)])
def test_what_was_never_synced_is_read_page_by_page(rows: int, requests: int) -> None:
    planned = plan(messages(total=rows, page_rows=min(rows, 100)))
    assert planned.sync == planned.reconcile == Cost(requests, None)
    assert (planned.rows, planned.held) == (rows, None)


def test_pages_are_as_large_as_the_first_one_really_was() -> None:
    assert requests_of(messages(total=10_000, page_rows=50)) == (206, 206)


def test_the_time_is_that_of_the_rate_or_of_requests_side_by_side_whichever_is_longer() -> None:
    facts = messages(total=10_000, page_rows=100, page_seconds=0.2, in_flight=4)
    assert plan(facts).sync == Cost(102, about(26 * 0.2))
    assert plan(replace(facts, rate=5)).sync == Cost(102, about(102 / 5))
    assert plan(replace(facts, rate=500)).sync == Cost(102, about(26 * 0.2))


def test_without_a_total_a_full_page_tells_nothing_and_a_short_one_everything() -> None:
    planned = plan(messages(page_rows=100))
    assert (planned.rows, planned.sync, planned.reconcile) == (None, None, None)
    assert "is not known before" in planned.line("sync")
    assert plan(messages(page_rows=7)).rows == 7
    assert requests_of(messages(page_rows=7)) == (2, 2)


# --- a reconcile


def test_a_reconcile_takes_as_many_requests_a_row_as_it_did() -> None:
    facts = messages(whole(10_102, 60), whole(20_204, 130), whole(10_150, 50), total=1_100_000)
    assert plan(facts).reconcile == Cost(round(1.1 * 10_150), about(1.1 * 60, rel=0.05))


def test_a_sync_that_went_on_where_another_was_cut_off_does_not_make_it_cheap() -> None:
    assert requests_of(messages(whole(40, 1, list_order=None), total=1_000_000)) == (10_000, 10_000)


def test_a_reconcile_is_not_judged_by_syncs_that_read_little() -> None:
    planned = plan(messages(cheap(2, 1), cheap(2, 1), whole(10_102, 60), total=1_000_000))
    assert planned.reconcile == Cost(10_102, about(60))


# --- a sync


def test_a_list_whose_order_is_not_known_is_read_as_a_whole() -> None:
    assert requests_of(messages(whole(10_102, 60, list_order=None), total=1_000_000)) == (10_102, 10_102)


def test_the_first_sync_after_a_full_one_looks_at_the_ends() -> None:
    planned = plan(messages(whole(10_102, 60), total=1_000_000))
    assert planned.sync is not None
    assert planned.sync.requests == 2
    assert planned.sync.seconds == pytest.approx(2 * 60 / 10_102)
    without_total = whole(10_102, 60, api_total=None)
    assert requests_of(messages(without_total))[0] == 3


def test_a_sync_takes_what_the_last_ones_took_and_a_page_for_each_page_of_new_rows() -> None:
    syncs = (cheap(2, 1), cheap(4, 2, rows_new=150), cheap(2, 1), whole(10_102, 60))
    assert requests_of(messages(*syncs, total=1_000_000))[0] == 2
    assert requests_of(messages(*syncs, total=1_000_150))[0] == 4
    assert requests_of(messages(*syncs, total=1_099_000))[0] == 1_002


def test_without_asking_the_api_as_much_is_new_as_usual() -> None:
    syncs = (cheap(2, 1), cheap(4, 2, rows_new=150), cheap(4, 2, rows_new=160), whole(10_102, 60))
    assert requests_of(messages(*syncs)) == (4, 10_102)


def test_a_slow_reconcile_between_cheap_syncs_does_not_count_for_the_next_one() -> None:
    syncs = (
        whole(10_102, 60, mode="reconcile"),
        cheap(2, 1),
        whole(10_102, 60, mode="reconcile"),
        cheap(2, 1),
    )
    assert plan(messages(*syncs, total=1_000_000)).sync == Cost(2, about(1))


def test_rows_that_are_gone_are_looked_for_by_halving() -> None:
    syncs = (cheap(2, 1), whole(10_102, 60))
    requests, _ = requests_of(messages(*syncs, total=999_980))
    assert 150 < requests < 500


def test_a_sync_never_takes_more_than_reading_everything() -> None:
    syncs = (cheap(2, 1), whole(10_102, 60))
    sync, reconcile = requests_of(messages(*syncs, total=500_000))
    assert sync == reconcile == 5_051


def test_a_list_of_few_pages_is_read_as_a_whole() -> None:
    few = whole(4, 1, rows_seen=250, rows_alive=250, api_total=250)
    assert requests_of(messages(few, total=250)) == (4, 4)


def test_a_filter_stays_a_filter() -> None:
    syncs = (cheap(1, 0.2, verified="filter", list_order=None), whole(10_102, 60, list_order=None))
    assert requests_of(messages(*syncs, total=1_000_100)) == (2, 10_103)


def test_the_rate_slows_down_what_was_faster() -> None:
    planned = plan(messages(cheap(2, 0.1), whole(10_102, 60), total=1_000_000, rate=4))
    assert planned.sync == Cost(2, 0.5)
    assert planned.reconcile == Cost(10_102, 10_102 / 4)


# --- in words


def test_the_line_of_a_run_begins_with_its_own_mode() -> None:
    planned = Plan("users", 900, 900, Cost(2, 0.4), Cost(10, None), "the last 3 syncs")
    assert planned.line("sync") == (
        "plan: this sync takes about 2 requests in under 1 s, a reconcile about 10 requests"
        " (known from the last 3 syncs)"
    )
    assert planned.line("reconcile").startswith(
        "plan: this reconcile takes about 10 requests, a sync about 2 requests in under 1 s"
    )


def test_times_and_counts_in_words() -> None:
    assert [duration(s) for s in (0.99, 1, 119, 120, 7199, 7200)] == [
        "under 1 s",
        "1 s",
        "119 s",
        "2 min",
        "120 min",
        "2.0 h",
    ]
    assert str(Cost(1, None)) == "1 request"
    assert str(Cost(1_234, 60)) == "1,234 requests in 60 s"


def test_several_resources_take_as_long_as_all_together() -> None:
    assert total_of([Cost(1, 2.0), Cost(3, 4.0)]) == Cost(4, 6.0)
    assert total_of([Cost(1, 2.0), Cost(3, None)]) == Cost(4, None)
    assert total_of([Cost(1, 2.0), None]) is None


# --- from the ledger and the API


def plans_of(platform: Platform) -> Plans:
    with Api(platform.guide, name="chat") as api:
        return read_plans(platform.connection, platform.location, api)


def of(plans: Plans, resource: str) -> Plan:
    return next(planned for planned in plans.plans if planned.resource == resource)


def test_before_the_first_sync_one_request_a_resource_tells(platform: Platform) -> None:
    found = plans_of(platform)
    assert found.notes == ("nothing was synced yet",)
    assert [(planned.resource, planned.rows) for planned in found.plans] == [
        ("users", 45),
        ("channels", 8),
        ("messages", 60),
    ]
    assert [platform.sandbox.count(f"/v1/{p.resource}") for p in found.plans] == [1, 1, 1]
    assert all(planned.sync and planned.sync.seconds for planned in found.plans)
    assert not platform.location.database.exists()


@pytest.mark.parametrize("page_cap", [None, 15])
def test_what_is_planned_is_what_it_takes(platform: Platform, page_cap: int | None) -> None:
    platform.sandbox.order(page_cap=page_cap)
    size = page_cap or PAGE
    for number in range(3 * size):
        platform.sandbox.insert("messages", name=f"more {number}")
    first = of(plans_of(platform), "messages").sync
    taken = platform.sync("messages", mode="sync")
    assert first is not None
    assert abs(taken.requests - first.requests) <= 1
    for _ in range(3):
        for _ in range(size + 3):
            platform.sandbox.insert("messages")
        planned = of(plans_of(platform), "messages").sync
        taken = platform.sync("messages", mode="sync")
        assert taken.verified == "order"
        assert planned is not None
        assert abs(taken.requests - planned.requests) <= 1
    again = of(plans_of(platform), "messages").reconcile
    assert again is not None
    assert abs(platform.sync("messages", mode="reconcile").requests - again.requests) <= 2


def test_an_api_that_gives_no_total_is_planned_for_by_the_rows_held(platform: Platform) -> None:
    platform.sandbox.order(total="absent")
    assert of(plans_of(platform), "messages").rows is None
    platform.sync("messages")
    planned = of(plans_of(platform), "messages")
    assert (planned.rows, planned.held) == (60, 60)
    assert planned.reconcile is not None
    assert "the API's first page and the last sync" in planned.known_from


def test_a_file_that_is_held_is_done_without_and_said(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging_assets.warehouse.plan.PATIENCE_SECONDS", 0.1)
    platform.sync("users")
    with elsewhere(hold_database, platform.location.database) as (process, _):
        found = plans_of(platform)
        users = platform.connection.resource("users")
        assert plan_before_sync(platform.connection, users, platform.location) is None
    [note] = found.notes
    assert note.startswith("planned without the last syncs")
    assert f"process {process.pid}" in note
    planned = of(found, "users")
    assert (planned.rows, planned.held) == (45, None)
    assert planned.sync is not None


def test_a_sync_under_way_is_named_and_the_ledger_alone_is_read(platform: Platform) -> None:
    assert busy_note(platform.connection, platform.location) is None
    platform.sync("users")
    with elsewhere(hold_lock, platform.location, "chat") as (process, _):
        note = busy_note(platform.connection, platform.location)
    assert note is not None
    assert f"process {process.pid}, syncing for a test" in note
    platform.sandbox.reset_counters()
    found = read_plans(platform.connection, platform.location, None)
    assert platform.sandbox.count() == 0
    assert of(found, "users").rows == 45
    assert of(found, "messages").sync is None


def test_a_resource_that_the_api_refuses_leaves_the_others_planned(platform: Platform) -> None:
    platform.sandbox.order(broken=[Broken("status", "channels", status=403)])
    found = plans_of(platform)
    assert [note for note in found.notes if note.startswith("channels is planned without the API")]
    assert of(found, "channels").sync is None
    assert of(found, "messages").sync is not None


def test_an_api_that_is_down_is_told_once(platform: Platform) -> None:
    platform.sync("users")
    platform.sandbox.stop()
    with Api(platform.guide, name="chat", clock=FakeClock()) as api:
        found = read_plans(platform.connection, platform.location, api)
    [note] = found.notes
    assert "refuses the connection" in note
    assert of(found, "users").rows == 45


def test_before_a_sync_the_ledger_alone_is_asked(platform: Platform) -> None:
    users = platform.connection.resource("users")
    assert plan_before_sync(platform.connection, users, platform.location) is None
    platform.sync("users")
    platform.sandbox.reset_counters()
    planned = plan_before_sync(platform.connection, users, platform.location)
    assert planned is not None
    assert planned.reconcile is not None
    assert planned.known_from == "the last sync"
    assert platform.sandbox.count() == 0


def test_syncs_that_failed_do_not_count(platform: Platform) -> None:
    taken = platform.sync("users")
    platform.sandbox.order(broken=[Broken("status", "users", status=403)])
    for _ in range(3):
        with pytest.raises(Exception, match="403"):
            platform.sync("users")
    planned = plan_before_sync(platform.connection, platform.connection.resource("users"), platform.location)
    assert planned is not None
    assert planned.reconcile is not None
    assert planned.reconcile.requests == taken.requests
