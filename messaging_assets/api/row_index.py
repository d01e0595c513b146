"""What is known of a table's rows while it is read: their digests, and whether this pass saw them.

Sixteen bytes a row for the digests of key and content and one for the pass that saw it last, whatever the
size of the rows. How digests are made belongs to `digests`; where the stored ones come from, to the
warehouse.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Digests = NDArray[np.int64]

# New rows are held in a dictionary, at about 100 bytes each, until there are this many; then they move
# into sorted arrays at 17 bytes each.
RECENT_ROWS = 50_000


class Change(IntEnum):
    """What a delivered row is compared with what was held of it."""

    NEW = 0
    CHANGED = 1
    UNCHANGED = 2
    REPEATED = 3


class _Run:
    """Rows sorted by key: parallel arrays of key, content and the pass that saw the row last."""

    def __init__(self, keys: Digests, contents: Digests, passes: NDArray[np.uint8]) -> None:
        order = np.argsort(keys, kind="stable")
        self.keys = keys[order]
        self.contents = contents[order]
        self.passes = passes[order]

    def find(self, keys: Digests) -> NDArray[np.intp]:
        """The position of each key, -1 where it is not held."""
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.intp)
        positions = np.searchsorted(self.keys, keys)
        positions[positions == len(self.keys)] = 0
        return np.where(self.keys[positions] == keys, positions, -1)


class RowIndex:
    """The rows held before a sync and those it delivers.

    Args:
        keys: The key digests of the rows held before.
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
        stored = np.zeros(0, dtype=np.int64) if keys is None else keys
        held = np.zeros(0, dtype=np.int64) if contents is None else contents
        self._stored = _Run(stored, held, np.zeros(len(stored), dtype=np.uint8))
        # The same stable order as the run's.
        order = np.argsort(stored, kind="stable")
        self._living = np.ones(len(stored), dtype=np.bool_) if living is None else living[order]
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
            positions = run.find(wanted)
            held = positions[positions >= 0]
            found.update(run.keys[held[run.passes[held] == self._pass]].tolist())
        return found

    def record(self, keys: Sequence[int], contents: Sequence[int]) -> list[Change]:
        """Marks rows as seen in this pass, with the content that they have now; later answers win.

        Returns:
            For each row whether it is new, has changed, is as it was held, or was delivered before in
            this pass with the same content.
        """
        places = self._locate(keys)
        changes = [
            self._record_one(key, content, place)
            for key, content, place in zip(keys, contents, places, strict=True)
        ]
        if len(self._recent) >= RECENT_ROWS:
            self._compact()
        return changes

    def unseen(self, passes: int = 1) -> "UnseenKeys":
        """The living rows held before the sync that none of the last `passes` passes delivered."""
        missed = self._stored.passes <= max(0, self._pass - passes)
        keys = self._stored.keys[missed & self._living]
        # A table that was appended to holds keys more than once; one row of a key stands for all of them.
        return UnseenKeys(np.setdiff1d(keys, self._stored.keys[~missed]))

    @property
    def held_before(self) -> int:
        """How many rows were held before the sync."""
        return len(self._stored.keys)

    def _locate(self, keys: Sequence[int]) -> list[tuple[_Run, int] | None]:
        places: list[tuple[_Run, int] | None] = [None] * len(keys)
        wanted = np.array(keys, dtype=np.int64)
        for run in (self._stored, *self._runs):
            positions = run.find(wanted)
            for i in np.flatnonzero(positions >= 0).tolist():
                places[i] = (run, int(positions[i]))
        return places

    def _record_one(self, key: int, content: int, place: tuple[_Run, int] | None) -> Change:
        if place is None:
            held = self._recent.get(key)
            self._recent[key] = (content, self._pass)
            if held is None:
                self.seen += 1
                return Change.NEW
            before, last_pass = held
        else:
            run, i = place
            before, last_pass = int(run.contents[i]), int(run.passes[i])
            run.contents[i] = content
            run.passes[i] = self._pass
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
        run = _Run(keys, values[:, 0].copy(), values[:, 1].astype(np.uint8))
        self._recent = {}
        while self._runs and len(self._runs[-1].keys) <= 2 * len(run.keys):
            other = self._runs.pop()
            run = _Run(
                np.concatenate([other.keys, run.keys]),
                np.concatenate([other.contents, run.contents]),
                np.concatenate([other.passes, run.passes]),
            )
        self._runs.append(run)


class UnseenKeys:
    """A set of key digests, held as a sorted array."""

    def __init__(self, keys: Digests | None = None) -> None:
        self._keys = np.zeros(0, dtype=np.int64) if keys is None else keys

    def __len__(self) -> int:
        return len(self._keys)

    def mask(self, keys: Digests) -> NDArray[np.bool_]:
        """Which of the keys are in the set."""
        return np.isin(keys, self._keys)
