"""What is remembered of the pages of a sweep, so that the next sweep recognises them by their bytes.

To parse a page, digest its rows and look them up takes several times what fetching it does. A body that comes
again byte for byte says the same as before: then a digest of it is all that has to be made. What is
remembered are facts about bodies, true for ever, and the rows are looked up in what the table holds now:
an old memory recognises less, and never anything wrong. When a page may be taken without being parsed stands
here, how a list is swept in `sweep`; where the memory is kept belongs to the warehouse.
"""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from messaging_assets.api.digests import Digests
from messaging_assets.api.row_index import RowIndex


def page_digest(body: bytes) -> bytes:
    """The digest of a body, 32 bytes: no two bodies that differ have the same."""
    return hashlib.sha256(body).digest()


class PageNote(NamedTuple):
    """What is to be remembered of a page, beside the content digests of its rows.

    Every row of such a page has a key, and all of them are different.

    Attributes:
        digest: The digest of its body.
        total: The total that it reports.
        has_more: Whether it says that the list goes on.
        follows: Whether it was taken right after the page that was noted before, and of its rows the first
            alone was known by then.
        entry: Its place in the memory of the sweep before, None where it is not there.
    """

    digest: bytes
    total: int | None
    has_more: bool | None
    follows: bool
    entry: int | None = None


@dataclass(frozen=True)
class PageMemory:
    """The pages of a sweep in the order in which they were taken: parallel sequences, one value a page.

    Attributes:
        order: The order that the list showed, in the words of `OrderEvidence.shown`.
        digests: The digests of the bodies.
        totals: The totals that they reported.
        has_more: Whether they said that the list goes on.
        follows: Whether a page followed on the one before (`PageNote.follows`).
        starts: Where the rows of each page begin in `contents`, and at last where they end.
        contents: The content digests of their rows.
    """

    order: str
    digests: list[bytes]
    totals: list[int | None]
    has_more: list[bool | None]
    follows: list[bool]
    starts: NDArray[np.int64]
    contents: Digests


class PageRecogniser:
    """Tells which pages of a first pass need no parsing.

    Args:
        memory: What is remembered of the last sweep.
        index: The rows held now.

    Attributes:
        order: The order that pages have which follow on each other.
    """

    def __init__(self, memory: PageMemory, index: RowIndex) -> None:
        self.order = memory.order
        self._digests = memory.digests
        self._totals = memory.totals
        self._has_more = memory.has_more
        self._starts: list[int] = memory.starts.tolist()
        self._index = index
        self._places = index.places_of(memory.contents)
        self._can_follow = _can_follow(memory, self._places)
        self._entries = {digest: entry for entry, digest in enumerate(memory.digests)}
        # The entry that the page taken last is.
        self._last: int | None = None

    def entry_of(self, digest: bytes) -> int | None:
        """The place of a page in the memory."""
        return self._entries.get(digest)

    def go_on_from(self, entry: int | None) -> None:
        """Takes note of the page that was taken last and parsed; None for one that is not remembered."""
        self._last = entry

    def take(self, digest: bytes) -> PageNote | None:
        """Takes a page as it was remembered, if nothing about it can be new: its rows count as seen.

        That is so where it follows on the page taken before as it did, from the same row, where each of its
        rows lives in the table with this content, and where of all of them the first alone was seen in this
        pass.
        """
        entry = None if self._last is None else self._last + 1
        if entry is None or entry == len(self._digests) or self._digests[entry] != digest:
            return None
        if not self._can_follow[entry] or not self._index.see_again(self._places_in(entry)):
            return None
        self._last = entry
        return PageNote(digest, self._totals[entry], self._has_more[entry], follows=True, entry=entry)

    def contents(self, note: PageNote) -> Digests:
        """The content digests of the rows of a page that was recognised."""
        assert note.entry is not None
        return self._index.contents_at(self._places_in(note.entry))

    def _places_in(self, entry: int) -> NDArray[np.int32]:
        return self._places[self._starts[entry] : self._starts[entry + 1]]


def _can_follow(memory: PageMemory, places: NDArray[np.int32]) -> list[bool]:
    """Of each page whether it goes on from the last row of the one before, and all its rows are held."""
    if not memory.digests:
        return []
    starts = memory.starts[:-1]
    are_held = np.minimum.reduceat(places, starts) >= 0
    # The first page has none before it. What it is compared with is the last row of all.
    goes_on = places[starts] == places[starts - 1]
    can_follow: list[bool] = (are_held & goes_on & np.array(memory.follows)).tolist()
    return can_follow
