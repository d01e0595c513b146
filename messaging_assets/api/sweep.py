"""A sweep: reading a whole list by anchored paging until it is proved complete, pages side by side.

It drives `paging` over the transport, keeps `row_index` up to date and asks `proof` for the verdict. What
becomes of the rows belongs to the warehouse.
"""

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from messaging_assets.api.delivery import Delivery, compare
from messaging_assets.api.digests import key_digests
from messaging_assets.api.errors import ApiError
from messaging_assets.api.page import Page
from messaging_assets.api.paging import AnchoredPaging
from messaging_assets.api.proof import (
    OrderEvidence,
    PassCounts,
    Verdict,
    judge,
    needs_last_look,
    order_values,
)
from messaging_assets.api.row_index import RowIndex, UnseenKeys

# A pass that can't be proved is repeated: the second can agree with the first, the third with the second.
MAX_PASSES = 4
# Pages to have asked for or at hand, for each that may be under way, where the length of the list is known:
# so the line is not idle while rows are typed and written.
PAGES_AT_HAND = 4
# The last look reads on until it meets an unchanged row of the first page, for at most this many pages.
MAX_LOOKS = 20
# A list that grows at its end while it is read must end as well: rows created this long after the pass
# began are none that it has to deliver. The clocks of two machines can differ by less.
CLOCK_TOLERANCE = timedelta(minutes=1)
# Where that can't be told, such a list is read until it has doubled, and so many pages more.
MOST_PAGES_BEYOND = 10


class PendingPage(Protocol):
    """A page that was asked for."""

    def result(self) -> Page:
        """Waits for it."""

    def cancel(self) -> bool:
        """Gives it up."""


class PageFetcher(Protocol):
    """Fetches pages of a list; the transport's side of a sweep."""

    limit: int
    start: int
    maximum_offset: int | None
    in_flight: int

    def fetch(self, offset: int, limit: int) -> PendingPage:
        """Asks for a page and returns at once."""

    def fetch_all(self, offsets: Sequence[int], limit: int) -> Sequence[PendingPage]:
        """Asks for several pages and returns at once."""


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
        resumed: Rows that an earlier run, on which this one goes on, had delivered.
        page_size: The largest page seen.
        order: What the list is ordered by, as far as that was shown and ties its pages together.
        verdict: None until the sweep is over.
    """

    pages: int = 0
    rows: int = 0
    total: int | None = None
    passes: int = 0
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
    ) -> None:
        self.progress = SweepProgress()
        self.index = index
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
        with _Window(self._fetcher, paging) as window:
            while paging.next_offset is not None:
                offset = paging.next_offset
                page = window.take(offset)
                keys = key_digests(page.records, self._primary_key)
                self._known = self.index.seen_among([key for key in keys if key is not None])
                step = paging.receive(offset, keys, total=page.total, has_more=page.has_more)
                self._note_total(page)
                if step.accepted:
                    order.add_page(
                        *order_values(page.records, keys, self._primary_key[0]),
                        first_unread=self._first_unread(keys),
                        is_last=step.finished,
                    )
                    delivery = self._deliver(page.records, keys)
                    if offset == self._fetcher.start:
                        self._pass.first_page = self._keys_and_contents(delivery)
                    yield delivery
                if self._ends_here(passed=order.has_passed(began + CLOCK_TOLERANCE)):
                    break
                if step.finished and window.close():
                    paging.next_offset = offset
        counts.distinct = self.index.seen
        counts.drift_repaired = paging.drift_repaired
        counts.unanchored = paging.unanchored
        self.progress.drift_repaired += paging.drift_repaired

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
            self._note_total(page)
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

    def _deliver(self, records: list[Any], keys: list[int | None]) -> Delivery:
        delivery = compare(self.index, records, keys)
        self.progress.note(delivery, self.index)
        self._pass.counts.keyless += len(delivery.keyless)
        return delivery

    def _keys_and_contents(self, delivery: Delivery) -> list[list[Any]]:
        return [
            [*(record[field] for field in self._primary_key), content]
            for record, content in zip(delivery.seen, delivery.seen_contents.tolist(), strict=True)
        ]

    def _note_total(self, page: Page) -> None:
        counts = self._pass.counts
        self.progress.total = page.total
        counts.total_after = page.total
        if counts.total_before is None:
            counts.total_before = page.total

    def _first_unread(self, keys: list[int | None]) -> int | None:
        """The place, among the rows with a key, of the first one behind the last known one."""
        keyed = [key for key in keys if key is not None]
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


class _Window:
    """Pages asked for ahead of time, at the offsets where paging will want them if nothing moves.

    A page that is wanted elsewhere than predicted is thrown away. The window opens slowly, one page more
    with each page that came as predicted, so that small lists and restless ones cost no extra requests.
    """

    def __init__(self, fetcher: PageFetcher, paging: AnchoredPaging) -> None:
        self._fetcher = fetcher
        self._paging = paging
        self._pages: deque[tuple[int, PendingPage]] = deque()
        self._width = 1
        self._total: int | None = None
        self._closed = False
        self._fetched_ahead = False

    def __enter__(self) -> "_Window":
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()

    def take(self, offset: int) -> Page:
        """The page at an offset, fetched ahead or now; asks for the next ones meanwhile."""
        self._fetched_ahead = bool(self._pages) and self._pages[0][0] == offset
        if self._fetched_ahead:
            self._widen()
            _, pending = self._pages.popleft()
        else:
            self._width = 1 if self._pages else self._width
            self._discard()
            pending = self._fetcher.fetch(offset, self._paging.limit)
        self._fill(offset)
        try:
            page = pending.result()
        except ApiError as error:
            error.add_place(f"offset {offset}")
            raise
        self._total = page.total
        if not self._pages:
            self._widen()
        return page

    def _widen(self) -> None:
        pages = 1 if self._total is None else PAGES_AT_HAND
        self._width = min(pages * self._fetcher.in_flight, self._width + 1)

    def close(self) -> bool:
        """Stops fetching ahead; says whether the page taken last had been fetched ahead."""
        self._discard()
        self._closed = True
        return self._fetched_ahead

    def _fill(self, offset: int) -> None:
        """Asks for the next pages, for as many at once as may be under way: each time costs a wake-up."""
        stride = self._paging.page_size - 1
        at_hand = len(self._pages)
        if stride < 1 or self._closed or at_hand >= (PAGES_AT_HAND - 1) * self._fetcher.in_flight:
            return
        last = self._pages[-1][0] if self._pages else offset
        ends = [end for end in (self._total, self._paging.maximum_offset) if end is not None]
        predicted = range(last + stride, last + stride * (self._width - at_hand), stride)
        offsets = [ahead for ahead in predicted if ahead < min(ends, default=math.inf)]
        if offsets:
            self._pages.extend(
                zip(offsets, self._fetcher.fetch_all(offsets, self._paging.limit), strict=True)
            )

    def _discard(self) -> None:
        for _, pending in self._pages:
            pending.cancel()
        self._pages.clear()
