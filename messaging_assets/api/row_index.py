"""What is known of a table's rows while it is read: their digests, and whether this pass saw them.

Sixteen bytes a row for the digests of key and content and one for the pass that saw it last, whatever the
size of the rows. How digests are made belongs to `digests`; where the stored ones come from, to the
warehouse.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Digests = NDArray[np.int64]

# New rows are held in a dictionary, at about 200 bytes each, until there are this many; then they move
# into sorted arrays at 17 bytes each.
RECENT_ROWS = 50_000


class Change(IntEnum):
    """What a delivered row is compared with what was held of it."""

    NEW = 0
    CHANGED = 1
    UNCHANGED = 2
    REPEATED = 3


_CHANGES = tuple(Change)


class _Run:
    """Rows sorted by key: parallel arrays of key, content and the pass that saw the row last."""

    def __init__(self, keys: Digests, contents: Digests, passes: NDArray[np.uint8]) -> None:
        self.keys = keys
        self.contents = contents
        self.passes = passes

    def take_in(self, other: "_Run") -> None:
        """Merges another run into this one, column by column, so that one column at a time is there twice."""
        places = np.searchsorted(self.keys, other.keys) + np.arange(len(other.keys))
        ours = np.ones(len(self.keys) + len(other.keys), dtype=np.bool_)
        ours[places] = False
        self.keys = _interleaved(ours, self.keys, other.keys)
        self.contents = _interleaved(ours, self.contents, other.contents)
        self.passes = _interleaved(ours, self.passes, other.passes)


def _interleaved(ours: NDArray[np.bool_], own: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    merged = np.empty(len(ours), dtype=own.dtype)
    merged[ours] = own
    merged[~ours] = others
    return merged


def _sort_by_first(*columns: NDArray[Any]) -> None:
    """Sorts parallel arrays in place by the first of them; equal keys keep their order."""
    order = np.argsort(columns[0], kind="stable")
    for column in columns:
        column[:] = column[order]


def _find(held: Digests, keys: Digests) -> NDArray[np.intp]:
    """The position of each key among sorted ones, -1 where it is not held."""
    if not len(held):
        return np.full(len(keys), -1, dtype=np.intp)
    positions = np.searchsorted(held, keys)
    positions[positions == len(held)] = 0
    return np.where(held[positions] == keys, positions, -1)


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
        >>> [change.name for change in index.record([1, 2, 3], [10, 21, 30])]
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
        self._recent: dict[int, tuple[int, int]] = {}
        self._pass = 0
        self.seen = 0
        self.seen_again = 0

    def begin_pass(self) -> None:
        """Starts counting anew: no row is seen yet in this pass."""
        self._pass += 1
        self.seen = 0
        self.seen_again = 0

    def seen_among(self, keys: Sequence[int]) -> set[int]:
        """Those of the keys whose rows this pass has already delivered."""
        found = {key for key in keys if self._recent.get(key, (0, 0))[1] == self._pass}
        if len(found) == len(keys):
            return found
        wanted = np.array(keys, dtype=np.int64)
        for run in (self._stored, *self._runs):
            positions = _find(run.keys, wanted)
            held = positions[positions >= 0]
            found.update(run.keys[held[run.passes[held] == self._pass]].tolist())
        return found

    def record(self, keys: Sequence[int], contents: Sequence[int]) -> list[Change]:
        """Marks rows as seen in this pass, with the content that they have now; later answers win.

        Returns:
            For each row whether it is new, has changed, is as it was held, or was delivered before in
            this pass with the same content.
        """
        changes = [Change.NEW] * len(keys)
        if len(set(keys)) == len(keys):
            self._record_page(keys, contents, changes)
        else:
            # A row that comes twice in a page is compared with its own first coming.
            for i, (key, content) in enumerate(zip(keys, contents, strict=True)):
                change = changes[i : i + 1]
                self._record_page([key], [content], change)
                changes[i] = change[0]
        if len(self._recent) >= RECENT_ROWS:
            self._compact()
        return changes

    def unseen(self, passes: int = 1) -> "UnseenKeys":
        """The living rows held before the sync that none of the last `passes` passes delivered."""
        stored = self._stored
        missed = stored.passes <= max(0, self._pass - passes)
        keys = np.unique(stored.keys[missed & self._living])
        if not len(keys):
            return UnseenKeys()
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

    def _record_page(self, keys: Sequence[int], contents: Sequence[int], changes: list[Change]) -> None:
        """Records rows of different keys, and says of each that is not new what it is."""
        wanted, given = np.array(keys, dtype=np.int64), np.array(contents, dtype=np.int64)
        elsewhere = np.ones(len(keys), dtype=np.bool_)
        for run in (self._stored, *self._runs):
            positions = _find(run.keys, wanted)
            found = np.flatnonzero(positions >= 0)
            if len(found):
                elsewhere[found] = False
                kinds = self._record_held(run, positions[found], given[found])
                for i, kind in zip(found.tolist(), kinds, strict=True):
                    changes[i] = kind
        for i in np.flatnonzero(elsewhere).tolist():
            held = self._recent.get(keys[i])
            if held is not None:
                changes[i] = self._compared(held, contents[i])
            else:
                self.seen += 1
            self._recent[keys[i]] = (contents[i], self._pass)

    def _record_held(self, run: _Run, positions: NDArray[np.intp], contents: Digests) -> list[Change]:
        differs, passes = run.contents[positions] != contents, run.passes[positions]
        run.contents[positions] = contents
        run.passes[positions] = self._pass
        again = passes == self._pass
        self.seen += int(np.count_nonzero(~again))
        self.seen_again += int(np.count_nonzero((passes == self._pass - 1) & (passes > 0)))
        kinds = np.where(differs, Change.CHANGED, np.where(again, Change.REPEATED, Change.UNCHANGED))
        return [_CHANGES[kind] for kind in kinds.tolist()]

    def _compared(self, held: tuple[int, int], content: int) -> Change:
        before, last_pass = held
        if last_pass != self._pass:
            self.seen += 1
            self.seen_again += last_pass == self._pass - 1 and last_pass > 0
        if before != content:
            return Change.CHANGED
        return Change.REPEATED if last_pass == self._pass else Change.UNCHANGED

    def _compact(self) -> None:
        """Moves the recent rows into a sorted run; runs of similar size are merged, so that few remain."""
        keys = np.fromiter(self._recent, dtype=np.int64, count=len(self._recent))
        values = np.array(list(self._recent.values()), dtype=np.int64)
        contents, passes = values[:, 0].copy(), values[:, 1].astype(np.uint8)
        _sort_by_first(keys, contents, passes)
        run = _Run(keys, contents, passes)
        self._recent = {}
        while self._runs and len(self._runs[-1].keys) <= 2 * len(run.keys):
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
