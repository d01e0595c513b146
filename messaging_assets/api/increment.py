"""What is new in a list whose order an earlier sweep has shown, and what is gone from it, by a few pages.

Rows that keep their order can be new at the head or at the tail only, and every row that is gone moves
those behind it by one place. So two ends found as far apart as they were mean that nothing between them is
gone; otherwise pages in between tell by halving where it happened. What can't be explained this way is left
to a full sweep (`sweep`). A pair that compensates itself, a row gone and another one backdated into the
middle, is not seen, and edits in the middle are not: the verdict is `order`, not `full`.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2

import numpy as np

from messaging_assets.api.delivery import Delivery, compare
from messaging_assets.api.digests import Digests, key_digests, keys_there
from messaging_assets.api.errors import ApiError
from messaging_assets.api.page import Page
from messaging_assets.api.paging import AnchoredPaging
from messaging_assets.api.proof import OrderEvidence, Verdict, order_values
from messaging_assets.api.row_index import RowIndex, UnseenKeys
from messaging_assets.api.sweep import SweepProgress
from messaging_assets.api.window import PageFetcher, PendingPage

# A list of so few pages is read as a whole: that costs the same and shows edits as well.
PAGES_NOT_WORTH_IT = 3
# The share of a full sweep's requests that may be spent on finding out what is gone, and the requests that
# even a small list needs to be halved.
MOST_OF_A_SWEEP = 0.25
ALWAYS_ALLOWED_PROBES = 30


class NotInOrderError(Exception):
    """The list is not what the last sync left plus and minus some rows: it has to be read as a whole."""


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """What is known of a list since it was last read.

    Attributes:
        order: What it is ordered by, in the words of `OrderEvidence.shown`.
        rows: How many rows it had; all of them are held.
        page_size: How many rows the server returns at most.
    """

    order: str
    rows: int
    page_size: int

    @property
    def is_worth_it(self) -> bool:
        """Whether looking at the ends costs less than reading everything."""
        return self.page_size > 1 and self.pages > PAGES_NOT_WORTH_IT

    @property
    def pages(self) -> float:
        """How many pages a full sweep reads."""
        return self.rows / max(1, self.page_size - 1)


@dataclass(frozen=True)
class HeldRows:
    """Rows held, in the order of the list.

    Attributes:
        keys: Their key digests.
        contents: Their content digests.
        first: The place of the first of them among all rows held.
    """

    keys: Digests
    contents: Digests
    first: int = 0


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A row held that is seen again.

    Attributes:
        place: Its place among the rows held.
        position: Its position in the list now.
    """

    place: int
    position: int

    @property
    def shift(self) -> int:
        """How far it has moved towards the tail."""
        return self.position - self.place


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows held that are seen again on one page: the first and the last of them."""

    first: _Sighting
    last: _Sighting


@dataclass(frozen=True, slots=True)
class _Gap:
    """What lies between two rows held, neither of them included."""

    left: _Sighting
    right: _Sighting

    @property
    def before(self) -> _Stretch:
        """The row before the gap."""
        return _Stretch(self.left, self.left)

    @property
    def behind(self) -> _Stretch:
        """The row behind the gap."""
        return _Stretch(self.right, self.right)

    def sightings_inside(self, sightings: Sequence[_Sighting]) -> list[_Sighting]:
        """Those that are in the gap or are the rows around it."""
        return [s for s in sightings if self.left.place <= s.place <= self.right.place]


class Increment:
    """Iterates over what differs at the ends of the list, and in between where rows are gone.

    Args:
        fetcher: Fetches pages.
        known: What the last sync left.
        ends: The first and the last rows held in the order of the list, two pages of each; or all of them.
        all_rows: Reads all rows held, in the order of the list; called where the ends do not suffice.
        primary_key: The field that tells rows apart.

    Attributes:
        progress: The account; its verdict is `order` once everything is explained.
        index: The rows held as far as they are needed.

    Raises (while iterating):
        NotInOrderError: The list has to be swept.
        ApiError: A page could not be had.
    """

    def __init__(
        self,
        fetcher: PageFetcher,
        known: KnownOrder,
        ends: Sequence[HeldRows],
        all_rows: Callable[[], HeldRows],
        primary_key: Sequence[str] = ("id",),
    ) -> None:
        self.progress = SweepProgress(passes=1, page_size=known.page_size)
        self._fetcher = fetcher
        self._known = known
        self._all_rows = all_rows
        self._primary_key = primary_key
        self._places = _Places(known.rows, *ends)
        self.index = self._places.index()
        self._seen: list[tuple[list[int], Digests]] = []
        self._new: set[int] = set()
        self._tied: set[int] = set()
        self._met: set[int] = set()
        # The server's pages may be smaller by now than they were.
        self._largest_page = 0
        self._gone: set[int] = set()
        self._probes = 0

    def __iter__(self) -> Iterator[Delivery]:
        """Looks at the head, at the tail, and in between where rows have moved."""
        head = yield from self._read_head()
        tail = yield from self._read_tail(head.last.shift)
        unexplained = _unexplained([head, *tail])
        if unexplained:
            # In a list that grows at its head the looks may be of different moments.
            head = yield from self._read_head()
            unexplained = _unexplained([head, *tail])
        if unexplained:
            yield from self._find_between(unexplained)
        if self._gone:
            # A row that has moved is missing at its place as well. It stands at one of the ends now.
            yield from self._read_head()
            yield from self._read_tail(max(tail, key=lambda stretch: stretch.last.place).last.shift)
        if self.index.seen_among(self._gone_keys()):
            raise NotInOrderError("a row has moved from one place of the list to another")
        self.progress.verdict = Verdict("order", self._reason())

    def unseen(self) -> UnseenKeys:
        """The rows that are gone: each stood between two rows that follow each other on one page now."""
        return UnseenKeys(np.array(sorted(self._gone_keys()), dtype=np.int64))

    def checkpoint(self) -> None:
        """None: it is read again as quickly."""

    def _gone_keys(self) -> list[int]:
        keys = self._places.keys_at(sorted(self._gone))
        if len(keys) < len(self._gone):
            # A burst at an end goes beyond what is known of it.
            self._load_all_rows()
            keys = self._places.keys_at(sorted(self._gone))
        return keys

    def _reason(self) -> str:
        told = f"the list is ordered by {self._known.order}, and both ends tie in with the rows held"
        if self._probes:
            told += f"; {len(self._gone)} rows are gone, as {self._probes} pages in between show"
        return told

    # The ends

    def _tail_offset(self, shift: int) -> int:
        """Where a page begins that holds the last rows held and leaves as much room for new ones."""
        end = self._fetcher.start + self._known.rows + shift
        return max(self._fetcher.start, end - self._known.page_size // 2)

    def _read_head(self) -> Generator[Delivery, None, _Stretch]:
        """Reads until rows held are met."""
        paging = self._new_paging(self._fetcher.start)
        read: set[int] = set()
        while paging.next_offset is not None:
            stretch = yield from self._take(paging, read, read)
            if stretch is not None:
                self._gone.update(range(stretch.first.place))
                return stretch
        raise NotInOrderError("no row held is at the head of the list")

    def _read_tail(self, shift: int) -> Generator[Delivery, None, list[_Stretch]]:
        """Reads from the last rows held to the end of the list; gives the rows held that were met."""
        paging = self._new_paging(self._tail_offset(shift))
        read: set[int] = set()
        met: list[_Stretch] = []
        while paging.next_offset is not None:
            stretch = yield from self._take(paging, read, None)
            if stretch is not None:
                met.append(stretch)
        if not met:
            raise NotInOrderError("no row held is at the tail of the list")
        self._gone.update(range(max(stretch.last.place for stretch in met) + 1, self._known.rows))
        return met

    def _new_paging(self, offset: int) -> AnchoredPaging:
        paging = AnchoredPaging(
            self._fetcher.limit,
            lambda key: key in self._tied,
            start=self._fetcher.start,
            maximum_offset=self._fetcher.maximum_offset,
            resume_at=offset if offset > self._fetcher.start else None,
        )
        paging.page_size = self._largest_page
        return paging

    def _take(
        self, paging: AnchoredPaging, read: set[int], tied: set[int] | None
    ) -> Generator[Delivery, None, _Stretch | None]:
        """Takes the next page of an end if it ties in; gives the rows held that are on it, if any.

        Args:
            paging: Where to read.
            read: The keys read so far at this end; those of the page are added.
            tied: The keys to which the page has to tie; None for those read and all rows held.
        """
        offset = paging.next_offset
        assert offset is not None
        page = self._fetch(offset)
        keys = self._keys_of(page)
        self._largest_page = max(self._largest_page, len(keys))
        sightings = self._sightings(keys, offset)
        held = self._places.keys_at([sighting.place for sighting in sightings])
        self._tied = read.union(held) if tied is None else tied
        self._met.update(sighting.place for sighting in sightings[-1:])
        has_more = False if self._ends_with(page, keys, offset) else page.has_more
        if not paging.receive(offset, keys, total=page.total, has_more=has_more).accepted:
            return None
        read.update(key for key in keys if key is not None)
        yield self._deliver(page, keys)
        return self._stretch(sightings)

    def _ends_with(self, page: Page, keys: list[int | None], offset: int) -> bool:
        """Whether the list ends with a page that is shorter than the server's others.

        It does by its total, if the last row held was met as well; or if its last row comes back alone when
        it is asked for, whatever size of pages the server has by now.
        """
        if not 0 < len(keys) < self._largest_page or page.has_more:
            return False
        if len(keys) == 1 or (offset + len(keys) == page.total and self._known.rows - 1 in self._met):
            return True
        behind = self._fetch(offset + len(keys) - 1)
        return keys[-1] is not None and self._keys_of(behind) == keys[-1:]

    # In between

    def _find_between(self, unexplained: list[_Gap]) -> Generator[Delivery, None, None]:
        """Halves the gaps until every move is explained by a page that shows it."""
        self._load_all_rows()
        allowed = max(ALWAYS_ALLOWED_PROBES, int(MOST_OF_A_SWEEP * self._known.pages))
        moved = sum(abs(gap.right.shift - gap.left.shift) for gap in unexplained)
        if moved * (1 + log2(max(2.0, self._known.pages / moved))) > allowed:
            raise NotInOrderError(f"{moved} rows have come or gone in between")
        while unexplained:
            self._probes += len(unexplained)
            if self._probes > allowed:
                raise NotInOrderError(f"{self._probes} pages in between do not explain what has moved")
            offsets = [self._middle(gap) for gap in unexplained]
            answers = [self._fetcher.fetch(offset, self._fetcher.limit) for offset in offsets]
            following: list[_Gap] = []
            for gap, offset, answer in zip(unexplained, offsets, answers, strict=True):
                page = _result(answer, offset)
                keys = self._keys_of(page)
                stretch = self._stretch(gap.sightings_inside(self._sightings(keys, offset)))
                if stretch is None:
                    raise NotInOrderError("a whole page in between holds no row that is held")
                yield self._deliver(page, keys)
                following += _unexplained([gap.before, stretch, gap.behind])
            unexplained = following

    def _middle(self, gap: _Gap) -> int:
        """Where a page begins that holds both rows around a gap, or lies in its middle."""
        size = self._known.page_size
        left, right = gap.left.position, gap.right.position
        middle = left if right - left < size else (left + right) // 2 - size // 2
        return self._fetcher.start + middle

    def _load_all_rows(self) -> None:
        if self._places.is_complete:
            return
        self._places = _Places(self._known.rows, self._all_rows())
        self.index = self._places.index()
        for keys, contents in self._seen:
            self.index.record(keys, contents)

    # Pages

    def _fetch(self, offset: int) -> Page:
        return _result(self._fetcher.fetch(offset, self._fetcher.limit), offset)

    def _keys_of(self, page: Page) -> list[int | None]:
        """The keys of a page's rows, which have to be in order.

        Raises:
            NotInOrderError: They are not.
        """
        keys = key_digests(page.records, self._primary_key)
        evidence = OrderEvidence()
        evidence.add_page(
            *order_values(page.records, keys, self._primary_key[0]), first_unread=0, is_last=False
        )
        if not evidence.is_in(self._known.order):
            raise NotInOrderError(f"the list is no longer ordered by {self._known.order}")
        return keys

    def _sightings(self, keys: list[int | None], offset: int) -> list[_Sighting]:
        """The rows held on a page, in order.

        Raises:
            NotInOrderError: They are not in the order in which they are held.
        """
        places = self._places.of(keys)
        if not self._places.is_complete and not self._are_new(keys, places):
            self._load_all_rows()
            places = self._places.of(keys)
        sightings = [
            _Sighting(place, offset - self._fetcher.start + i)
            for i, place in enumerate(places)
            if place is not None
        ]
        if any(after.place <= before.place for before, after in pairwise(sightings)):
            raise NotInOrderError("rows have changed places")
        return sightings

    def _are_new(self, keys: list[int | None], places: list[int | None]) -> bool:
        """Whether the rows of a page that are not among the ends can't be rows held further in."""
        held = [i for i, place in enumerate(places) if place is not None]
        if not held:
            return not keys or any(key in self._new for key in keys)
        first, last = places[held[0]], places[held[-1]]
        assert first is not None and last is not None
        unknown = [i for i, key in enumerate(keys) if key is not None and places[i] is None]
        before = any(i < held[0] for i in unknown)
        behind = any(i > held[-1] for i in unknown)
        return (
            (not before or first == 0)
            and (not behind or last == self._known.rows - 1)
            and self._places.are_in_one_part(first, last)
        )

    def _stretch(self, sightings: Sequence[_Sighting]) -> _Stretch | None:
        """The rows held on one page; those missing between them are gone."""
        if not sightings:
            return None
        for before, after in pairwise(sightings):
            self._gone.update(range(before.place + 1, after.place))
        return _Stretch(sightings[0], sightings[-1])

    def _deliver(self, page: Page, keys: list[int | None]) -> Delivery:
        delivery = compare(self.index, page.records, keys)
        keyed = keys_there(keys)
        self._seen.append((keyed, delivery.seen_contents))
        places = self._places.of(keyed)
        self._new.update(key for key, place in zip(keyed, places, strict=True) if place is None)
        self.progress.total = page.total
        self.progress.note(delivery, self.index)
        return delivery


def _unexplained(stretches: Sequence[_Stretch]) -> list[_Gap]:
    """The gaps between stretches in which rows have come or gone."""
    gaps = []
    reached, *others = sorted(stretches, key=lambda stretch: stretch.first.place)
    for stretch in others:
        if stretch.first.place > reached.last.place and stretch.first.shift != reached.last.shift:
            gaps.append(_Gap(reached.last, stretch.first))
        reached = max(reached, stretch, key=lambda each: each.last.place)
    return gaps


def _result(answer: PendingPage, offset: int) -> Page:
    try:
        return answer.result()
    except ApiError as error:
        error.add_place(f"offset {offset}")
        raise


class _Places:
    """The place of each row among all rows held, as far as they have been read from the warehouse."""

    def __init__(self, rows: int, *parts: HeldRows) -> None:
        self._parts = parts
        self._rows = rows
        keys = np.concatenate([part.keys for part in parts])
        places = np.concatenate([np.arange(len(part.keys)) + part.first for part in parts])
        order = np.argsort(keys, kind="stable")
        self._keys, self._places = keys[order], places[order]

    @property
    def is_complete(self) -> bool:
        """Whether all rows held are here."""
        return len(self._keys) >= self._rows

    def index(self) -> RowIndex:
        """The digests of the rows, with a pass begun."""
        contents = np.concatenate([part.contents for part in self._parts])
        index = RowIndex(np.concatenate([part.keys for part in self._parts]), contents)
        index.begin_pass()
        return index

    def of(self, keys: Sequence[int | None]) -> list[int | None]:
        """The place of each key, None for a row that is not here."""
        wanted = np.array([0 if key is None else key for key in keys], dtype=np.int64)
        found = np.searchsorted(self._keys, wanted)
        found[found == len(self._keys)] = 0
        held = self._keys[found] == wanted
        return [
            int(place) if is_held and key is not None else None
            for key, place, is_held in zip(keys, self._places[found], held, strict=True)
        ]

    def are_in_one_part(self, first: int, last: int) -> bool:
        """Whether all rows held between two places are here."""
        return any(part.first <= first and last < part.first + len(part.keys) for part in self._parts)

    def keys_at(self, places: Sequence[int]) -> list[int]:
        """The keys of the rows at some places; those that are not here are left out."""
        return [
            int(part.keys[place - part.first])
            for place in places
            for part in self._parts
            if 0 <= place - part.first < len(part.keys)
        ]
