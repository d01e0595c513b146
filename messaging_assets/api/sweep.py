"""A sweep: reading a whole list by anchored paging until it is proved complete, pages side by side.

It drives `paging` over pages that are asked for ahead of time (`window`), keeps `row_index` up to date and
asks `proof` for the verdict. What becomes of the rows belongs to the warehouse.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from messaging_assets.api.delivery import Delivery, compare
from messaging_assets.api.digests import key_digests, keys_there
from messaging_assets.api.page import Page
from messaging_assets.api.page_memory import PageMemory, PageNote, PageRecogniser
from messaging_assets.api.paging import AnchoredPaging, Step
from messaging_assets.api.proof import (
    OrderEvidence,
    PassCounts,
    Verdict,
    judge,
    needs_last_look,
    order_values,
)
from messaging_assets.api.row_index import RowIndex, UnseenKeys
from messaging_assets.api.window import PageFetcher, PageWindow, TakenPage

# A pass that can't be proved is repeated: the second can agree with the first, the third with the second.
MAX_PASSES = 4
# The last look reads on until it meets an unchanged row of the first page, for at most this many pages.
MAX_LOOKS = 20
# A list that grows at its end while it is read must end as well: rows created this long after the pass
# began are none that it has to deliver. The clocks of two machines can differ by less.
CLOCK_TOLERANCE = timedelta(minutes=1)
# Where that can't be told, such a list is read until it has doubled, and so many pages more.
MOST_PAGES_BEYOND = 10


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a pass stands, so that a later run can go on from there. All JSON values.

    Attributes:
        anchor: Where the last known row was.
        page_size: The largest page seen.
        total_before: The total that the first page reported.
        keyless: Rows without a usable key so far.
        drift_repaired: How often rows moved so far.
        unanchored: Whether pages were taken that nothing ties to the ones before.
        first_page: The key and the content digest of each row of the first page.
        order: What was seen of the order.
    """

    anchor: int
    page_size: int
    total_before: int | None
    keyless: int
    drift_repaired: int
    unanchored: bool
    first_page: list[list[Any]]
    order: dict[str, Any]


@dataclass
class SweepProgress:
    """How far a sweep has come; read while it runs, and at its end the whole account.

    Attributes:
        pages: Pages that were taken.
        rows: Distinct rows seen in the pass under way.
        total: What the server said last of the list's length.
        passes: Passes begun.
        recognised: Pages that were taken without being parsed.
        resumed: Rows that an earlier run, on which this one goes on, had delivered.
        page_size: The largest page seen.
        order: What the list is ordered by, as far as that was shown and ties its pages together.
        verdict: None until the sweep is over.
    """

    pages: int = 0
    rows: int = 0
    total: int | None = None
    passes: int = 0
    recognised: int = 0
    drift_repaired: int = 0
    keyless: int = 0
    resumed: int = 0
    page_size: int = 0
    order: str | None = None
    verdict: Verdict | None = None

    def note(self, delivery: Delivery, index: RowIndex) -> None:
        """Counts a page."""
        self.pages += 1
        self.rows = index.seen
        self.keyless += len(delivery.keyless)


@dataclass
class _Pass:
    """One reading of the list from its head to its end."""

    paging: AnchoredPaging
    order: OrderEvidence = field(default_factory=OrderEvidence)
    counts: PassCounts = field(default_factory=PassCounts)
    # The key and the content digest of each row of the first page.
    first_page: list[list[Any]] = field(default_factory=list)
    # How many rows were seen when only rows younger than the pass were left, None before.
    rows_when_passed: int | None = None
    # Whether the page taken last is one to be remembered.
    is_noted: bool = False
    # The page taken last, if it was recognised: the order of the list goes on from its last row.
    unread: TakenPage | None = None


class Sweep:
    """Iterates over what differs from the rows held; afterwards `progress` holds the verdict.

    Args:
        fetcher: Fetches pages.
        index: The rows held before; it is brought up to date.
        primary_key: The fields that tell rows apart.
        now: The time.
        resume_from: Where an earlier run stopped. The index has to have a pass begun, in which the rows
            that it delivered are recorded.
        page_size: The largest page that the server is known to return: a shorter one is then known to be
            short from the first page on.
        remembers: Whether the deliveries say what to remember of their pages.
        memory: What an earlier sweep has remembered. A page that it recognises is not parsed.

    Raises (while iterating):
        ApiError: A page could not be had, or the pages contradict each other.
    """

    def __init__(
        self,
        fetcher: PageFetcher,
        index: RowIndex,
        primary_key: Sequence[str] = ("id",),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        resume_from: Checkpoint | None = None,
        page_size: int = 0,
        *,
        remembers: bool = False,
        memory: PageMemory | None = None,
    ) -> None:
        self.progress = SweepProgress()
        self.index = index
        self._remembers = remembers or memory is not None
        self._recogniser = None if memory is None else PageRecogniser(memory, index)
        self._fetcher = fetcher
        self._primary_key = primary_key
        self._now = now
        self._resume_from = resume_from
        self._page_size = page_size
        self.unseen_passes = 1
        self._known: set[int] = set()
        self._pass = self._first_pass = _Pass(self._new_paging())

    def __iter__(self) -> Iterator[Delivery]:
        """Reads the list, once or until two passes agree."""
        before: int | None = None
        for _ in range(MAX_PASSES):
            self._pass = self._begin_pass()
            yield from self._read_pass()
            counts, order = self._pass.counts, self._pass.order
            counts.before = before
            counts.same_as_before = None if before is None else self.index.seen_again
            before = counts.distinct
            if needs_last_look(counts, order):
                yield from self._look_again()
            verdict = judge(counts, order)
            self.unseen_passes = 1 if order.shown is not None else 2
            if counts.outgrown or not (verdict.verified == "no" or self._needs_second_look_for_deletions()):
                break
        self.progress.page_size = self._pass.paging.page_size
        self.progress.order = None if self._pass.paging.unanchored else self._pass.order.shown
        self.progress.verdict = verdict

    def checkpoint(self) -> Checkpoint | None:
        """Where the first pass stands between two deliveries, or ended; None before its first page.

        Later passes can't be resumed: each is compared with the pass before.
        """
        first = self._first_pass
        if first.paging.anchor is None:
            return None
        if first is self._pass:
            self._read_order()
        return Checkpoint(
            anchor=first.paging.anchor,
            page_size=first.paging.page_size,
            total_before=first.counts.total_before,
            keyless=first.counts.keyless,
            drift_repaired=first.paging.drift_repaired,
            unanchored=first.paging.unanchored,
            first_page=first.first_page,
            order=first.order.state(),
        )

    def unseen(self) -> UnseenKeys:
        """The living rows that count as gone, if the verdict is `full`.

        Where the order was not shown, a row can have changed places while it was unread: it counts as gone
        when two passes in a row did not deliver it.
        """
        return self.index.unseen(self.unseen_passes)

    def _needs_second_look_for_deletions(self) -> bool:
        return self.progress.passes < self.unseen_passes and len(self.index.unseen()) > 0

    def _begin_pass(self) -> _Pass:
        """Starts at the head of the list, or where the checkpoint says."""
        saved, self._resume_from = self._resume_from, None
        self.progress.passes += 1
        if saved is not None:
            begun = self._resumed(saved)
        else:
            self.index.begin_pass()
            begun = _Pass(self._new_paging())
        if self.progress.passes == 1:
            self._first_pass = begun
        return begun

    def _resumed(self, saved: Checkpoint) -> _Pass:
        self.progress.resumed = self.index.seen
        paging = self._new_paging(saved.anchor)
        paging.page_size = saved.page_size
        paging.drift_repaired = saved.drift_repaired
        paging.unanchored = saved.unanchored
        paging.delivered = self.index.seen + saved.keyless
        counts = PassCounts(total_before=saved.total_before, keyless=saved.keyless, resumed=True)
        return _Pass(paging, OrderEvidence.from_state(saved.order), counts, saved.first_page)

    def _read_pass(self) -> Iterator[Delivery]:
        paging, order, counts = self._pass.paging, self._pass.order, self._pass.counts
        began = self._now()
        with PageWindow(self._fetcher, paging) as window:
            while paging.next_offset is not None:
                offset = paging.next_offset
                taken = window.take(offset)
                step, delivery = self._recognise(taken) or self._look_at(taken)
                window.note(counts.total_after)
                if delivery is not None:
                    yield delivery
                if self._ends_here(passed=order.has_passed(began + CLOCK_TOLERANCE)):
                    break
                if step.finished and window.close():
                    paging.next_offset = offset
        counts.distinct = self.index.seen
        counts.drift_repaired = paging.drift_repaired
        counts.unanchored = paging.unanchored
        self.progress.drift_repaired += paging.drift_repaired

    def _look_at(self, taken: TakenPage) -> tuple[Step, Delivery | None]:
        """Parses a page and takes its rows, if it ties in with the rows known."""
        paging, offset = self._pass.paging, taken.offset
        page = taken.page()
        keys = key_digests(page.records, self._primary_key)
        self._known = self.index.seen_among(keys_there(keys))
        is_next = self._is_next(keys)
        if is_next and offset != self._fetcher.start:
            first_unread: int | None = 1
            step = paging.receive_next(offset, len(keys), total=page.total, has_more=page.has_more)
        else:
            first_unread = self._first_unread(keys)
            step = paging.receive(offset, keys, total=page.total, has_more=page.has_more)
        self._note_total(page.total)
        if not step.accepted:
            return step, None
        self._read_order()
        values = order_values(page.records, keys, self._primary_key[0])
        self._pass.order.add_page(*values, first_unread=first_unread, is_last=step.finished)
        note = self._note(taken, page, keys, is_next=is_next)
        self._go_on_from(note)
        delivery = self._deliver(page.records, keys, note)
        if offset == self._fetcher.start:
            self._pass.first_page = self._keys_and_contents(delivery)
        return step, delivery

    # Pages that are remembered

    def _recognise(self, taken: TakenPage) -> tuple[Step, Delivery] | None:
        """Takes a page without parsing it, if it is one of the last sweep and nothing about it can be new.

        The first page is always parsed: a last look is compared with its rows. In a later pass the rows are
        not what they were when they were looked up.
        """
        recogniser = self._recogniser
        if recogniser is None or self.progress.passes > 1 or taken.offset == self._fetcher.start:
            return None
        note = recogniser.take(taken.digest())
        if note is None:
            return None
        contents = recogniser.contents(note)
        step = self._pass.paging.receive_next(
            taken.offset, len(contents), total=note.total, has_more=note.has_more
        )
        self._note_total(note.total)
        if self._pass.unread is None:
            self._pass.order.rely_on(recogniser.order)
        self._pass.unread = taken
        delivery = Delivery.of_recognised(note, contents)
        self.progress.note(delivery, self.index)
        self.progress.recognised += 1
        return step, delivery

    def _read_order(self) -> None:
        """Parses the last of the pages that were recognised, from which the order of the list goes on."""
        taken, self._pass.unread = self._pass.unread, None
        if taken is None:
            return
        records = taken.page().records
        keys = key_digests(records, self._primary_key)
        values = order_values(records, keys, self._primary_key[0])
        self._pass.order.add_page(*values, first_unread=1, is_last=False)

    def _note(
        self, taken: TakenPage, page: Page, keys: list[int | None], *, is_next: bool
    ) -> PageNote | None:
        """What to remember of a page that was parsed, if it is one that can be recognised."""
        is_plain = len(keys) > 1 and None not in keys and len(set(keys)) == len(keys)
        if not self._remembers or not is_plain:
            return None
        digest = taken.digest()
        follows = self._pass.is_noted and is_next
        entry = None if self._recogniser is None else self._recogniser.entry_of(digest)
        return PageNote(digest, page.total, page.has_more, follows, entry)

    def _go_on_from(self, note: PageNote | None) -> None:
        """Takes note of a page that was parsed, on which the next one may follow."""
        self._pass.is_noted = note is not None
        if self._recogniser is not None:
            self._recogniser.go_on_from(None if note is None else note.entry)

    def _ends_here(self, *, passed: bool) -> bool:
        """Whether to stop although the list goes on, since it grows at its end as fast as it is read.

        Args:
            passed: Whether the list, in ascending order of created_at, is read up to rows that are all
                younger than the pass. Alone that says little: the server's clock can be ahead.
        """
        counts, seen = self._pass.counts, self.index.seen
        before = math.inf if counts.total_before is None else counts.total_before
        grown = (counts.total_after or 0) - before
        if passed and grown > 0 and seen >= before:
            # As many rows are read as there were when the pass began, and what follows came later.
            return True
        if passed and self._pass.rows_when_passed is None:
            self._pass.rows_when_passed = seen
        few = MOST_PAGES_BEYOND * self._fetcher.limit
        is_told = counts.total_before is not None
        beyond = not is_told and seen - few > 2 * (self._pass.rows_when_passed or math.inf)
        counts.outgrown = beyond or min(seen, grown) - few > before
        return counts.outgrown

    def _look_again(self) -> Iterator[Delivery]:
        """Reads the head once more until a row of the first page comes back unchanged."""
        known_head = {(json.dumps(key), content) for *key, content in self._pass.first_page}
        offset = self._fetcher.start
        for _ in range(MAX_LOOKS):
            page = self._fetcher.fetch(offset, self._fetcher.limit).result()
            keys = key_digests(page.records, self._primary_key)
            self._note_total(page.total)
            missed = self.index.seen
            delivery = self._deliver(page.records, keys)
            yield delivery
            if self.index.seen > missed:
                self._pass.order.add_page(
                    *order_values(page.records, keys, self._primary_key[0]), first_unread=None, is_last=False
                )
            head_now = self._keys_and_contents(delivery)
            met = any((json.dumps(key), content) in known_head for *key, content in head_now)
            if met or not page.records:
                self._pass.counts.looked_again = met or not known_head
                break
            offset += max(1, len(page.records) - 1)
        self._pass.counts.distinct = self.index.seen

    def _deliver(self, records: list[Any], keys: list[int | None], note: PageNote | None = None) -> Delivery:
        delivery = compare(self.index, records, keys, note)
        self.progress.note(delivery, self.index)
        self._pass.counts.keyless += len(delivery.keyless)
        return delivery

    def _keys_and_contents(self, delivery: Delivery) -> list[list[Any]]:
        return [
            [*(record[field] for field in self._primary_key), content]
            for record, content in zip(delivery.seen, delivery.seen_contents.tolist(), strict=True)
        ]

    def _note_total(self, total: int | None) -> None:
        counts = self._pass.counts
        self.progress.total = total
        counts.total_after = total
        if counts.total_before is None:
            counts.total_before = total

    def _is_next(self, keys: list[int | None]) -> bool:
        """Whether the first row of a page alone is known, as it is of most pages."""
        is_first_known = len(keys) > 1 and self._known == {keys[0]}
        return is_first_known and None not in keys and keys.count(keys[0]) == 1

    def _first_unread(self, keys: list[int | None]) -> int | None:
        """The place, among the rows with a key, of the first one behind the last known one."""
        keyed = keys_there(keys)
        known = [i for i, key in enumerate(keyed) if key in self._known]
        first = known[-1] + 1 if known else 0
        return first if first < len(keyed) else None

    def _new_paging(self, resume_at: int | None = None) -> AnchoredPaging:
        def is_known(key: object) -> bool:
            return key in self._known

        paging = AnchoredPaging(
            self._fetcher.limit,
            is_known,
            start=self._fetcher.start,
            maximum_offset=self._fetcher.maximum_offset,
            resume_at=resume_at,
        )
        paging.page_size = self._page_size
        return paging
