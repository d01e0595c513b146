"""A sweep that recognises pages by their bytes finds exactly what a sweep finds that parses them all."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging_assets.api.delivery import Delivery
from messaging_assets.api.digests import content_digest, key_digest
from messaging_assets.api.errors import PagingError
from messaging_assets.api.page import Page
from messaging_assets.api.page_memory import PageMemory, PageNote, PageRecogniser, page_digest
from messaging_assets.api.row_index import RowIndex
from messaging_assets.api.sweep import Checkpoint, Sweep
from messaging_assets_tests.api.listing import Listing, Ordering
from messaging_assets_tests.api.test_sweep import verified

Row = dict[str, Any]


@dataclass
class Table:
    """What a warehouse does with sweeps: it holds rows, some marked as deleted, and a memory of pages."""

    rows: dict[str, Row] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    memory: PageMemory | None = None

    @classmethod
    def of(cls, listing: Listing) -> "Table":
        """A table in the state of the list, after a sweep that has remembered its pages."""
        table = cls({row["id"]: dict(row) for row in listing.list})
        table.sweep(listing)
        listing.parsed.clear()
        listing.asked.clear()
        return table

    @property
    def index(self) -> RowIndex:
        keys = [key_digest(row, ["id"]) for row in self.rows.values()]
        contents = [
            ~content_digest(row) if identity in self.deleted else content_digest(row)
            for identity, row in self.rows.items()
        ]
        living = [identity not in self.deleted for identity in self.rows]
        return RowIndex(np.array(keys, np.int64), np.array(contents, np.int64), np.array(living, np.bool_))

    def missing(self, sweep: Sweep) -> set[str]:
        """The rows that count as gone."""
        keys = np.array([key_digest(row, ["id"]) for row in self.rows.values()], np.int64)
        return {identity for identity, gone in zip(self.rows, sweep.unseen().mask(keys), strict=True) if gone}

    def sweep(self, listing: Listing, **more: Any) -> tuple[Sweep, list[Row], set[str]]:
        """Sweeps a list and takes over what it finds.

        Returns:
            The sweep, the rows that it delivered, and those that count as gone.
        """
        sweep = Sweep(listing, self.index, remembers=True, memory=self.memory, **more)
        deliveries = list(sweep)
        records = [record for delivery in deliveries for record in delivery.records]
        missing = self.missing(sweep) if verified(sweep) == "full" else set()
        self.rows |= {record["id"]: dict(record) for record in records}
        self.deleted = (self.deleted - {record["id"] for record in records}) | missing
        order = sweep.progress.order if sweep.progress.passes == 1 else None
        is_shown = verified(sweep) == "full" and order is not None
        self.memory = memory_of(deliveries, order) if is_shown and order else None
        return sweep, records, missing


def memory_of(deliveries: list[Delivery], order: str) -> PageMemory:
    noted = [(delivery.note, delivery.seen_contents) for delivery in deliveries if delivery.note]
    return PageMemory(
        order,
        [note.digest for note, _ in noted],
        [note.total for note, _ in noted],
        [note.has_more for note, _ in noted],
        [note.follows for note, _ in noted],
        np.cumsum([0, *(len(contents) for _, contents in noted)], dtype=np.int64),
        np.concatenate([np.zeros(0, np.int64), *(contents for _, contents in noted)]),
    )


def listing_of(rows: int = 95, ordering: Ordering = "ascending", **more: Any) -> Listing:
    """Pages of ten rows, in which nothing but a row itself tells of a change, unless told otherwise."""
    return Listing(Random(1), rows, 10, ordering, **{"reports_total": False, "in_flight": 3, **more})


# Whatever happens


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**9),
    rows=st.sampled_from([0, 1, 9, 20, 99, 101, 200]),
    limit=st.sampled_from([10, 50]),
    cap=st.sampled_from([None, 8]),
    ordering=st.sampled_from(["ascending", "ascending", "descending", "updated ascending", "none"]),
    reports_total=st.booleans(),
    restlessness=st.sampled_from([0.0, 0.0, 0.1]),
    ties=st.booleans(),
    hides=st.booleans(),
    moves=st.booleans(),
    in_flight=st.integers(1, 4),
    rounds=st.lists(
        st.tuples(
            st.sampled_from([0, 0, 1, 3]), st.lists(st.sampled_from(["forget", "mark", "alter"]), max_size=2)
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_it_finds_what_a_sweep_finds_that_parses_everything(
    seed: int, rounds: list[tuple[int, list[str]]], restlessness: float, moves: bool, **more: Any
) -> None:
    listing = Listing(Random(seed), moves=moves and more["ordering"] != "ascending", **more)
    table = Table.of(listing)
    for changes, meddled in rounds:
        for _ in range(changes):
            listing._change()
        for how in meddled:
            meddle(table, listing.random, how)
        listing.alive = {row["id"] for row in listing.list if not listing._is_hidden(row)}
        listing.restlessness = restlessness
        plain = None if restlessness else expected(listing, table)
        held = {identity: dict(row) for identity, row in table.rows.items() if identity not in table.deleted}
        try:
            sweep, records, missing = table.sweep(listing)
        except PagingError:
            assert restlessness
            return
        found = {**held, **{record["id"]: record for record in records}}
        if verified(sweep) == "full":
            assert listing.alive <= found.keys() - missing
        if plain is not None:
            assert (verified(sweep), sorted(record["id"] for record in records), missing) == plain
            assert all(found[row["id"]] == row for row in listing.list if row["id"] in listing.alive)


def expected(listing: Listing, table: Table) -> tuple[str, list[str], set[str]]:
    """What a sweep without a memory finds."""
    sweep = Sweep(listing, table.index)
    records = [record for delivery in sweep for record in delivery.records]
    missing = table.missing(sweep) if verified(sweep) == "full" else set()
    return verified(sweep), sorted(record["id"] for record in records), missing


def meddle(table: Table, random: Random, how: str) -> None:
    """Somebody changes the table by hand."""
    if not table.rows:
        return
    identity = random.choice(list(table.rows))
    if how == "forget":
        table.deleted.discard(identity)
        del table.rows[identity]
    elif how == "mark":
        table.deleted.add(identity)
    else:
        table.rows[identity]["updated"] = -1


# What is recognised


@pytest.mark.parametrize("ordering", ["ascending", "descending"])
@pytest.mark.parametrize("reports_total", [True, False])
def test_where_nothing_changed_the_ends_of_the_list_are_parsed_alone(
    ordering: Ordering, reports_total: bool
) -> None:
    listing = listing_of(95, ordering, reports_total=reports_total)
    table = Table.of(listing)
    sweep, records, missing = table.sweep(listing)
    assert (verified(sweep), records, missing) == ("full", [], set())
    # All pages but the first; the last one is parsed for its order.
    assert sweep.progress.recognised == 10
    assert not set(listing.parsed) & set(range(1, 90))
    assert sweep.progress.order == f"created_at and id, {ordering}"
    assert sweep.progress.rows == 95


def test_behind_a_page_that_changed_pages_are_recognised_again() -> None:
    listing = listing_of()
    table = Table.of(listing)
    listing.list[40]["updated"] = 7
    sweep, records, missing = table.sweep(listing)
    assert (verified(sweep), [row["id"] for row in records], missing) == (
        "full",
        [listing.list[40]["id"]],
        set(),
    )
    # The page before it, for its order, the changed one, and the next one, on which others follow again.
    assert set(listing.parsed) & set(range(1, 90)) == {27, 36, 45}
    assert sweep.progress.recognised == 8
    assert table.sweep(listing)[0].progress.recognised == 10


def test_an_edit_of_an_anchor_is_found_though_it_stands_in_two_pages() -> None:
    listing = listing_of()
    table = Table.of(listing)
    listing.list[36]["updated"] = 7
    _, records, _ = table.sweep(listing)
    assert [row["id"] for row in records] == [listing.list[36]["id"]]


def test_a_first_sync_notes_nothing() -> None:
    deliveries = list(Sweep(listing_of(), RowIndex()))
    assert {delivery.note for delivery in deliveries} == {None}


def follows_at(listing: Listing) -> dict[int, bool]:
    """Of the pages of a list that are noted, by their offsets, whether they follow on the one before."""
    table = Table({row["id"]: dict(row) for row in listing.list if row["id"]})
    sweep, found, offset = Sweep(listing, table.index, remembers=True), {}, 0
    for delivery in sweep:
        if sweep.progress.passes > 1:
            break
        if delivery.note is not None:
            found[offset] = delivery.note.follows
        offset += len(delivery.seen) + len(delivery.keyless) - 1
    return found


def test_a_page_follows_on_the_one_before_unless_that_is_not_noted() -> None:
    listing = listing_of(46)
    assert follows_at(listing) == {0: False, 9: True, 18: True, 27: True, 36: True}
    listing.list[22] = {**listing.list[22], "id": ""}
    assert follows_at(listing) == {0: False, 9: True, 27: False, 36: True}


def test_a_page_with_another_known_row_than_its_first_does_not_follow() -> None:
    listing = listing_of(46)
    listing.list[22] = listing.list[3]
    assert follows_at(listing) == {0: False, 9: True, 18: False, 27: True, 36: True}


@pytest.mark.parametrize("how", ["forget", "mark", "alter"])
def test_a_page_whose_rows_are_not_held_as_they_were_is_parsed(how: str) -> None:
    listing = listing_of()
    table = Table.of(listing)
    row = dict(listing.list[50])
    if how == "forget":
        del table.rows[row["id"]]
    elif how == "mark":
        table.deleted.add(row["id"])
    else:
        table.rows[row["id"]]["updated"] = -1
    sweep, records, _ = table.sweep(listing)
    assert records == [row]
    assert sweep.progress.recognised > 0
    assert (table.rows[row["id"]], table.deleted) == (row, set())


def test_a_row_that_moved_to_the_head_is_not_taken_for_unread() -> None:
    """It stands in the first page and, as long as nothing else changed, in no other: the others move up."""
    listing = listing_of(ordering="none")
    listing.list.sort(key=lambda row: row["at"])
    table = Table.of(listing)
    assert table.memory is not None
    # The head repeats a row that stands further down as well.
    repeated = listing.list[45]
    listing.list[3] = repeated
    sweep, records, missing = table.sweep(listing)
    assert records == []
    assert len(missing) == 1
    assert sweep.progress.rows == 94
    assert 45 // 9 * 9 in listing.parsed


def test_an_order_that_ends_behind_recognised_pages_is_seen_to_end() -> None:
    listing = listing_of(300)
    table = Table.of(listing)
    # The next page begins with a row that is older than the last one of the pages that are recognised.
    listing.list[100] = {**listing.list[100], "created_at": "2020-01-01T00:00:00+00:00"}
    sweep, _, _ = table.sweep(listing)
    assert sweep.progress.recognised > 5
    assert (sweep.progress.order, sweep.progress.passes) == (None, 2)
    assert table.memory is None


def test_an_order_that_ends_between_recognised_pages_and_the_next_one_is_seen_to_end() -> None:
    """A row between two pages is gone, and what follows is older than what was recognised."""

    class Shrinking(Listing):
        shrinks = False

        def serve(self, offset: int, limit: int) -> Page:
            page = super().serve(offset, limit)
            if self.shrinks and offset == 90:
                self.shrinks = False
                del self.list[99]
                self.list[99] = {**self.list[99], "created_at": self.list[50]["created_at"]}
            return page

    listing = Shrinking(Random(1), 300, 10, reports_total=False)
    table = Table.of(listing)
    listing.shrinks = True
    sweep, _, _ = table.sweep(listing)
    assert sweep.progress.recognised > 5
    assert sweep.progress.order is None
    assert sweep.progress.passes > 1


def test_an_order_other_than_the_remembered_one_is_not_claimed() -> None:
    """By created_at and id the list was in no order, and of pages that are not parsed nobody can tell."""
    listing = listing_of(95)
    for place, row in enumerate(listing.list):
        row["id"] = f"r{place:03}"
        row["created_at"] = "2026-01-01T00:00:00+00:00" if place else "2026-01-02T00:00:00+00:00"
    table = Table.of(listing)
    assert table.memory is not None
    assert table.memory.order == "id, ascending"
    listing.list[0]["created_at"] = "2026-01-01T00:00:00+00:00"
    sweep, _, _ = table.sweep(listing)
    assert sweep.progress.order == "id, ascending"


def test_what_a_recognised_page_said_of_the_total_is_taken_as_it_said_it() -> None:
    class Telling(Listing):
        def serve(self, offset: int, limit: int) -> Page:
            return replace(super().serve(offset, limit), total=offset)

    listing = Telling(Random(1), 95, 10)
    table = Table.of(listing)
    sweep = Sweep(listing, table.index, memory=table.memory)
    totals = [sweep.progress.total for delivery in sweep if delivery.is_recognised]
    assert totals == [9 * page for page in range(1, 11)]


class Interrupted(Listing):
    """A list to which something happens when its head is read for the second time."""

    happens: Callable[[], object] | None = None

    def serve(self, offset: int, limit: int) -> Page:
        if offset == 0 and self.happens is not None and self.asked.count(0) == 1:
            self.happens()
        return super().serve(offset, limit)


def test_a_row_that_changes_back_between_two_passes_is_delivered_again() -> None:
    listing = Interrupted(Random(1), 95, 10, reports_total=False)
    table = Table.of(listing)
    # The order ends in the first page, so that it takes a second pass.
    listing.list[0]["created_at"] = "2030-01-01T00:00:00+00:00"
    edited = listing.list[50]
    before = edited["updated"]
    edited["updated"] = -1
    listing.happens = lambda: edited.update(updated=before)
    sweep, records, _ = table.sweep(listing)
    assert sweep.progress.passes > 1
    assert [record["updated"] for record in records if record["id"] == edited["id"]] == [-1, before]


def test_a_page_that_has_become_the_first_is_parsed() -> None:
    """All rows before it are gone when the second page is read; a last look is compared with the new head."""

    class Shrinking(Listing):
        shrinks = False

        def serve(self, offset: int, limit: int) -> Page:
            if self.shrinks and offset:
                self.shrinks = False
                del self.list[:9]
            return super().serve(offset, limit)

    listing = Shrinking(Random(1), 95, 10, reports_total=False)
    table = Table.of(listing)
    listing.shrinks = True
    sweep, records, missing = table.sweep(listing)
    assert (verified(sweep), records, len(missing)) == ("full", [], 0)
    assert sweep.progress.recognised > 0
    assert listing.parsed.count(0) == 3


def test_a_page_with_a_record_that_has_no_key_is_parsed_each_time() -> None:
    listing = listing_of(95)
    listing.list[50] = {"id": "", "created_at": listing.list[50]["created_at"], "updated": 0, "at": 50}
    table = Table({row["id"]: dict(row) for row in listing.list if row["id"]})
    for _ in range(2):
        sweep, _, _ = table.sweep(listing)
        assert sweep.progress.keyless == 1
    assert table.memory is not None
    assert sweep.progress.recognised > 0


def test_rows_that_come_twice_in_a_page_make_it_one_to_be_parsed() -> None:
    listing = listing_of(95)
    listing.list[50] = listing.list[51]
    table = Table({row["id"]: dict(row) for row in listing.list})
    for _ in range(2):
        sweep, _, _ = table.sweep(listing)
    assert 45 in listing.parsed
    assert sweep.progress.rows == 94


def test_a_sweep_goes_on_with_recognised_pages_from_a_checkpoint() -> None:
    listing = listing_of(300)
    table = Table.of(listing)
    stopped = Sweep(listing, table.index, remembers=True, memory=table.memory)
    seen: list[Delivery] = []
    for delivery in stopped:
        seen.append(delivery)
        if len(seen) == 12:
            break
    checkpoint = stopped.checkpoint()
    assert isinstance(checkpoint, Checkpoint)
    assert stopped.progress.recognised == 11
    index = table.index
    index.begin_pass()
    index.see_contents(np.concatenate([delivery.seen_contents for delivery in seen]))
    assert index.seen == stopped.progress.rows
    gone = listing.list.pop(5)
    edited = listing.list[250]
    edited["updated"] = 7
    resumed = Sweep(listing, index, remembers=True, memory=table.memory, resume_from=checkpoint)
    records = [record for delivery in resumed for record in delivery.records]
    assert records == [edited]
    assert resumed.progress.order == "created_at and id, ascending"
    assert gone["id"] not in {row["id"] for row in listing.list}


# The rules one by one


def recogniser(*, follows: bool = True, held: bool = True, first: int = 2) -> tuple[PageRecogniser, RowIndex]:
    """Of three pages of three rows, the middle one as it is said; the first one is taken already."""
    contents = np.arange(7, dtype=np.int64)
    kept = contents if held else np.where(contents == 4, 99, contents)
    index = RowIndex(contents + 100, kept.copy())
    memory = PageMemory(
        "id, ascending",
        [b"first", b"second", b"third"],
        [7, 7, None],
        [True, None, False],
        [False, follows, True],
        np.array([0, 3, 6, 9]),
        np.array([0, 1, 2, first, 3, 4, 4, 5, 6]),
    )
    made = PageRecogniser(memory, index)
    index.begin_pass()
    index.record([100, 101, 102], [0, 1, 2])
    made.go_on_from(made.entry_of(b"first"))
    return made, index


def test_pages_that_follow_on_each_other_are_taken_as_they_were() -> None:
    made, index = recogniser()
    second, third = made.take(b"second"), made.take(b"third")
    assert second == PageNote(b"second", 7, None, follows=True, entry=1)
    assert third == PageNote(b"third", None, False, follows=True, entry=2)
    assert index.seen == 7
    assert second and made.contents(second).tolist() == [2, 3, 4]
    assert made.take(b"third") is None


def test_a_page_of_another_body_or_out_of_its_turn_is_not_taken() -> None:
    made, index = recogniser()
    assert made.take(b"third") is None
    assert made.take(b"other") is None
    made.go_on_from(None)
    assert made.take(b"second") is None
    assert (index.seen, made.entry_of(b"other")) == (3, None)


def test_a_page_that_did_not_follow_on_the_one_before_is_not_taken() -> None:
    """Rows of it were known by then: where they stand in the order of the list is not."""
    assert recogniser(follows=False)[0].take(b"second") is None


def test_a_page_with_a_row_that_is_held_otherwise_is_not_taken() -> None:
    assert recogniser(held=False)[0].take(b"second") is None


def test_a_page_that_goes_on_from_another_row_is_not_taken() -> None:
    """That row may have been delivered since with other content, after which this one counts."""
    assert recogniser(first=1)[0].take(b"second") is None


@pytest.mark.parametrize("seen", [103, 104])
def test_a_page_with_a_row_that_was_seen_elsewhere_is_not_taken(seen: int) -> None:
    made, index = recogniser()
    index.record([seen], [seen - 100])
    assert made.take(b"second") is None
    assert index.seen == 4


def test_the_order_of_a_checkpoint_is_that_of_the_page_recognised_last() -> None:
    listing = listing_of(300)
    table = Table.of(listing)
    stopped = Sweep(listing, table.index, remembers=True, memory=table.memory)
    contents = []
    for delivery in stopped:
        contents.append(delivery.seen_contents)
        if stopped.progress.recognised == 11:
            break
    index = table.index
    index.begin_pass()
    index.see_contents(np.concatenate(contents))
    # What follows is younger than the first page, and older than the last one that was recognised.
    place = index.seen
    listing.list[place] = {**listing.list[place], "created_at": listing.list[50]["created_at"]}
    resumed = Sweep(listing, index, memory=table.memory, resume_from=stopped.checkpoint())
    assert len([record for delivery in resumed for record in delivery.records]) >= 1
    assert resumed.progress.order is None


def test_bodies_that_differ_have_other_digests() -> None:
    assert page_digest(b"{}") == page_digest(b"{}")
    assert page_digest(b"{}") != page_digest(b"{ }")
