"""Pages asked for ahead of time, side by side, and how they come.

Where the next page is wanted is told by `paging`; what is made of its rows belongs to `sweep`.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from messaging_assets.api.errors import ApiError
from messaging_assets.api.page import Page
from messaging_assets.api.page_memory import page_digest
from messaging_assets.api.paging import AnchoredPaging

# Pages to have asked for or at hand, for each that may be under way, where the length of the list is known:
# so the line is not idle while rows are typed and written.
PAGES_AT_HAND = 4

T = TypeVar("T")


class PendingPage(Protocol):
    """A page that was asked for."""

    def body(self) -> bytes:
        """Waits for it and gives it as it came; after `result`, as the page given there came."""

    def result(self) -> Page:
        """Waits for it and decodes it."""

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


class TakenPage:
    """A page on its way from the window.

    Args:
        pending: The page.
        offset: Where it was asked for.

    Raises (when its body or its rows are asked for):
        ApiError: It could not be had.
    """

    def __init__(self, pending: PendingPage, offset: int) -> None:
        self.offset = offset
        self._pending = pending

    def digest(self) -> bytes:
        """Waits for it; the digest of its body."""
        return page_digest(self._with_place(self._pending.body))

    def page(self) -> Page:
        """Waits for it and decodes it."""
        return self._with_place(self._pending.result)

    def _with_place(self, wait: Callable[[], T]) -> T:
        try:
            return wait()
        except ApiError as error:
            error.add_place(f"offset {self.offset}")
            raise


class PageWindow:
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

    def __enter__(self) -> "PageWindow":
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()

    def take(self, offset: int) -> TakenPage:
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
        return TakenPage(pending, offset)

    def note(self, total: int | None) -> None:
        """Takes note of what the page taken last said of the list's length."""
        self._total = total
        if not self._pages:
            self._widen()

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
