"""Anchored paging: which offset to ask for next, and which rows of a page are new.

A pure state machine without I/O: it is told what each page held and says what to ask for. It does not
fetch (see `sweep` and `paginator`), and it does not judge whether the rows are all there (see `proof`).

The rule: ask for each next page at the position of the last row already held. That row, the anchor, must
come back; a page is one snapshot of the server, so nothing is missing between the anchor and the rows
behind it. Rows that were deleted before the anchor move it towards the head, and the page holds no known
row: step back until one does. Rows that were inserted before it move it towards the tail, and the page
holds nothing but known rows: step forward. Steps double while they fail. By induction every row that
lived all along, and kept its place among the others, is delivered, whatever the size of the pages. An empty
page is the end only where the total agrees, or where nothing follows for some pages.

Plain stepping by the limit misses a row as soon as another one is deleted before it, and loses half of
the list where the server returns half of the limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from messaging_assets.api.errors import PagingError

# Steps in a row that find nothing new. They double, so that 40 of them pass any list; a list that is
# still not caught up with then changes faster than it is read.
MAX_STEPS_WITHOUT_PROGRESS = 40
# Each time the head of the list holds no known row, all that was read before it is gone.
MAX_RESTARTS = 10
# Where no total says that nothing follows, the list ends where this many times the limit hold no row: rows
# that are hidden after slicing leave empty pages in mid-list.
LIMITS_TO_LOOK_AHEAD = 5
# Empty pages in a row that are read side by side; then the steps double, as far as a total reaches.
MOST_EMPTY_PAGES = 40
# As many identical pages at different offsets in a row mean that the server ignores the offset: an
# insertion of just as many rows as the offset moved would have to happen each time.
MAX_IDENTICAL_PAGES = 5


@dataclass(frozen=True, slots=True)
class Step:
    """What one page contributed.

    Attributes:
        accepted: Whether the rows of the page may be taken: it holds a known row, or is the list's head.
        finished: Whether the list is read to its end.
    """

    accepted: bool
    finished: bool


class AnchoredPaging:
    """The position in a list that is read by limit and offset.

    Args:
        limit: The number of rows to ask for. Two at least, since one row of each page is the anchor.
        is_known: Says of a key whether its row was delivered in this pass.
        start: The offset of the first page.
        maximum_offset: Where to stop reading although the list goes on (dlt's `maximum_offset`).
        resume_at: Where the last known row was, if rows were delivered before.

    Attributes:
        next_offset: The offset to ask for, None when the list is read to its end.
        anchor: Where the last known row was when its page was taken, None before the first page.
        page_size: The largest page seen: what the server really returns, whatever was asked for.
        delivered: How many rows were delivered, as far as keys tell them apart.
        drift_repaired: How often rows moved while they were read, and the reading was mended.
        unanchored: Whether pages had to be taken that no known row ties to the ones before, so that
            paging alone proves nothing.

    Example:
        >>> rows = list("abcde")
        >>> seen: set[str] = set()
        >>> paging = AnchoredPaging(3, seen.__contains__)
        >>> while paging.next_offset is not None:
        ...     page = rows[paging.next_offset : paging.next_offset + 3]
        ...     if paging.receive(paging.next_offset, page, total=None).accepted:
        ...         seen.update(page)
        >>> "".join(sorted(seen))
        'abcde'
    """

    def __init__(
        self,
        limit: int,
        is_known: Callable[[object], bool],
        *,
        start: int = 0,
        maximum_offset: int | None = None,
        resume_at: int | None = None,
    ) -> None:
        self.limit = max(2, limit)
        self.next_offset: int | None = start if resume_at is None else resume_at
        self.anchor = resume_at
        self.page_size = 0
        self.drift_repaired = 0
        self.unanchored = False
        self._is_known = is_known
        self._start = start
        self.maximum_offset = maximum_offset
        self._holds_keys = resume_at is not None
        self._first_keys: tuple[object, ...] = ()
        self._identical_pages = 0
        self._accepted_pages = 0
        self.delivered = 0
        self._restarts = 0
        self._steps = 0
        self._steps_back = 0
        self._steps_forward = 0
        # The last page that held nothing but known rows, and the nearest one behind it that held none.
        self._known_page: tuple[int, int] | None = None
        self._unknown_offset: int | None = None
        self._rows_ahead_offset: int | None = None
        self._adjacent_offset: int | None = None
        # The last of the empty pages that stand side by side behind the known rows.
        self._empty_offset: int | None = None
        self._empty_pages = 0
        self._confirming_end = False

    def receive(
        self, offset: int, keys: Sequence[object], *, total: int | None, has_more: bool | None = None
    ) -> Step:
        """Takes note of a page and sets `next_offset` (None at the end of the list).

        Args:
            offset: Where the page was asked for.
            keys: The keys of its rows in order, None for a row without a key.
            total: The length of the list that the server reported with the page, where it did.
            has_more: Whether the server said that the list goes on, where it did.

        Returns:
            Whether to take the page's rows. The caller has to make their keys known before the next call.

        Raises:
            PagingError: The server ignores the offset, or the list changes faster than it is read.
        """
        self._refuse_identical_pages(offset, keys)
        self.page_size = max(self.page_size, len(keys))
        known = [i for i, key in enumerate(keys) if key is not None and self._is_known(key)]
        keyed = [i for i, key in enumerate(keys) if key is not None]
        if not keys:
            return self._empty(offset, total, has_more)
        if not known and not self._may_start_here(offset):
            return self._without_known_row(offset)
        self.delivered += len(keys) - len(known)
        if not keyed:
            # Not one row of the page can be an anchor; what stands behind it cannot be tied to it.
            self.unanchored = True
            return self._accept(offset, len(keys), offset + len(keys), total, has_more)
        self._holds_keys = True
        if known and known[-1] == keyed[-1]:
            return self._wholly_known(offset, len(keys), total, has_more)
        return self._accept(offset, len(keys), offset + keyed[-1], total, has_more)

    def receive_next(self, offset: int, rows: int, *, total: int | None, has_more: bool | None) -> Step:
        """Does what `receive` does with a page of which all rows have keys and the first alone is known.

        Args:
            offset: Where the page was asked for.
            rows: How many rows it has; two at least.
            total: The length of the list that the server reported with the page, where it did.
            has_more: Whether the server said that the list goes on, where it did.
        """
        self._identical_pages = 0
        self.page_size = max(self.page_size, rows)
        self.delivered += rows - 1
        self._holds_keys = True
        return self._accept(offset, rows, offset + rows - 1, total, has_more)

    def _may_start_here(self, offset: int) -> bool:
        """Whether a page without a known row can be taken: nothing can stand unread before it."""
        if offset == self._start:
            self._count_restart()
            return True
        if offset in (self._adjacent_offset, self._gap_end()):
            self.unanchored = True
            return True
        # Rows without keys are all that came before: they cannot be found again.
        return self.unanchored and not self._holds_keys

    def _accept(self, offset: int, rows: int, anchor: int, total: int | None, has_more: bool | None) -> Step:
        self._accepted_pages += 1
        self.anchor = anchor
        self._steps = self._steps_back = self._steps_forward = 0
        self._forget_surroundings()
        self._confirming_end = False
        if self._is_end(offset, rows, total, has_more):
            return self._finish(accepted=True)
        return self._ask(anchor, accepted=True)

    def _wholly_known(self, offset: int, rows: int, total: int | None, has_more: bool | None) -> Step:
        again = self._known_page is not None and self._known_page[0] == offset
        # Here a page says itself that nothing stands behind the rows known, so that a total may agree.
        ends_here = has_more is False or offset + rows == total == self.delivered
        if ends_here or (again and self._confirming_end):
            return self._finish(accepted=True)
        self._count_step()
        if again and self._unknown_offset == offset + 1:
            # Still nothing but known rows, so that the page right behind follows without a gap.
            self._adjacent_offset = offset + 1
            return self._ask(offset + 1, accepted=True)
        self.drift_repaired += self._is_full(rows)
        self._known_page = (offset, rows)
        self._empty_offset = None
        self._empty_pages = 0
        self._confirming_end = False
        self._steps_back = 0
        ahead = offset + (self._reach() - offset) * 2**self._steps_forward
        self._steps_forward += 1
        if self._unknown_offset is not None and self._unknown_offset > offset + 1:
            ahead = min(ahead, (offset + self._unknown_offset) // 2)
        return self._ask(ahead, accepted=True)

    def _without_known_row(self, offset: int) -> Step:
        gap_end = self._gap_end()
        if self._known_page is None and gap_end is None:
            return self._step_back(offset)
        self._rows_ahead_offset = offset
        if gap_end is not None and offset > gap_end:
            return self._ask(gap_end, accepted=False)
        return self._step_nearer(offset)

    def _empty(self, offset: int, total: int | None, has_more: bool | None) -> Step:
        if self._empty_offset is None:
            if offset != self._start and not self._holds_keys:
                return self._finish(accepted=True)
            if offset != (self._start if self._known_page is None else self._reach()):
                return self._step_nearer(offset)
        if self._known_page is not None and offset <= self._known_page[0]:
            return self._step_back(offset)
        return self._look_ahead(offset, total, has_more)

    def _step_nearer(self, offset: int) -> Step:
        """Goes back towards the page that held nothing but known rows: between them stands what follows."""
        if self._known_page is None:
            return self._step_back(offset)
        known_offset, rows = self._known_page
        reach = self._reach()
        if offset <= known_offset or (self._is_full(rows) and offset <= reach):
            return self._step_back(offset)
        self._count_step()
        if offset == self._adjacent_offset:
            # Nothing can be tied to the known rows: what stands right behind them is hidden or gone. The
            # nearest rows that were seen there follow, as far as can be told.
            self._adjacent_offset, self._unknown_offset = self._rows_ahead_offset, None
            return self._ask(self._adjacent_offset or reach, accepted=False)
        self._unknown_offset = offset
        nearer = (known_offset + offset) // 2
        return self._ask(max(reach, nearer) if offset > reach else nearer, accepted=False)

    def _look_ahead(self, offset: int, total: int | None, has_more: bool | None) -> Step:
        """Looks whether something stands behind an empty page."""
        if self._known_page is not None and self._is_full(self._known_page[1]) and self._empty_offset is None:
            # The last known row stood here a moment ago.
            return self._step_back(offset)
        if self._empty_offset is None or (self.page_size and offset == self._gap_end()):
            self._empty_offset = offset
        gap_end = self._gap_end()
        assert gap_end is not None
        if self._rows_ahead_offset is not None and self._rows_ahead_offset >= gap_end:
            return self._ask(gap_end, accepted=False)
        if offset >= self._furthest_look(total, has_more):
            return self._confirm_end()
        self._empty_pages += 1
        if self._empty_pages > MOST_EMPTY_PAGES:
            return self._ask(2 * offset, accepted=False)
        # One page alone does not tell how many places a page covers; what is longer may skip rows.
        is_size_known = self.page_size and (total is not None or self._accepted_pages > 1)
        return self._ask(offset + (self.page_size if is_size_known else self.limit), accepted=False)

    def _gap_end(self) -> int | None:
        """As far as nothing stands behind the known rows: an empty page covers as many places as others."""
        return None if self._empty_offset is None else self._empty_offset + (self.page_size or self.limit)

    def _furthest_look(self, total: int | None, has_more: bool | None) -> int:
        """Where the list ends if nothing is found before."""
        known_offset, rows = self._known_page or (self._start, 0)
        reach = self._reach() if self._known_page else self._start
        agrees = total is not None and (self.delivered >= total or known_offset + rows == total)
        if agrees or has_more is False:
            return reach
        return max(total or 0, reach + LIMITS_TO_LOOK_AHEAD * self.limit)

    def _confirm_end(self) -> Step:
        """Looks once more at the page that held nothing but known rows before the list counts as read.

        Between that page and the empty one there can be a gap, into which unread rows can move when others
        are deleted or edited.
        """
        if self._known_page is None:
            return self._finish(accepted=True)
        self._count_step()
        self._confirming_end = True
        return self._ask(self._known_page[0], accepted=False)

    def _step_back(self, offset: int) -> Step:
        self._count_step()
        self.drift_repaired += 1
        self._forget_surroundings()
        self._confirming_end = False
        self._steps_forward = 0
        back = max(1, self.page_size - 1) * 2**self._steps_back
        self._steps_back += 1
        return self._ask(max(self._start, offset - back), accepted=False)

    def _forget_surroundings(self) -> None:
        self._known_page = self._unknown_offset = None
        self._rows_ahead_offset = self._adjacent_offset = self._empty_offset = None
        self._empty_pages = 0

    def _is_full(self, rows: int) -> bool:
        return rows >= self.page_size > 1

    def _reach(self) -> int:
        """The furthest offset that leaves no gap behind the page that held nothing but known rows.

        Behind a full page that is its last row. A page that is shorter than others ends the list, or rows of
        it are hidden: it covers as many places as the largest page has rows.
        """
        assert self._known_page is not None
        offset, rows = self._known_page
        if self.page_size == 1:
            return offset + 1
        return offset + rows - 1 if self._is_full(rows) else offset + self.page_size

    def _is_end(self, offset: int, rows: int, total: int | None, has_more: bool | None) -> bool:
        """Whether the server's own word places the end here.

        A total is believed only together with a page shorter than others, and where as many rows were
        delivered: it can be wrong, and where rows are hidden it can count those that are not.
        """
        return has_more is False or (rows < self.page_size and offset + rows == total == self.delivered)

    def _ask(self, offset: int, *, accepted: bool) -> Step:
        if self.maximum_offset is not None and offset >= self.maximum_offset:
            return self._finish(accepted=accepted)
        self.next_offset = offset
        return Step(accepted=accepted, finished=False)

    def _finish(self, *, accepted: bool) -> Step:
        self.next_offset = None
        if self.page_size == 1 and (self._accepted_pages > 1 or self.drift_repaired):
            # A server that returns one row a page leaves no room for an anchor.
            self.unanchored = True
        return Step(accepted=accepted, finished=True)

    def _count_step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS_WITHOUT_PROGRESS:
            raise _too_restless(f"{self._steps} pages in a row held nothing that ties in with the rows read")

    def _count_restart(self) -> None:
        """Counts how often the head of the list was taken although it held no known row."""
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            raise _too_restless(f"{self._restarts} times all rows at its head were replaced")

    def _refuse_identical_pages(self, offset: int, keys: Sequence[object]) -> None:
        if offset == self._start:
            self._first_keys = tuple(keys)
            return
        telling = len([key for key in keys if key is not None]) > 1
        identical = telling and tuple(keys) == self._first_keys
        self._identical_pages = self._identical_pages + 1 if identical else 0
        if self._identical_pages >= MAX_IDENTICAL_PAGES:
            raise PagingError(
                f"the API returns its first page whatever the offset (asked for {offset})",
                remedy="check the paginator's offset_param and limit_param against the API's documentation",
            )


def _too_restless(how: str) -> PagingError:
    return PagingError(
        f"the list changes faster than it can be read: {how}",
        remedy="sync when the workspace is quieter, or raise the paginator's limit",
    )
