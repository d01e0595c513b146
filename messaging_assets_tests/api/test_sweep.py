"""A sweep never says `full` of a list of which it missed a row, and says it of every list that allows it."""

from datetime import timedelta
from random import Random
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging_assets.api.digests import content_digest, key_digest
from messaging_assets.api.errors import PagingError
from messaging_assets.api.page import Page
from messaging_assets.api.row_index import RowIndex
from messaging_assets.api.sweep import MAX_PASSES, Sweep
from messaging_assets_tests.api.listing import FOUNDED, Listing, Ordering, Total

ORDERINGS: list[Ordering] = ["ascending", "descending", "updated ascending", "updated descending", "none"]


def swept(
    listing: Listing, index: RowIndex | None = None, **settings: Any
) -> tuple[Sweep, list[dict[str, Any]]]:
    sweep = Sweep(listing, index or RowIndex(), **settings)
    return sweep, [record for delivery in sweep for record in delivery.records]


def verified(sweep: Sweep) -> str:
    assert sweep.progress.verdict is not None
    return sweep.progress.verdict.verified


@st.composite
def listings(draw: st.DrawFn) -> Listing:
    """Lists of every kind, at rest or restless."""
    ordering = draw(st.sampled_from(ORDERINGS))
    limit = draw(st.sampled_from([10, 50]))
    cap = draw(st.sampled_from([None, limit // 2, limit * 4 // 5]))
    total = draw(st.sampled_from(get_args(Total)))
    return Listing(
        Random(draw(st.integers(0, 10**9))),
        draw(st.sampled_from([0, 1, 5, 20, 99, 101, 250])),
        limit,
        ordering,
        cap=cap,
        extra=draw(st.sampled_from([0, 0, 3])),
        total=total,
        restlessness=draw(st.sampled_from([0.0, 0.05, 0.2, 0.5])),
        floods=draw(st.booleans()),
        # Where nothing else tells, a list that seems to be in order of created_at has to be in order of it.
        moves=draw(st.booleans()) and (ordering != "ascending" or total in ("right", "text")),
        hides=draw(st.booleans()),
        ties=draw(st.booleans()),
        in_flight=draw(st.integers(1, 8)),
    )


histories = settings(max_examples=1000, deadline=None, derandomize=True)


@histories
@given(listings())
def test_full_means_that_nothing_is_missing(listing: Listing) -> None:
    try:
        sweep, records = swept(listing)
    except PagingError:
        assert listing.restlessness > 0
        return
    if verified(sweep) == "full":
        assert listing.alive <= {record["id"] for record in records}
    else:
        assert listing.restlessness > 0 or is_empty_and_says_otherwise(listing), (
            "a list at rest can always be proved"
        )


def is_empty_and_says_otherwise(listing: Listing) -> bool:
    return not listing.alive and listing.total == "too high"


@settings(histories, max_examples=500)
@given(listings(), st.integers(0, 3))
def test_full_means_that_what_counts_as_gone_is_gone(listing: Listing, gone: int) -> None:
    held = [dict(row) for row in listing.list]
    for row in listing.random.sample(held, min(gone, len(held))):
        listing.alive.discard(row["id"])
        listing.list.remove(row)
    try:
        sweep, _ = swept(listing, index_of(held))
    except PagingError:
        assert listing.restlessness > 0
        return
    missing = {row["id"] for row in held if sweep.unseen().mask(np.array([key_digest(row, ["id"])]))[0]}
    if verified(sweep) == "full":
        assert not missing & listing.alive, "a living row would be marked as deleted"
    if listing.restlessness == 0:
        assert missing == {row["id"] for row in held} - listing.alive


def index_of(rows: list[dict[str, Any]]) -> RowIndex:
    """The index of a table that holds these rows."""
    return RowIndex(
        np.array([key_digest(row, ["id"]) for row in rows], dtype=np.int64),
        np.array([content_digest(row) for row in rows], dtype=np.int64),
    )


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("reports_total", [True, False])
def test_a_list_at_rest_is_proved(ordering: Ordering, reports_total: bool) -> None:
    listing = Listing(Random(1), 450, 100, ordering, reports_total=reports_total, in_flight=4)
    sweep, records = swept(listing)
    assert verified(sweep) == "full"
    assert len(records) == 450
    assert sweep.progress.rows == 450
    proved_in_one_pass = reports_total or ordering != "none"
    assert sweep.progress.passes == (1 if proved_in_one_pass else 2)


def test_an_ordered_list_is_proved_while_it_grows_and_shrinks() -> None:
    listing = Listing(Random(3), 700, 50, "ascending", restlessness=0.3, in_flight=4)
    sweep, records = swept(listing)
    assert verified(sweep) == "full"
    assert sweep.progress.verdict is not None
    assert "ordered by created_at" in sweep.progress.verdict.reason
    assert listing.alive <= {record["id"] for record in records}


def test_pages_fetched_ahead_cost_few_requests_more() -> None:
    alone = Listing(Random(1), 5_000, 100)
    side_by_side = Listing(Random(1), 5_000, 100, in_flight=8)
    for listing in (alone, side_by_side):
        assert verified(swept(listing)[0]) == "full"
    assert len(side_by_side.asked) <= len(alone.asked) + 2


def test_pages_are_asked_for_as_many_at_once_as_may_be_under_way() -> None:
    listing = Listing(Random(1), 20_000, 100, in_flight=8)
    assert verified(swept(listing)[0]) == "full"
    # The window opens page by page up to 32; from there on 8 of them are asked for at once.
    assert listing.batches[:4] == [1, 2, 2, 2]
    assert set(listing.batches[32:-1]) == {8}


def test_only_what_differs_is_delivered() -> None:
    listing = Listing(Random(1), 300, 100)
    index = index_of(listing.list)
    listing.list[7]["updated"] = -1
    listing.list.append({"id": "new", "created_at": "2026-02-01T00:00:00Z"})
    gone = listing.list.pop(20)
    sweep, records = swept(listing, index)
    assert sweep.progress.rows == 300
    assert [record["id"] for record in records] == [listing.list[7]["id"], "new"]
    assert index.unseen().mask(np.array([key_digest(gone, ["id"])])).tolist() == [True]
    assert len(index.unseen()) == 1


def test_an_empty_list_with_a_total_is_not_believed() -> None:
    sweep, records = swept(Listing(Random(1), 0, 100, total="too high"))
    assert records == []
    assert verified(sweep) == "no"


def test_values_without_a_key_are_handed_on_and_counted() -> None:
    listing = Listing(Random(1), 150, 100)
    listing.list[3] = {"name": "no id"}
    listing.list.insert(120, "not an object")  # type: ignore[arg-type]
    sweep = Sweep(listing, RowIndex())
    listing.serve = _serving_raw(listing)  # type: ignore[method-assign]
    keyless = [value for delivery in sweep for value in delivery.keyless]
    assert {"name": "no id"} in keyless
    assert "not an object" in keyless
    assert sweep.progress.keyless == len(keyless)


def _serving_raw(listing: Listing) -> Any:
    def serve(offset: int, limit: int) -> Page:
        return Page(list(listing.list[offset : offset + limit]), len(listing.list))

    return serve


class Growing(Listing):
    """A list to whose end a page of rows is added whenever a page is read."""

    def serve(self, offset: int, limit: int) -> Page:
        page = super().serve(offset, limit)
        for _ in range(limit):
            self._insert()
        return page


@pytest.mark.parametrize(
    ("ordering", "reports_total", "clock", "words"),
    [
        ("ascending", True, 300, "ordered by created_at"),
        ("ascending", False, 300, "grows as fast"),
        ("ascending", True, 10**6, "grows as fast"),
        ("none", True, 300, "grows as fast"),
    ],
    ids=["it can be told", "without a total", "with a clock that is late", "without an order"],
)
def test_a_list_that_grows_as_fast_as_it_is_read_ends(
    ordering: Ordering, reports_total: bool, clock: int, words: str
) -> None:
    listing = Growing(Random(1), 300, 100, ordering, reports_total=reports_total)
    sweep, records = swept(listing, now=lambda: FOUNDED + timedelta(seconds=clock))
    assert sweep.progress.verdict is not None
    assert words in sweep.progress.verdict.reason
    assert listing.alive <= {record["id"] for record in records} or verified(sweep) == "no"
    assert len(listing.asked) < 120


@pytest.mark.parametrize("reports_total", [True, False])
def test_rows_from_the_future_are_read_like_others(reports_total: bool) -> None:
    listing = Listing(Random(1), 900, 100, reports_total=reports_total, restlessness=0.05)
    sweep, records = swept(listing, now=lambda: FOUNDED - timedelta(days=1))
    assert verified(sweep) == "full"
    assert listing.alive <= {record["id"] for record in records}


@pytest.mark.parametrize("ordering, passes", [("ascending", 1), ("none", 2)])
def test_without_an_order_a_row_counts_as_gone_when_two_passes_missed_it(
    ordering: Ordering, passes: int
) -> None:
    listing = Listing(Random(1), 300, 100, ordering)
    index = index_of(listing.list)
    gone = listing.list.pop(20)
    sweep, records = swept(listing, index)
    assert records == []
    assert verified(sweep) == "full"
    assert sweep.progress.passes == passes
    assert sweep.unseen().mask(np.array([key_digest(gone, ["id"])])).tolist() == [True]
    assert len(sweep.unseen()) == 1


class Interrupted(Listing):
    """A list to which something happens when its head is read for the second time."""

    def serve(self, offset: int, limit: int) -> Page:
        if offset == 0 and self.asked.count(0) == 1:
            self.happen()
        return super().serve(offset, limit)

    def happen(self) -> None:
        """Let it happen."""
        raise NotImplementedError


class TestLastLook:
    def test_it_reads_on_until_a_row_of_the_first_page_comes_back(self) -> None:
        class FloodedAtItsHead(Interrupted):
            def happen(self) -> None:
                for _ in range(25):
                    self._insert()

        listing = FloodedAtItsHead(Random(1), 95, 10, "descending", reports_total=False)
        sweep, records = swept(listing)
        assert (verified(sweep), sweep.progress.passes) == ("full", 1)
        assert {record["id"] for record in records} == set(listing.ids)

    def test_a_head_that_was_edited_is_no_proof(self) -> None:
        class EditedAtItsHead(Interrupted):
            def happen(self) -> None:
                for row in self.list[:30]:
                    row["text"] = "edited"

        listing = EditedAtItsHead(Random(1), 95, 10, "descending", reports_total=False)
        sweep, records = swept(listing)
        assert (verified(sweep), sweep.progress.passes) == ("full", 2)
        assert {record["id"] for record in records if "text" in record} == set(listing.ids[:30])

    def test_an_unread_row_that_moved_to_the_head_is_found_and_breaks_the_proof(self) -> None:
        listing = Listing(Random(1), 95, 10, "updated descending", reports_total=False)
        serve = listing.serve

        def edit_an_unread_row(offset: int, limit: int) -> Page:
            if len(listing.asked) == 4:
                listing._edit(listing.list[-1])
            return serve(offset, limit)

        listing.serve = edit_an_unread_row  # type: ignore[method-assign]
        sweep, records = swept(listing)
        assert verified(sweep) == "full"
        assert sweep.progress.passes > 1
        assert {record["id"] for record in records} == set(listing.ids)


def test_passes_that_never_agree_end_and_prove_nothing() -> None:
    class Restless(Listing):
        def serve(self, offset: int, limit: int) -> Page:
            page = super().serve(offset, limit)
            self._insert()
            return page

    sweep, records = swept(Restless(Random(1), 95, 10, "none", reports_total=False))
    assert (verified(sweep), sweep.progress.passes) == ("no", MAX_PASSES)
    assert sweep.progress.verdict is not None
    assert "no two passes in a row agree" in sweep.progress.verdict.reason
    assert len(records) >= 95


@pytest.mark.parametrize("total", ["too high", "too low"])
@pytest.mark.parametrize("ordering", ORDERINGS)
def test_a_wrong_total_does_not_fail_for_ever(ordering: Ordering, total: Total) -> None:
    sweep, records = swept(Listing(Random(1), 450, 100, ordering, total=total))
    assert verified(sweep) == "full"
    assert len(records) == 450
