"""Each rule of proof, once where it must say yes and once where it must say no."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from messaging_assets.api.proof import OrderEvidence, PassCounts, instants_of, judge, needs_last_look

STILL = PassCounts(total_before=3, total_after=3, distinct=3)
MOVED = PassCounts(total_before=3, total_after=4, distinct=3, drift_repaired=1)


def order_of(*pages: Sequence[tuple[str, object]], known_first: bool = True) -> OrderEvidence:
    """The evidence of pages of (created_at, id), each page but the first beginning with a known row."""
    order = OrderEvidence()
    for number, page in enumerate(pages):
        first_unread: int | None = 0 if number == 0 or not known_first else 1
        order.add_page(
            [created for created, _ in page],
            [key for _, key in page],
            first_unread=first_unread if len(page) > (first_unread or 0) else None,
            is_last=number == len(pages) - 1,
        )
    return order


UNORDERED = order_of([("2026-01-02", "b"), ("2026-01-01", "c"), ("2026-01-03", "a")])
ASCENDING = order_of([("2026-01-01", "b"), ("2026-01-02", "a")], [("2026-01-02", "a"), ("2026-01-03", "c")])
DESCENDING = order_of([("2026-01-03", "a"), ("2026-01-02", "c")], [("2026-01-02", "c"), ("2026-01-01", "b")])


def test_a_list_that_held_still_is_proved() -> None:
    assert judge(STILL, UNORDERED).verified == "full"
    assert "held still" in judge(STILL, UNORDERED).reason


@pytest.mark.parametrize(
    "counts",
    [
        replace(STILL, total_after=4),
        replace(STILL, total_before=2),
        replace(STILL, distinct=2),
        replace(STILL, drift_repaired=1),
        PassCounts(distinct=3),
    ],
    ids=["total moved", "total moved before", "a row missing", "drift", "no total"],
)
def test_a_list_that_did_not_hold_still_is_not_proved_by_its_count(counts: PassCounts) -> None:
    assert judge(counts, UNORDERED).verified == "no"


def test_rows_without_a_key_count_for_holding_still() -> None:
    assert judge(replace(STILL, distinct=2, keyless=1), UNORDERED).verified == "full"


@pytest.mark.parametrize("order", [ASCENDING, DESCENDING], ids=["ascending", "descending"])
def test_an_ordered_list_is_proved_whatever_came_and_went_after_a_last_look(order: OrderEvidence) -> None:
    assert needs_last_look(MOVED, order)
    assert judge(MOVED, order).verified == "no"
    assert judge(replace(MOVED, looked_again=True), order).verified == "full"


@pytest.mark.parametrize(
    ("counts", "verified"),
    [
        (PassCounts(total_before=300, total_after=300, distinct=297), "no"),
        (PassCounts(total_before=300, total_after=290, distinct=290), "full"),
        (PassCounts(total_before=300, total_after=310, distinct=300), "full"),
        (PassCounts(total_before=300, total_after=310, distinct=299), "no"),
        (PassCounts(total_before=293, total_after=293, distinct=300), "full"),
        (PassCounts(distinct=297), "full"),
        (PassCounts(total_before=300, total_after=300, distinct=297, before=297, same_as_before=297), "full"),
    ],
)
def test_an_ordered_list_that_falls_short_of_its_totals_is_proved_by_a_second_pass(
    counts: PassCounts, verified: str
) -> None:
    assert judge(replace(counts, looked_again=True, drift_repaired=1), ASCENDING).verified == verified


def test_a_list_that_outgrows_its_reading_is_not_proved() -> None:
    counts = replace(MOVED, looked_again=True, outgrown=True)
    assert not needs_last_look(counts, ASCENDING)
    assert judge(counts, ASCENDING).verified == "no"
    assert "grows as fast" in judge(counts, ASCENDING).reason


def test_a_page_that_nothing_ties_to_the_others_breaks_the_proof_by_order() -> None:
    assert judge(replace(MOVED, unanchored=True, looked_again=True), ASCENDING).verified == "no"


def test_two_passes_that_agree_are_proved_only_after_a_last_look() -> None:
    agreeing = replace(MOVED, before=3, same_as_before=3)
    assert needs_last_look(agreeing, UNORDERED)
    assert judge(agreeing, UNORDERED).verified == "no"
    assert judge(replace(agreeing, looked_again=True), UNORDERED).verified == "full"


@pytest.mark.parametrize("before, same", [(4, 3), (3, 2), (None, None)])
def test_two_passes_that_differ_prove_nothing(before: int | None, same: int | None) -> None:
    counts = replace(MOVED, before=before, same_as_before=same, looked_again=True)
    assert judge(counts, UNORDERED).verified == "no"
    assert not needs_last_look(counts, UNORDERED)


def test_no_rows_against_a_total_is_not_proved() -> None:
    verdict = judge(PassCounts(total_before=500, total_after=500), OrderEvidence())
    assert verdict.verified == "no"
    assert "total of 500" in verdict.reason


def test_an_empty_list_is_proved() -> None:
    assert judge(PassCounts(total_before=0, total_after=0), OrderEvidence()).verified == "full"
    assert judge(PassCounts(looked_again=True), OrderEvidence()).verified == "full"


@pytest.mark.parametrize(
    "counts, words",
    [
        (PassCounts(distinct=3), "reports no total"),
        (replace(STILL, total_after=4), "moved from 3 to 4"),
        (replace(STILL, distinct=2), "the total is 3, the rows delivered are 2"),
    ],
)
def test_what_is_missing_is_said(counts: PassCounts, words: str) -> None:
    assert words in judge(counts, UNORDERED).reason


def test_the_orders_that_count() -> None:
    assert ASCENDING.shown == "created_at and id, ascending"
    assert DESCENDING.shown == "created_at and id, descending"
    assert order_of([("2026-01-02", 1), ("2026-01-01", 2), ("2026-01-03", 3)]).shown == "id, ascending"
    assert UNORDERED.shown is None


def test_equal_created_at_counts_unless_it_meets_the_edge_of_a_page() -> None:
    inside = [("2026-01-01", "x"), ("2026-01-02", "b"), ("2026-01-02", "a"), ("2026-01-03", "c")]
    assert order_of(inside).shown == "created_at, ascending"
    at_the_edge = [("2026-01-01", "x"), ("2026-01-02", "z"), ("2026-01-02", "a")]
    assert order_of(at_the_edge).shown is None


def test_a_row_that_moved_breaks_the_order_of_the_page_it_moved_to() -> None:
    """The page ends with rows that were read at the head: it does not continue where the reading stood."""
    order = order_of([("2026-01-01", "b"), ("2026-01-05", "a")], [("2026-01-01", "b"), ("2026-01-02", "c")])
    assert order.shown is None


def test_a_list_that_does_not_end_with_its_youngest_row_is_not_ascending() -> None:
    order = OrderEvidence()
    order.add_page(["2026-01-01", "2026-01-05"], ["a", "b"], first_unread=0, is_last=False)
    order.add_page(["2026-01-01"], ["a"], first_unread=None, is_last=True)
    assert order.shown is None


def test_values_that_do_not_compare_show_no_order() -> None:
    assert order_of([("2026-01-01", "a"), ("2026-01-02", 1)], [("2026-01-02", 1)]).shown is not None
    assert order_of([("no date", "a"), ("2026-01-02", 1)]).shown is None


def test_created_at_is_compared_as_instants() -> None:
    """02:10 in winter time is later than 02:50 in summer time."""
    summer, winter = "2026-10-25T02:50:00+02:00", "2026-10-25T02:10:00+01:00"
    assert order_of([(summer, "b"), (winter, "a")]).shown == "created_at and id, ascending"
    assert instants_of([summer, "2026-10-25T00:50:00"]) == [datetime(2026, 10, 25, 0, 50, tzinfo=UTC)] * 2
    assert instants_of([1.5, 2]) == [1.5, 2]
    assert instants_of([None]) is None
    assert instants_of([True]) is None


def test_a_list_read_up_to_rows_younger_than_a_moment() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert ASCENDING.has_passed(moment)
    assert not ASCENDING.has_passed(datetime(2026, 1, 2, 12, tzinfo=UTC))
    assert not DESCENDING.has_passed(datetime(2025, 1, 1, tzinfo=UTC))
    assert not OrderEvidence().has_passed(moment)


PAGES = [
    [("2026-01-01", "b"), ("2026-01-02", "a")],
    [("2026-01-02", "a"), ("2026-01-03", "c")],
    [("2026-01-03", "c"), ("2026-01-04", "d")],
]


def relied_on(order: str, *pages: Sequence[tuple[str, object]]) -> OrderEvidence:
    """The evidence of a list of which all pages but the first and these were recognised."""
    evidence = order_of(PAGES[0])
    evidence.rely_on(order)
    for number, page in enumerate(pages, start=1):
        created, keys = [created for created, _ in page], [key for _, key in page]
        evidence.add_page(created, keys, first_unread=1, is_last=number == len(pages))
    return evidence


def test_of_pages_that_nobody_looks_at_one_order_is_known() -> None:
    assert relied_on("created_at, ascending", *PAGES[2:]).shown == "created_at, ascending"
    both = relied_on("created_at and id, ascending", *PAGES[2:])
    assert both.shown == "created_at and id, ascending"
    assert not both.is_in("created_at, ascending")
    assert not both.is_in("created_at and id, descending")


def test_an_order_that_does_not_hold_is_not_made_to_hold_by_relying_on_it() -> None:
    assert relied_on("created_at and id, descending", *PAGES[2:]).shown is None
    assert relied_on("id, ascending", *PAGES[2:]).shown is None


def test_the_order_goes_on_from_the_last_page_that_was_recognised() -> None:
    older = [("2026-01-03", "e"), ("2026-01-03", "f")]
    assert relied_on("created_at and id, ascending", PAGES[2], older).shown is None
    assert relied_on("created_at and id, ascending", PAGES[1], older).shown == "created_at and id, ascending"
