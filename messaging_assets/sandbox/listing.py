"""Where each row stands in its list: order, deletions, insertions and moves, without keeping the rows.

Rows are named by a key: a number from 0 for a computed row, a negative number for an added one. What
the rows say stands in `rows`, who changes them in `workspace`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import gcd

from messaging_assets.sandbox.rows import mixed

Key = int

_BLOCK = 40
_LATEST = 160


class Departures:
    """The computed rows that the workspace deletes by itself while it grows: one in forty.

    Of each forty rows created after the epoch, one is deleted when the workspace has grown by some more
    rows. How many are gone before a given one is therefore known without looking at each.
    """

    def __init__(self, initial: int, salt: int) -> None:
        self._initial = initial
        self._salt = salt

    def victim(self, number: int) -> bool:
        """Tell whether a row is deleted sooner or later."""
        grown = number - self._initial
        return grown >= 0 and self._victim(grown // _BLOCK) == number

    def gone(self, number: int, count: int) -> bool:
        """Tell whether a row has been deleted by the time that there are `count` rows."""
        return self.victim(number) and self._happened((number - self._initial) // _BLOCK, count)

    def before(self, number: int, count: int) -> int:
        """Return how many rows with a lower number have been deleted."""
        grown = number - self._initial
        if grown <= 0:
            return 0
        settled = max(count - self._initial - _LATEST, 0) // _BLOCK
        block = grown // _BLOCK
        if block < settled:
            return block + (self._victim(block) < number)
        return settled + sum(
            self._happened(young, count) and self._victim(young) < number
            for young in range(settled, block + 1)
        )

    def _victim(self, block: int) -> int:
        return self._initial + block * _BLOCK + mixed(block, self._salt) % _BLOCK

    def _happened(self, block: int, count: int) -> bool:
        delay = mixed(block, self._salt + 1) % _LATEST
        return count >= self._initial + (block + 1) * _BLOCK + delay


class Shuffle:
    """An order of the first rows that shows nothing of their numbers and never changes."""

    def __init__(self, size: int, salt: int) -> None:
        self._size = size
        self._step = self._coprime(size, salt)
        self._back = pow(self._step, -1, size) if size > 1 else 0
        self._shift = mixed(1, salt) % size if size else 0

    def number(self, index: int) -> int:
        """Return the row that stands at an index; rows after the first `size` stand where they were."""
        return (index * self._step + self._shift) % self._size if index < self._size else index

    def index(self, number: int) -> int:
        """Return the index at which a row stands."""
        return (number - self._shift) * self._back % self._size if number < self._size else number

    @staticmethod
    def _coprime(size: int, salt: int) -> int:
        step = mixed(0, salt) % size if size else 0
        while size > 1 and gcd(step, size) != 1:
            step += 1
        return step


class Listing:
    """The list of a resource: computed rows in their places, some taken out, others put in between.

    Costs memory only for what was taken out or put in. An index is a place among the computed rows, a
    rank a place in the list as it is.

    Args:
        initial: How many rows there are at the epoch.
        departures: The rows that go by themselves, if any do.
        salt: Sets the shuffled order apart from others.
    """

    def __init__(self, initial: int, departures: Departures | None, salt: int) -> None:
        self.count = initial
        self.initial = initial
        self._departures = departures
        self._shuffle = Shuffle(initial, salt)
        self._shuffled = False
        self._taken: set[int] = set()
        self._taken_indexes: list[int] = []
        self._taken_victims: list[int] = []
        self._anchors: list[int] = []
        self._keys: list[Key] = []

    def arrange(self, *, shuffled: bool) -> None:
        """Order the first rows by their numbers, or shuffled."""
        if shuffled != self._shuffled:
            self._shuffled = shuffled
            self._taken_indexes = sorted(map(self._index, self._taken))

    @property
    def added(self) -> Sequence[Key]:
        """The keys that were put in, in the order of the list."""
        return self._keys

    def total(self) -> int:
        """Return how many rows the list has."""
        return self._before(self.count) + len(self._anchors) - bisect_left(self._anchors, self.count)

    def in_place(self, number: int) -> bool:
        """Tell whether a computed row exists and stands in its own place."""
        return 0 <= number < self.count and self._stands(number)

    def keys(self, rank: int, limit: int) -> list[Key]:
        """Return the keys of at most `limit` rows from a rank on."""
        if rank >= self.total() or limit <= 0:
            return []
        if not self._taken and not self._keys and self._departures is None:
            return [self._number(index) for index in range(rank, min(rank + limit, self.count))]
        return list(islice(self._walk(rank), limit))

    def rank(self, key: Key) -> int | None:
        """Return the place of a row, or None if it is not in the list."""
        if self.in_place(key):
            index = self._index(key)
            return (
                self._before(index) + bisect_right(self._anchors, index) - bisect_left(self._anchors, index)
            )
        if key in self._keys:
            place = self._keys.index(key)
            anchor = self._anchors[place]
            return self._before(anchor) + place - bisect_left(self._anchors, anchor)
        return None

    def take(self, key: Key) -> None:
        """Take a row out of the list, wherever it stands."""
        if key in self._keys:
            place = self._keys.index(key)
            del self._keys[place], self._anchors[place]
            return
        index = self._index(key)
        self._taken.add(key)
        self._taken_indexes.insert(bisect_left(self._taken_indexes, index), index)
        if self._departures is not None and self._departures.victim(key):
            self._taken_victims.append(key)

    def put(self, key: Key, rank: int) -> None:
        """Put a row into the list at a rank, or at the end if the list is shorter."""
        if rank >= self.total():
            anchor, place = self.count, len(self._keys)
        else:
            anchor, place = self._locate(rank)
        self._anchors.insert(place, anchor)
        self._keys.insert(place, key)

    def put_back(self, number: int) -> None:
        """Put a computed row back into its own place."""
        self._taken.discard(number)
        self._taken_indexes.remove(self._index(number))
        if number in self._taken_victims:
            self._taken_victims.remove(number)

    def taken_below(self, number: int) -> list[int]:
        """Return the numbers of computed rows that were taken out and are lower than the given one."""
        return sorted(taken for taken in self._taken if taken < number)

    def _walk(self, rank: int) -> Iterator[Key]:
        index, place = self._locate(rank)
        while index <= self.count:
            end = bisect_right(self._anchors, index)
            yield from self._keys[place:end]
            if index < self.count:
                number = self._number(index)
                if self._stands(number):
                    yield number
            place = end
            index += 1

    def _locate(self, rank: int) -> tuple[int, int]:
        """Return the index whose group holds a rank, and the place among the added keys."""
        index = bisect_right(range(self.count + 1), rank, key=self._before) - 1
        return index, bisect_left(self._anchors, index) + rank - self._before(index)

    def _before(self, index: int) -> int:
        """Return how many rows stand before an index and before what was put in just in front of it."""
        gone = bisect_left(self._taken_indexes, index)
        return index - self._departed(index) - gone + bisect_left(self._anchors, index)

    def _departed(self, index: int) -> int:
        if self._departures is None:
            return 0
        # A row that was taken out by hand does not go a second time by itself.
        twice = sum(
            1
            for victim in self._taken_victims
            if victim < index and self._departures.gone(victim, self.count)
        )
        return self._departures.before(index, self.count) - twice

    def _stands(self, number: int) -> bool:
        if number in self._taken:
            return False
        return self._departures is None or not self._departures.gone(number, self.count)

    def _index(self, number: int) -> int:
        return self._shuffle.index(number) if self._shuffled else number

    def _number(self, index: int) -> int:
        return self._shuffle.number(index) if self._shuffled else index


class ByUpdate:
    """The same rows in the order of their last update, oldest first.

    The rows from before the epoch that nobody touched keep their order (their updates have the order of
    their creation) and stand first; the others are sorted, which costs memory for them alone.

    Args:
        listing: The list in its own order.
        touched: The keys of the computed rows that were edited by hand.
        updated: Returns what a key is sorted by.
    """

    def __init__(self, listing: Listing, touched: Sequence[Key], updated: Callable[[Key], int]) -> None:
        initial = listing.initial
        moved = [key for key in touched if listing.in_place(key) and key < initial]
        self._absent = sorted({*listing.taken_below(initial), *moved})
        self._quiet = initial - len(self._absent)
        grown = [number for number in range(initial, listing.count) if listing.in_place(number)]
        self._sorted = sorted([*moved, *grown, *listing.added], key=lambda key: (updated(key), key))

    def total(self) -> int:
        """Return how many rows the list has."""
        return self._quiet + len(self._sorted)

    def keys(self, rank: int, limit: int) -> list[Key]:
        """Return the keys of at most `limit` rows from a rank on."""
        end = min(rank + limit, self.total())
        quiet = [self._quiet_key(place) for place in range(rank, min(end, self._quiet))]
        return quiet + self._sorted[max(rank - self._quiet, 0) : max(end - self._quiet, 0)]

    def _quiet_key(self, rank: int) -> Key:
        index = bisect_right(
            range(self._quiet + len(self._absent) + 1), rank, key=lambda n: n - bisect_left(self._absent, n)
        )
        return index - 1
