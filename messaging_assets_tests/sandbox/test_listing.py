"""The list against a naive one that keeps every row, over random histories."""

from hypothesis import given, settings
from hypothesis import strategies as st

from messaging_assets.sandbox.listing import Departures, Listing, Shuffle

COUNTS = st.integers(0, 60)
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "put", "move", "back", "grow"]), st.integers(0, 10_000)), max_size=25
)


class Naive:
    """A list that keeps its rows: each computed one in its place, what was put in between them."""

    def __init__(self, initial: int, departures: Departures | None, shuffle: Shuffle | None) -> None:
        self.departures = departures
        self.taken: set[int] = set()
        self.count = initial
        numbers = [shuffle.number(index) for index in range(initial)] if shuffle else range(initial)
        self.slots = [("base", number) for number in numbers]

    def grow(self, by: int) -> None:
        self.slots += [("base", number) for number in range(self.count, self.count + by)]
        self.count += by

    def alive(self) -> list[tuple[str, int]]:
        return [slot for slot in self.slots if slot[0] == "put" or self.stands(slot[1])]

    def keys(self) -> list[int]:
        return [key for _, key in self.alive()]

    def stands(self, number: int) -> bool:
        gone = self.departures is not None and self.departures.gone(number, self.count)
        return number not in self.taken and not gone

    def put(self, key: int, rank: int) -> None:
        alive = self.alive()
        place = self.slots.index(alive[rank]) if rank < len(alive) else len(self.slots)
        self.slots.insert(place, ("put", key))

    def take(self, key: int) -> None:
        if ("put", key) in self.slots:
            self.slots.remove(("put", key))
        else:
            self.taken.add(key)

    def deleted(self) -> list[int]:
        return sorted(number for number in self.taken if ("put", number) not in self.slots)


@settings(max_examples=300, deadline=None)
@given(initial=COUNTS, steps=STEPS, leaves=st.booleans(), shuffled=st.booleans(), salt=st.integers(0, 99))
def test_a_list_that_keeps_nothing_says_what_a_list_says_that_keeps_everything(
    initial: int, steps: list[tuple[str, int]], leaves: bool, shuffled: bool, salt: int
) -> None:
    departures = Departures(initial, salt) if leaves else None
    listing = Listing(initial, departures, salt)
    listing.arrange(shuffled=shuffled)
    naive = Naive(initial, departures, Shuffle(initial, salt) if shuffled else None)
    for place, (step, draw) in enumerate(steps):
        _do(naive, listing, step, draw, added=-1 - place)
        keys = naive.keys()
        assert listing.total() == len(keys)
        assert [key for rank in range(0, len(keys), 7) for key in listing.keys(rank, 7)] == keys
        assert [listing.rank(key) for key in keys] == list(range(len(keys)))
        assert all(listing.rank(number) is None for number in naive.deleted())


def _do(naive: Naive, listing: Listing, step: str, draw: int, added: int) -> None:
    keys, deleted = naive.keys(), naive.deleted()
    if step == "grow":
        naive.grow(draw % 120)
        listing.count = naive.count
    elif step == "put":
        naive.put(added, draw % (len(keys) + 1))
        listing.put(added, draw % (len(keys) + 1))
    elif step == "back" and deleted:
        naive.taken.discard(deleted[draw % len(deleted)])
        listing.put_back(deleted[draw % len(deleted)])
    elif step in ("take", "move") and keys:
        key = keys[draw % len(keys)]
        naive.take(key)
        listing.take(key)
        if step == "move":
            naive.put(key, draw * 7 % len(keys))
            listing.put(key, draw * 7 % len(keys))


@given(size=st.integers(0, 500), salt=st.integers(0, 10_000))
def test_a_shuffle_has_every_row_once_and_finds_it_again(size: int, salt: int) -> None:
    shuffle = Shuffle(size, salt)
    numbers = [shuffle.number(index) for index in range(size + 3)]
    assert sorted(numbers) == list(range(size + 3))
    assert [shuffle.index(number) for number in numbers] == list(range(size + 3))


@given(initial=st.integers(0, 50), count=st.integers(0, 900), salt=st.integers(0, 10_000))
def test_departures_are_counted_as_they_are(initial: int, count: int, salt: int) -> None:
    departures = Departures(initial, salt)
    count += initial
    gone = [number for number in range(count) if departures.gone(number, count)]
    for number in range(count + 1):
        assert departures.before(number, count) == sum(1 for other in gone if other < number)
    # A row that is gone stays gone.
    assert all(departures.gone(number, count + 17) for number in gone)
    assert not any(departures.victim(number) for number in range(initial))
