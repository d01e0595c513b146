"""What is known of a table's rows while it is read: their digests, and whether this pass saw them.

Sixteen bytes a row for the digests of key and content and one for the pass that saw it last, whatever the
size of the rows. How digests are made belongs to `digests`; where the stored ones come from, to the
warehouse.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from messaging_assets.api.digests import Digests

# Rows that a pass finds new are held in a dictionary, at about 150 bytes each, until there are this many;
# then they move into sorted arrays at 17 bytes each.
RECENT_ROWS = 50_000
# Keys that are looked for at once where there are very many.
KEYS_AT_ONCE = 100_000
# A sorted run takes in others until it has so many times their rows: each page is looked up in every run.
LARGER_RUN = 16


class Change(IntEnum):
    """What a delivered row is compared with what was held of it."""

    NEW = 0
    CHANGED = 1
    UNCHANGED = 2
    REPEATED = 3


class _Run:
    """Rows sorted by key: parallel arrays of key, content and the pass that saw the row last."""

    def __init__(self, keys: Digests, contents: Digests, passes: NDArray[np.uint8]) -> None:
        self.keys = keys
        self.contents = contents
        self.passes = passes

    def find(self, keys: Digests) -> NDArray[np.intp]:
        """The position of each key, -1 where it is not held."""
        return _find(self.keys, keys)

    def take_in(self, other: "_Run") -> None:
        """Merges another run into this one, column by column, so that one column at a time is there twice."""
        places = np.searchsorted(self.keys, other.keys) + np.arange(len(other.keys))
        ours = np.ones(len(self.keys) + len(other.keys), dtype=np.bool_)
        ours[places] = False
        self.keys = _interleaved(ours, self.keys, other.keys)
        self.contents = _interleaved(ours, self.contents, other.contents)
        self.passes = _interleaved(ours, self.passes, other.passes)


class _LookUp(NamedTuple):
    """What is known of the keys of a page.

    Attributes:
        keys: The keys.
        recent: Those among the recent rows.
        in_runs: Each run with the position of each key in it, -1 where it is not there; none where all of the
            rows are recent.
    """

    keys: list[int]
    recent: set[int]
    in_runs: list[tuple[_Run, NDArray[np.intp]]]


def _find(held: Digests, keys: Digests) -> NDArray[np.intp]:
    """The position of each key among sorted ones, -1 where it is not held.

    The keys are looked for in their order: then each search begins where the one before has ended, in what
    is in the processor's caches already.
    """
    order = keys.argsort()
    in_order = keys[order]
    at = held.searchsorted(in_order)
    found = np.full(len(keys), -1, dtype=np.intp)
    if len(held):
        found[order] = np.where(held.take(at, mode="clip") == in_order, at, -1)
    return found


def _interleaved(ours: NDArray[np.bool_], own: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    merged = np.empty(len(ours), dtype=own.dtype)
    merged[ours] = own
    merged[~ours] = others
    return merged


def _sort_by_first(*columns: NDArray[Any]) -> None:
    """Sorts parallel arrays in place by the first of them; equal keys stand in any order."""
    order = np.argsort(columns[0])
    for column in columns:
        column[:] = column[order]


class RowIndex:
    """The rows held before a sync and those it delivers.

    Args:
        keys: The key digests of the rows held before. The arrays become the index's own, which sorts them
            in place: a million rows are not there twice.
        contents: Their content digests, in the same order.
        living: Which of them live; the others are marked as deleted. All, if nothing is given.

    Example:
        >>> index = RowIndex(np.array([1, 2]), np.array([10, 20]))
        >>> index.begin_pass()
        >>> [Change(change).name for change in index.record([1, 2, 3], [10, 21, 30])]
        ['UNCHANGED', 'CHANGED', 'NEW']
    """

    def __init__(
        self,
        keys: Digests | None = None,
        contents: Digests | None = None,
        living: NDArray[np.bool_] | None = None,
    ) -> None:
        self._keys = np.zeros(0, dtype=np.int64) if keys is None else keys
        self._contents = np.zeros(0, dtype=np.int64) if contents is None else contents
        self._living = np.ones(len(self._keys), dtype=np.bool_) if living is None else living
        self._runs: list[_Run] = []
        # The content of rows that the pass under way found new.
        self._recent: dict[int, int] = {}
        # Whoever records a page has asked before what is known of it.
        self._looked_up = _LookUp([], set(), [])
        self._pass = 0
        self.seen = 0
        self.seen_again = 0

    def begin_pass(self) -> None:
        """Starts counting anew: no row is seen yet in this pass."""
        if self._recent:
            self._compact()
        self._pass += 1
        self.seen = 0
        self.seen_again = 0

    def seen_among(self, keys: Sequence[int]) -> set[int]:
        """Those of the keys whose rows this pass has already delivered."""
        known = self._look_up(keys)
        found = set(known.recent)
        for run, positions in known.in_runs:
            if positions.max() >= 0:
                held = positions[positions >= 0]
                found.update(run.keys[held[run.passes[held] == self._pass]].tolist())
        return found

    def record(self, keys: Sequence[int], contents: Sequence[int] | Digests) -> NDArray[np.uint8]:
        """Marks rows as seen in this pass, with the content that they have now; later answers win.

        Returns:
            For each row the `Change`: whether it is new, has changed, is as it was held, or was delivered
            before in this pass with the same content.
        """
        given = np.asarray(contents, dtype=np.int64)
        if len(set(keys)) == len(keys):
            changes = self._record_page(keys, given)
        else:
            # A row that comes twice in a page is compared with its own first coming.
            one_by_one = [self._record_page(keys[i : i + 1], given[i : i + 1]) for i in range(len(keys))]
            changes = np.concatenate(one_by_one)
        if len(self._recent) >= RECENT_ROWS:
            self._compact()
        return changes

    def places_of(self, contents: Digests) -> NDArray[np.int32]:
        """Where the rows are that were held before the sync, live, and say exactly this; -1 where none is.

        Args:
            contents: Content digests, any number of them. A row's key is part of its content.

        Returns:
            Places for `see_again` and `contents_at`.
        """
        stored = self._stored.contents
        order = np.argsort(stored).astype(np.int32)
        in_order = stored[order]
        places = np.full(len(contents), -1, dtype=np.int32)
        for first in range(0, len(contents), KEYS_AT_ONCE):
            found = _find(in_order, contents[first : first + KEYS_AT_ONCE])
            held = np.flatnonzero(found >= 0)
            at = order[found[held]]
            places[first + held] = np.where(self._living[at], at, -1)
        return places

    def see_again(self, places: NDArray[np.int32]) -> bool:
        """Marks rows as seen as they are held, if of them the first alone was seen in this pass.

        Args:
            places: Where they are (`places_of`).

        Returns:
            Whether it was so; if not, nothing is marked.
        """
        passes = self._stored.passes
        seen = passes.take(places) == self._pass
        if not seen[0] or np.count_nonzero(seen) != 1:
            return False
        passes.put(places, self._pass)
        self.seen += len(places) - 1
        return True

    def see_contents(self, contents: Digests) -> None:
        """Marks the rows held before the sync that live and say exactly this as seen in this pass."""
        places, passes = np.unique(self.places_of(contents)), self._stored.passes
        unseen = places[(places >= 0) & (passes[places] != self._pass)]
        passes[unseen] = self._pass
        self.seen += len(unseen)

    def contents_at(self, places: NDArray[np.int32]) -> Digests:
        """The content digests of rows that were held before the sync, as they are now."""
        return self._stored.contents.take(places)

    def unseen(self, passes: int = 1) -> "UnseenKeys":
        """The living rows held before the sync that none of the last `passes` passes delivered."""
        stored = self._stored
        missed = stored.passes <= max(0, self._pass - passes)
        keys = stored.keys[missed & self._living]
        if not len(keys):
            return UnseenKeys()
        keys = np.unique(keys)
        # A table that was appended to holds keys more than once; one row of a key stands for all of them.
        return UnseenKeys(keys[_find(stored.keys[~missed], keys) < 0])

    @property
    def held_before(self) -> int:
        """How many rows were held before the sync."""
        return len(self._keys)

    @cached_property
    def _stored(self) -> _Run:
        """The rows held before, sorted when first needed: whoever read them is done with that by then."""
        _sort_by_first(self._keys, self._contents, self._living)
        return _Run(self._keys, self._contents, np.zeros(len(self._keys), dtype=np.uint8))

    def _look_up(self, keys: Sequence[int]) -> "_LookUp":
        if self._looked_up.keys != keys:
            recent = set(filter(self._recent.__contains__, keys))
            in_runs: list[tuple[_Run, NDArray[np.intp]]] = []
            runs = [self._stored, *self._runs] if len(self._keys) else self._runs
            if runs and len(recent) < len(keys):
                wanted = np.array(keys, dtype=np.int64)
                in_runs = [(run, run.find(wanted)) for run in runs]
            self._looked_up = _LookUp(list(keys), recent, in_runs)
        return self._looked_up

    def _record_page(self, keys: Sequence[int], contents: Digests) -> NDArray[np.uint8]:
        """Records rows of different keys."""
        known = self._look_up(keys)
        # What is recorded now is not as it was looked up.
        self._looked_up = _LookUp([], set(), [])
        changes = np.full(len(keys), Change.NEW, dtype=np.uint8)
        held = np.zeros(len(keys), dtype=np.bool_)
        for run, positions in known.in_runs:
            found = np.flatnonzero(positions >= 0)
            if len(found) == len(keys):
                return self._record_held(run, positions, contents).astype(np.uint8)
            if len(found):
                held[found] = True
                changes[found] = self._record_held(run, positions[found], contents[found])
        left = np.flatnonzero(~held)
        recent = keys if len(left) == len(keys) else [keys[i] for i in left.tolist()]
        for place, change in self._record_recent(recent, contents[left].tolist(), known.recent):
            changes[left[place]] = change
        return changes

    def _record_held(self, run: _Run, positions: NDArray[np.intp], contents: Digests) -> NDArray[np.intp]:
        differs, passes = run.contents[positions] != contents, run.passes[positions]
        run.contents[positions] = contents
        run.passes[positions] = self._pass
        again = passes == self._pass
        self.seen += int(np.count_nonzero(~again))
        self.seen_again += int(np.count_nonzero((passes == self._pass - 1) & (passes > 0)))
        if not differs.any() and not again.any():
            return np.full(len(positions), Change.UNCHANGED)
        return np.where(differs, Change.CHANGED, np.where(again, Change.REPEATED, Change.UNCHANGED))

    def _record_recent(
        self, keys: Sequence[int], contents: list[int], repeated: set[int]
    ) -> list[tuple[int, Change]]:
        """Records rows that no run holds; gives the places of those that are not new, and what they are."""
        known = [
            (place, Change.REPEATED if self._recent[key] == contents[place] else Change.CHANGED)
            for place, key in enumerate(keys if repeated else ())
            if key in repeated
        ]
        self._recent.update(zip(keys, contents, strict=True))
        self.seen += len(keys) - len(repeated)
        return known

    def _compact(self) -> None:
        """Moves the recent rows into a sorted run; runs of similar size are merged, so that few remain."""
        count = len(self._recent)
        keys = np.fromiter(self._recent, dtype=np.int64, count=count)
        contents = np.fromiter(self._recent.values(), dtype=np.int64, count=count)
        _sort_by_first(keys, contents)
        run = _Run(keys, contents, np.full(count, self._pass, dtype=np.uint8))
        self._recent = {}
        self._looked_up = _LookUp([], set(), [])
        while self._runs and len(self._runs[-1].keys) <= LARGER_RUN * len(run.keys):
            larger = self._runs.pop()
            larger.take_in(run)
            run = larger
        self._runs.append(run)


class UnseenKeys:
    """A set of key digests, held as a sorted array."""

    def __init__(self, keys: Digests | None = None) -> None:
        self._keys = np.zeros(0, dtype=np.int64) if keys is None else keys

    def __len__(self) -> int:
        return len(self._keys)

    def mask(self, keys: Digests) -> NDArray[np.bool_]:
        """Which of the keys are in the set."""
        return _find(self._keys, keys) >= 0
