"""What is new and what is gone in an ordered list is found by a few pages, or the list is swept."""

from collections.abc import Sequence
from math import log2
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging_assets.api.digests import content_digest, key_digest
from messaging_assets.api.errors import PagingError
from messaging_assets.api.increment import HeldRows, Increment, KnownOrder, NotInOrderError
from messaging_assets_tests.api.listing import Listing, Ordering


class Warehouse:
    """The rows of a list as they were, and what an increment makes of them."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.rows = [dict(row) for row in listing.list]
        self.direction = "descending" if listing.ordering == "descending" else "ascending"
        self.reads_of_all = 0
        page_size = min(listing.limit, listing.cap or listing.limit)
        self.known = KnownOrder(f"created_at and id, {self.direction}", len(self.rows), page_size)

    @property
    def ids(self) -> set[str]:
        return {row["id"] for row in self.rows}

    def sync(self) -> Increment:
        """Reads what is new, and applies it."""
        count = 2 * self.known.page_size
        ends: Sequence[HeldRows] = (
            (held(self.rows),)
            if len(self.rows) <= 2 * count
            else (held(self.rows[:count]), held(self.rows[-count:], first=len(self.rows) - count))
        )
        self.listing.asked.clear()
        increment = Increment(self.listing, self.known, ends, self.all_rows)
        delivered = {row["id"]: row for delivery in increment for row in delivery.records}
        gone = increment.unseen().mask(held(self.rows).keys)
        living = [row for row, is_gone in zip(self.rows, gone, strict=True) if not is_gone]
        self.rows = list({**{row["id"]: row for row in living}, **delivered}.values())
        return increment

    def all_rows(self) -> HeldRows:
        self.reads_of_all += 1
        return held(self.rows)


def held(rows: list[dict[str, Any]], first: int = 0) -> HeldRows:
    keys = [key_digest(row, ["id"]) or 0 for row in rows]
    contents = [content_digest(row) for row in rows]
    return HeldRows(np.array(keys, dtype=np.int64), np.array(contents, dtype=np.int64), first)


def changed(listing: Listing, *, new: int = 0, gone: Sequence[int] = ()) -> None:
    """Rows come at the end where the list grows, and go at some places."""
    for place in sorted(gone, reverse=True):
        listing.alive.discard(listing.list[place]["id"])
        del listing.list[place]
    for _ in range(new):
        listing._insert()


@pytest.mark.parametrize("ordering", ["ascending", "descending"])
@pytest.mark.parametrize(("reports_total", "requests"), [(True, 2), (False, 3)])
def test_nothing_new_costs_two_or_three_requests(
    ordering: Ordering, reports_total: bool, requests: int
) -> None:
    listing = Listing(Random(1), 10_000, 100, ordering, reports_total=reports_total)
    warehouse = Warehouse(listing)
    increment = warehouse.sync()
    assert len(listing.asked) == requests
    assert increment.progress.verdict is not None
    assert increment.progress.verdict.verified == "order"
    assert (warehouse.ids, warehouse.reads_of_all) == (set(listing.ids), 0)


@pytest.mark.parametrize("ordering", ["ascending", "descending"])
@pytest.mark.parametrize("reports_total", [True, False])
@pytest.mark.parametrize("new", [1, 30, 150, 1_000])
def test_what_is_new_costs_its_pages(ordering: Ordering, reports_total: bool, new: int) -> None:
    listing = Listing(Random(1), 10_000, 100, ordering, reports_total=reports_total)
    warehouse = Warehouse(listing)
    changed(listing, new=new)
    warehouse.sync()
    assert warehouse.ids == set(listing.ids)
    assert len(listing.asked) <= 3 + (new // 99 + 1 if new > 49 else 0)


@pytest.mark.parametrize("ordering", ["ascending", "descending"])
@pytest.mark.parametrize("gone", [1, 5, 20])
def test_what_is_gone_is_found_by_halving(ordering: Ordering, gone: int) -> None:
    random = Random(gone)
    listing = Listing(random, 50_000, 100, ordering)
    warehouse = Warehouse(listing)
    changed(listing, new=150, gone=random.sample(range(50_000), gone))
    warehouse.sync()
    assert warehouse.ids == set(listing.ids)
    assert warehouse.reads_of_all == 1
    assert len(listing.asked) < 12 + gone * (1 + log2(505 / gone))


@pytest.mark.parametrize("ordering", ["ascending", "descending"])
@pytest.mark.parametrize("places", [range(3), range(60), range(9_997, 10_000), range(9_940, 10_000)])
def test_what_is_gone_at_the_ends_needs_no_halving(ordering: Ordering, places: range) -> None:
    listing = Listing(Random(1), 10_000, 100, ordering)
    warehouse = Warehouse(listing)
    changed(listing, gone=places)
    warehouse.sync()
    assert warehouse.ids == set(listing.ids)
    assert len(listing.asked) <= 8


@pytest.mark.parametrize("places", [range(250), range(9_700, 10_000), range(5_000, 5_300)])
def test_a_burst_longer_than_what_is_known_of_an_end_is_found_or_swept(places: range) -> None:
    for ordering in ("ascending", "descending"):
        listing = Listing(Random(1), 10_000, 100, ordering)
        warehouse = Warehouse(listing)
        changed(listing, new=5, gone=places)
        try:
            warehouse.sync()
        except NotInOrderError:
            continue
        assert warehouse.ids == set(listing.ids)


def test_more_than_halving_is_good_for_is_left_to_a_sweep() -> None:
    listing = Listing(Random(1), 10_000, 100)
    warehouse = Warehouse(listing)
    changed(listing, gone=range(0, 10_000, 50))
    with pytest.raises(NotInOrderError, match="rows have come or gone in between"):
        warehouse.sync()
    assert len(listing.asked) < 10


def test_an_old_row_in_the_middle_is_found_as_one_that_is_gone_is() -> None:
    listing = Listing(Random(1), 10_000, 100)
    warehouse = Warehouse(listing)
    listing.list.insert(5_000, {**listing.list[4_999], "id": listing.list[4_999]["id"] + "+"})
    warehouse.sync()
    assert warehouse.ids == set(listing.ids)


@pytest.mark.parametrize("ordering", ["updated ascending", "updated descending"])
def test_a_list_that_turns_out_to_be_ordered_by_update_is_swept(ordering: Ordering) -> None:
    listing = Listing(Random(1), 2_000, 100, ordering)
    warehouse = Warehouse(listing)
    warehouse.known = KnownOrder(
        f"created_at and id, {'descending' if 'descending' in ordering else 'ascending'}", 2_000, 100
    )
    listing._edit(listing.list[1_000])
    with pytest.raises(NotInOrderError):
        warehouse.sync()


def test_edits_on_the_pages_looked_at_are_found() -> None:
    listing = Listing(Random(1), 10_000, 100)
    warehouse = Warehouse(listing)
    for place in (3, 9_990):
        listing.list[place] = {**listing.list[place], "text": "edited"}
    warehouse.sync()
    edited = [row for row in warehouse.rows if row.get("text") == "edited"]
    assert len(edited) == 2


def test_a_list_that_has_vanished_is_swept() -> None:
    listing = Listing(Random(1), 1_000, 100)
    warehouse = Warehouse(listing)
    listing.list.clear()
    with pytest.raises(NotInOrderError, match="no row held is at the head"):
        warehouse.sync()


def test_a_short_list_is_not_worth_it() -> None:
    assert not KnownOrder("id, ascending", 297, 100).is_worth_it
    assert KnownOrder("id, ascending", 298, 100).is_worth_it
    assert not KnownOrder("id, ascending", 100_000, 1).is_worth_it


@settings(max_examples=600, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**9),
    rows=st.sampled_from([60, 200, 1_000]),
    limit=st.sampled_from([10, 20]),
    cap=st.sampled_from([None, 7]),
    ordering=st.sampled_from(["ascending", "descending"]),
    reports_total=st.booleans(),
    syncs=st.integers(1, 3),
    changes=st.integers(0, 12),
    restlessness=st.sampled_from([0.0, 0.0, 0.1, 0.3]),
)
def test_whatever_comes_and_goes_no_living_row_is_missed_or_marked(
    seed: int,
    rows: int,
    limit: int,
    cap: int | None,
    ordering: Ordering,
    reports_total: bool,
    syncs: int,
    changes: int,
    restlessness: float,
) -> None:
    listing = Listing(Random(seed), rows, limit, ordering, cap=cap, reports_total=reports_total)
    warehouse = Warehouse(listing)
    for _ in range(syncs):
        for _ in range(changes):
            listing._change()
        listing.alive = set(listing.ids)
        listing.restlessness = restlessness
        try:
            warehouse.sync()
        except (NotInOrderError, PagingError):
            return
        finally:
            listing.restlessness = 0.0
        assert listing.alive <= warehouse.ids
        if not restlessness:
            assert warehouse.ids == set(listing.ids)
        places = {row["id"]: place for place, row in enumerate(listing.list)}
        living = [row for row in warehouse.rows if row["id"] in places]
        gone_since = [row for row in warehouse.rows if row["id"] not in places]
        if gone_since:
            return
        warehouse.rows = sorted(living, key=lambda row: places[row["id"]])
        warehouse.known = KnownOrder(warehouse.known.order, len(living), warehouse.known.page_size)
