"""A sweep: reading a whole list by anchored paging until it is proved complete, pages side by side.

It drives `paging` over the transport, keeps `row_index` up to date and asks `proof` for the verdict. What
becomes of the rows belongs to the warehouse.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from messaging_assets.api.delivery import Delivery, compare
from messaging_assets.api.digests import content_digest, key_digest
from messaging_assets.api.errors import ApiError
from messaging_assets.api.page import Page
from messaging_assets.api.paging import AnchoredPaging
from messaging_assets.api.proof import OrderEvidence, PassCounts, Verdict, judge, needs_last_look
from messaging_assets.api.row_index import RowIndex, UnseenKeys

# A pass that can't be proved is repeated: the second can agree with the first, the third with the second.
MAX_PASSES = 4
# The last look reads on until it meets an unchanged row of the first page, for at most this many pages.
MAX_LOOKS = 20
# A list that grows at its end while it is read must end as well: rows created this long after the pass
# began are none that it has to deliver. The clocks of two machines can differ by less.
CLOCK_TOLERANCE = timedelta(minutes=1)


class PageFetcher(Protocol):
    """Fetches one page of a list; the transport's side of a sweep."""

    limit: int
    start: int
    maximum_offset: int | None
    in_flight: int

    def fetch(self, offset: int, limit: int) -> "Future[Page]":
        """Asks for a page and returns at once."""


@dataclass
class SweepProgress:
    """How far a sweep has come; read while it runs, and at its end the whole account.

    Attributes:
        pages: Pages that were taken.
        rows: Distinct rows seen in the pass under way.
        total: What the server said last of the list's length.
        passes: Passes begun.
        verdict: None until the sweep is over.
    """

    pages: int = 0
    rows: int = 0
    total: int | None = None
    passes: int = 0
    drift_repaired: int = 0
    keyless: int = 0
    verdict: Verdict | None = None

    def note(self, delivery: Delivery, index: RowIndex) -> None:
        """Counts a page."""
        self.pages += 1
        self.rows = index.seen
        self.keyless += len(delivery.keyless)


class Sweep:
    """Iterates over what differs from the rows held; afterwards `progress` holds the verdict.

    Args:
        fetcher: Fetches pages.
        index: The rows held before; it is brought up to date.
        primary_key: The fields that tell rows apart.
        now: The time.

    Raises (while iterating):
        ApiError: A page could not be had, or the pages contradict each other.
    """

    def __init__(
        self,
        fetcher: PageFetcher,
        index: RowIndex,
        primary_key: Sequence[str] = ("id",),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.progress = SweepProgress()
        self.index = index
        self._fetcher = fetcher
        self._primary_key = primary_key
        self._now = now
        self.unseen_passes = 1
        self._known: set[int] = set()
        self._first_page: dict[int, int] = {}
        self._counts = PassCounts()

    def __iter__(self) -> Iterator[Delivery]:
        """Reads the list, once or until two passes agree."""
        before: int | None = None
        for _ in range(MAX_PASSES):
            order = OrderEvidence()
            yield from self._read_pass(order)
            self._counts.before = before
            self._counts.same_as_before = None if before is None else self.index.seen_again
            before = self._counts.distinct
            if needs_last_look(self._counts, order):
                yield from self._look_again(order)
            verdict = judge(self._counts, order)
            self.unseen_passes = 1 if order.shown is not None else 2
            if verdict.verified != "no" and not self._needs_second_look_for_deletions():
                break
        self.progress.verdict = verdict

    def unseen(self) -> UnseenKeys:
        """The living rows that count as gone, if the verdict is `full`.

        Where the order was not shown, a row can have changed places while it was unread: it counts as gone
        when two passes in a row did not deliver it.
        """
        return self.index.unseen(self.unseen_passes)

    def _needs_second_look_for_deletions(self) -> bool:
        return self.progress.passes < self.unseen_passes and len(self.index.unseen()) > 0

    def _read_pass(self, order: OrderEvidence) -> Iterator[Delivery]:
        self.index.begin_pass()
        self._counts = PassCounts()
        self._first_page = {}
        self.progress.passes += 1
        began = self._now()
        paging = self._new_paging()
        with _Window(self._fetcher, paging) as window:
            while paging.next_offset is not None:
                offset = paging.next_offset
                page = window.take(offset)
                keys = [key_digest(record, self._primary_key) for record in page.records]
                self._known = self.index.seen_among([key for key in keys if key is not None])
                step = paging.receive(offset, keys, total=page.total, has_more=page.has_more)
                self._note_total(page)
                if step.accepted:
                    order.add_page(
                        *self._order_of(page.records, keys),
                        first_unread=self._first_unread(keys),
                        is_last=step.finished,
                    )
                    yield self._deliver(page.records, keys, first=offset == self._fetcher.start)
                if order.has_passed(began + CLOCK_TOLERANCE):
                    break
                if step.finished and window.close():
                    paging.next_offset = offset
        self._counts.distinct = self.index.seen
        self._counts.drift_repaired = paging.drift_repaired
        self._counts.unanchored = paging.unanchored
        self.progress.drift_repaired += paging.drift_repaired

    def _look_again(self, order: OrderEvidence) -> Iterator[Delivery]:
        """Reads the head once more until a row of the first page comes back unchanged."""
        known_head = dict(self._first_page)
        offset = self._fetcher.start
        for _ in range(MAX_LOOKS):
            page = self._fetcher.fetch(offset, self._fetcher.limit).result()
            keys = [key_digest(record, self._primary_key) for record in page.records]
            self._note_total(page)
            missed = self.index.seen
            delivery = self._deliver(page.records, keys, first=False)
            yield delivery
            if self.index.seen > missed:
                order.add_page(*self._order_of(page.records, keys), first_unread=None, is_last=False)
            met = any(
                known_head.get(key) == content_digest(record)
                for record, key in zip(page.records, keys, strict=True)
                if key is not None
            )
            if met or not page.records:
                self._counts.looked_again = met or not known_head
                break
            offset += max(1, len(page.records) - 1)
        self._counts.distinct = self.index.seen

    def _deliver(self, records: list[Any], keys: list[int | None], *, first: bool) -> Delivery:
        if first:
            self._first_page = {
                key: content_digest(record)
                for record, key in zip(records, keys, strict=True)
                if key is not None
            }
        delivery = compare(self.index, records, keys)
        self.progress.note(delivery, self.index)
        self._counts.keyless += len(delivery.keyless)
        return delivery

    def _note_total(self, page: Page) -> None:
        self.progress.total = page.total
        self._counts.total_after = page.total
        if self._counts.total_before is None:
            self._counts.total_before = page.total

    def _order_of(self, records: list[Any], keys: list[int | None]) -> tuple[list[Any], list[Any]]:
        rows = [record for record, key in zip(records, keys, strict=True) if key is not None]
        first_key = self._primary_key[0]
        return [row.get("created_at") for row in rows], [row.get(first_key) for row in rows]

    def _first_unread(self, keys: list[int | None]) -> int | None:
        """The place, among the rows with a key, of the first one behind the last known one."""
        keyed = [key for key in keys if key is not None]
        known = [i for i, key in enumerate(keyed) if key in self._known]
        first = known[-1] + 1 if known else 0
        return first if first < len(keyed) else None

    def _new_paging(self) -> AnchoredPaging:
        def is_known(key: object) -> bool:
            return key in self._known

        return AnchoredPaging(
            self._fetcher.limit,
            is_known,
            start=self._fetcher.start,
            maximum_offset=self._fetcher.maximum_offset,
        )


class _Window:
    """Pages asked for ahead of time, at the offsets where paging will want them if nothing moves.

    A page that is wanted elsewhere than predicted is thrown away. The window opens slowly, one page more
    with each page that came as predicted, so that small lists and restless ones cost no extra requests.
    """

    def __init__(self, fetcher: PageFetcher, paging: AnchoredPaging) -> None:
        self._fetcher = fetcher
        self._paging = paging
        self._pages: deque[tuple[int, Future[Page]]] = deque()
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
            self._width = min(self._fetcher.in_flight, self._width + 1)
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
            self._width = min(self._fetcher.in_flight, self._width + 1)
        return page

    def close(self) -> bool:
        """Stops fetching ahead; says whether the page taken last had been fetched ahead."""
        self._discard()
        self._closed = True
        return self._fetched_ahead

    def _fill(self, offset: int) -> None:
        stride = self._paging.page_size - 1
        if stride < 1 or self._closed:
            return
        ahead = self._pages[-1][0] if self._pages else offset
        while len(self._pages) < self._width - 1:
            ahead += stride
            if self._total is not None and ahead >= self._total:
                break
            if self._paging.maximum_offset is not None and ahead >= self._paging.maximum_offset:
                break
            self._pages.append((ahead, self._fetcher.fetch(ahead, self._paging.limit)))

    def _discard(self) -> None:
        for _, pending in self._pages:
            pending.cancel()
        self._pages.clear()
