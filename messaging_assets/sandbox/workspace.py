"""The state of the sandbox's workspace: its resources, its clock, and what was changed by hand.

A resource is computed from numbers (`rows`, `listing`); this module adds the small overlay of rows
that a test or an order inserts, edits, deletes or moves, and names rows by their ids. It knows
nothing of HTTP, and of faults only the order of the lists.

Every public method holds the workspace's lock: tests change it while the server reads it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any, Literal

import orjson

from messaging_assets.sandbox.listing import ByUpdate, Departures, Key, Listing
from messaging_assets.sandbox.rows import (
    Channels,
    Messages,
    Rhythm,
    Row,
    RowMaker,
    Timeline,
    Users,
    iso,
    microseconds,
    mixed,
)

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
"""The moment at which a workspace has the ordered number of rows, and at which growth sets in."""

Order = Literal["ascending", "descending", "updated", "updated_ascending", "none", "unstable"]
Where = int | Literal["head", "middle", "tail", "random"]

_SECOND = 1_000_000


class ManualClock:
    """A clock that stands still until it is told to go on.

    Example:
        >>> clock = ManualClock()
        >>> clock.advance(hours=2)
        >>> clock().isoformat()
        '2025-01-01T02:00:00+00:00'
    """

    def __init__(self, start: datetime = EPOCH) -> None:
        self._now = start

    def __call__(self) -> datetime:
        """Return the moment at which the clock stands."""
        return self._now

    def advance(self, *, hours: float = 0.0, seconds: float = 0.0) -> None:
        """Let time pass."""
        self._now += timedelta(hours=hours, seconds=seconds)


def wall_clock() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Added:
    """A row that stands nowhere but in memory: its fields, or any JSON text at all."""

    fields: Row = field(default_factory=dict)
    text: bytes | None = None


class Resource:
    """One list of the workspace.

    Args:
        name: As in the path.
        maker: Makes the computed rows; None for a resource that has none.
        salt: Sets shuffles and deletions apart from those of other resources and seeds.
    """

    def __init__(self, name: str, maker: RowMaker | None, salt: int) -> None:
        self.name = name
        self.maker = maker
        self.reshape: Callable[[Row], Any] | None = None
        self.changes = 0
        initial = maker.timeline.initial if maker else 0
        loses = maker is not None and maker.loses_rows and maker.timeline.interval > 0
        self.listing = Listing(initial, Departures(initial, salt) if loses else None, salt)
        self._salt = salt
        self._added: dict[Key, _Added] = {}
        self._edits: dict[Key, Row] = {}
        self._ids: dict[Any, Key] = {}
        self._filtered: dict[tuple[object, ...], list[Key]] = {}
        self._by_update: tuple[tuple[int, int], ByUpdate] | None = None

    def advance(self, now: int) -> None:
        """Let the list grow up to a moment."""
        if self.maker is not None:
            self.listing.count = self.maker.timeline.count(now)

    # Reading

    def total(self) -> int:
        """Return how many rows the list has."""
        return self.listing.total()

    def keys(self, order: Order, offset: int, limit: int) -> list[Key]:
        """Return the keys of a page in the order in which the list is served."""
        total = self.total()
        offset, limit = max(offset, 0), max(min(limit, total - offset), 0)
        rows = self._updated() if order.startswith("updated") else self.listing
        if order in ("descending", "updated"):
            return rows.keys(max(total - offset - limit, 0), limit)[::-1]
        return rows.keys(offset, limit)

    def updated_since(self, order: Order, since: int) -> list[Key]:
        """Return the keys of all rows updated at a moment or later, in the order of the list."""
        version = (order, since, self.listing.count, self.changes)
        if version not in self._filtered:
            while len(self._filtered) >= 4:
                del self._filtered[next(iter(self._filtered))]
            keys = self.keys(order, 0, self.total())
            self._filtered[version] = [key for key in keys if self._updated_at(key) >= since]
        return self._filtered[version]

    def rank(self, order: Order, key: Key) -> int | None:
        """Return the place of a row in the order in which the list is served."""
        if order.startswith("updated"):
            keys = self.keys(order, 0, self.total())
            return keys.index(key) if key in keys else None
        rank = self.listing.rank(key)
        return rank if rank is None or order != "descending" else self.total() - 1 - rank

    def find(self, identity: object) -> Key | None:
        """Return the key of the row with this id, or None if there is none."""
        key = self._ids.get(_hashable(identity))
        if key is None:
            key = self._number(identity)
        if key is None or self.listing.rank(key) is None:
            return None
        row = self.row(key)
        return key if isinstance(row, dict) and row.get("id") == identity else None

    def row(self, key: Key) -> Any:
        """Return a row as a JSON value."""
        added = self._added.get(key)
        if added is not None and added.text is not None:
            return json.loads(added.text)
        row = self._fields(key, added)
        return row if self.reshape is None else self.reshape(row)

    def part(self, key: Key) -> Any:
        """Return a row as something that orjson can write."""
        added = self._added.get(key)
        if added is not None and added.text is not None:
            return orjson.Fragment(added.text)
        row = self._fields(key, added)
        if self.reshape is None:
            return row
        changed = self.reshape(row)
        return changed if _writable(changed) else orjson.Fragment(json.dumps(changed))

    # Changing

    def insert(self, key: Key, rank: int, fields: Row) -> None:
        """Put a row with these fields into the list."""
        self._added[key] = _Added(fields)
        self._remember(fields.get("id"), key)
        self.listing.put(key, rank)
        self.changes += 1

    def insert_text(self, key: Key, rank: int, text: bytes) -> None:
        """Put any JSON text into the list, as it stands."""
        self._added[key] = _Added(text=text)
        value = json.loads(text)
        if isinstance(value, dict):
            self._remember(value.get("id"), key)
        self.listing.put(key, rank)
        self.changes += 1

    def edit(self, key: Key, fields: Row) -> None:
        """Change fields of a row."""
        self._edits[key] = {**self._edits.get(key, {}), **fields}
        if "id" in fields:
            self._remember(fields["id"], key)
        self.changes += 1

    def delete(self, key: Key) -> None:
        """Take a row out of the list."""
        self.listing.take(key)
        self.changes += 1

    def restore(self, key: Key) -> None:
        """Put a computed row back where it was."""
        self.listing.put_back(key)
        self.changes += 1

    def move(self, key: Key, rank: int) -> None:
        """Move a row to another rank."""
        self.listing.take(key)
        self.listing.put(key, rank)
        self.changes += 1

    def created_between(self, rank: int, now: int) -> int:
        """Return a time of creation for a row at this rank that keeps the list in the order of creation."""
        before = self._created_at(rank - 1) if rank > 0 else None
        after = self._created_at(rank) if rank < self.total() else None
        if before is None and after is None:
            return now
        if after is None:
            assert before is not None
            return now if now > before else before + 1000
        return after - _SECOND if before is None else (before + after) // 2

    def number_of(self, identity: object) -> Key | None:
        """Return the number of the computed row with this id, even if it was deleted."""
        return self._number(identity)

    # Within

    def _fields(self, key: Key, added: _Added | None) -> Row:
        if added is not None:
            row = dict(added.fields)
        else:
            assert self.maker is not None
            row = self.maker.row(key, self.listing.count)
        edits = self._edits.get(key)
        return row if edits is None else row | edits

    def _remember(self, identity: object, key: Key) -> None:
        self._ids[_hashable(identity)] = key

    def _number(self, identity: object) -> Key | None:
        if self.maker is None or not isinstance(identity, str):
            return None
        digits = identity.removeprefix(self.maker.prefix)
        if not (digits.isascii() and digits.isdigit()):
            return None
        number = int(digits) - 1
        return (
            number if 0 <= number < self.listing.count and self.maker.identity(number) == identity else None
        )

    def _updated(self) -> ByUpdate:
        version = (self.listing.count, self.changes)
        if self._by_update is None or self._by_update[0] != version:
            edited = [key for key in self._edits if key >= 0]
            self._by_update = version, ByUpdate(self.listing, edited, self._updated_at)
        return self._by_update[1]

    def _updated_at(self, key: Key) -> int:
        row = self.row(key)
        moment = _moment(row, "updated_at")
        return moment if moment is not None else _moment(row, "created_at") or 0

    def _created_at(self, rank: int) -> int | None:
        return _moment(self.row(self.listing.keys(rank, 1)[0]), "created_at")


class Workspace:
    """Users, channels and messages, and whatever resources a test adds.

    Args:
        users: How many users there are at the epoch.
        channels: How many channels there are at the epoch.
        messages: How many messages there are at the epoch.
        growth_per_hour: How many messages an hour are written after the epoch; some of them are edited,
            some get reactions, one in forty is deleted. Users and channels grow with them, 200 and 2,000
            times as slowly. 0 means that nothing changes by itself.
        seed: Sets the contents; the numbers and ids don't depend on it.
        epoch: The moment of the numbers given.
        clock: Returns the present moment; by default the epoch for ever without growth, and the
            computer's clock with it.
        rhythm: When in the week rows come to be; None for evenly.
        cache_megabytes: How many megabytes of pages to keep, for benchmarks that ask for the same ones
            again; by default none.
    """

    def __init__(
        self,
        *,
        users: int = 100,
        channels: int = 8,
        messages: int = 1000,
        growth_per_hour: float = 0.0,
        seed: int = 1,
        epoch: datetime = EPOCH,
        clock: Callable[[], datetime] | None = None,
        rhythm: Rhythm | None = None,
        cache_megabytes: int = 0,
    ) -> None:
        self.lock = RLock()
        self.order: Order = "ascending"
        self.rotation = 0
        self._seed = seed
        self._clock = clock or (wall_clock if growth_per_hour > 0 else ManualClock(epoch))
        self._changes = 0
        self._cache: dict[tuple[object, ...], bytes] = {}
        self._cache_room = cache_megabytes << 20

        def timeline(initial: int, spacing: int, share: float, salt: int) -> Timeline:
            return Timeline.of(
                initial,
                epoch=epoch,
                spacing_seconds=spacing,
                growth_per_hour=growth_per_hour * share,
                salt=seed * 64 + salt,
                rhythm=rhythm,
            )

        self.users = Users(timeline(users, 3600, 1 / 200, 8))
        self.channels = Channels(timeline(channels, 86_400, 1 / 2000, 16), self.users)
        self.messages = Messages(timeline(messages, 60, 1.0, 24), self.users, self.channels)
        self._resources = {
            "users": Resource("users", self.users, seed * 64 + 32),
            "channels": Resource("channels", self.channels, seed * 64 + 40),
            "messages": Resource("messages", self.messages, seed * 64 + 48),
        }

    # Reading

    def names(self) -> tuple[str, ...]:
        """Return the names of the resources."""
        return tuple(self._resources)

    def has(self, resource: str) -> bool:
        """Tell whether there is such a resource."""
        return resource in self._resources

    def total(self, resource: str) -> int:
        """Return how many rows a resource has now."""
        with self.lock:
            return self._at(resource).total()

    def keys(
        self, resource: str, offset: int = 0, limit: int | None = None, *, since: int | None = None
    ) -> list[Key]:
        """Return the keys of the rows at some places of the list, in the order in which it is served.

        Args:
            resource: The name of the list.
            offset: The first place, from 0.
            limit: How many at most; all by default.
            since: Only rows updated at this moment (microseconds since 1970) or later; the places are
                those among these rows.
        """
        with self.lock:
            at = self._at(resource)
            if since is not None:
                end = None if limit is None else offset + limit
                return at.updated_since(self.order, since)[offset:end]
            total = at.total()
            limit = total if limit is None else limit
            if self.order == "unstable":
                return self._rotated(at, offset, limit, total)
            return at.keys(self.order, offset, limit)

    def count_since(self, resource: str, since: int) -> int:
        """Return how many rows were updated at a moment or later."""
        with self.lock:
            return len(self._at(resource).updated_since(self.order, since))

    def written(self, resource: str, key: Key) -> bytes:
        """Return a row as JSON."""
        with self.lock:
            return orjson.dumps(self._at(resource).part(key))

    def written_array(self, resource: str, keys: Sequence[Key]) -> bytes:
        """Return rows as a JSON array."""
        with self.lock:
            at = self._at(resource)
            name = (resource, at.changes, at.listing.count, *keys)
            text = self._cache.get(name)
            if text is None:
                text = orjson.dumps([at.part(key) for key in keys])
                if len(text) <= self._cache_room:
                    self._cache_room -= len(text)
                    self._cache[name] = text
            return text

    def rows(self, resource: str, keys: Iterable[Key] | None = None) -> list[Any]:
        """Return rows as JSON values; all of them, in the order of the list, by default."""
        with self.lock:
            at = self._at(resource)
            return [_as_sent(at.row(key)) for key in (self.keys(resource) if keys is None else keys)]

    def find(self, resource: str, identity: object) -> Key | None:
        """Return the key of a row by its id, or None."""
        with self.lock:
            return self._at(resource).find(identity)

    def rank(self, resource: str, identity: object) -> int | None:
        """Return the place of a row in the list as it is served, by its id, or None."""
        with self.lock:
            at = self._at(resource)
            key = at.find(identity)
            return None if key is None else at.rank(self.order, key)

    def place(self, resource: str, where: Where, count: int = 1) -> int:
        """Return the first place of so many rows at the head, in the middle, at the tail or anywhere."""
        with self.lock:
            room = max(self._at(resource).total() - count, 0)
            if isinstance(where, int):
                return min(max(where, 0), room)
            self._changes += 1
            places = {"head": 0, "middle": room // 2, "tail": room}
            return places[where] if where in places else mixed(self._changes, self._seed) % (room + 1)

    def members(self, channel: str, offset: int, limit: int) -> tuple[list[Row], int] | None:
        """Return a page of a channel's members and how many there are, or None without such a channel."""
        with self.lock:
            key = self._at("channels").find(channel)
            if key is None:
                return None
            if key < 0:
                return [], 0
            total = self.channels.member_count(key)
            places = range(offset, min(offset + limit, total))
            return [self.channels.member(key, place) for place in places], total

    # Changing

    def arrange(self, order: Order) -> None:
        """Serve every list in this order."""
        with self.lock:
            if order == self.order:
                return
            self.order = order
            for resource in self._resources.values():
                resource.listing.arrange(shuffled=order == "none")

    def insert(self, resource: str, where: Where = "tail", **fields: Any) -> Any:
        """Insert a row and return its id.

        Fields that are not given are made up. The time of creation is such that a list in the order of
        creation stays so; a list in the order of update has its own place for the row.
        """
        with self.lock:
            at, now = self._at(resource), self._now()
            rank = self._insertion_rank(at, where)
            in_order = self.order in ("ascending", "descending")
            created = at.created_between(rank, now) if in_order else now
            row = self._made_up(at)
            stamp = max(self._stamp(now), created)
            row.update(created_at=iso(created), updated_at=iso(stamp))
            row.update(fields)
            key = -self._changes
            if _writable(row):
                at.insert(key, rank, row)
            else:
                at.insert_text(key, rank, json.dumps(row).encode())
            return row["id"]

    def raw_row(self, resource: str, value: Any, where: Where = "tail") -> None:
        """Insert any JSON value as a row, as it stands: not only objects, and nothing is made up."""
        self.raw_text(resource, json.dumps(value), where)

    def raw_text(self, resource: str, text: str | bytes, where: Where = "tail") -> None:
        """Insert any valid JSON text as a row, as it stands: huge numbers, lone surrogates, repeated keys."""
        with self.lock:
            at = self._at(resource)
            self._changes += 1
            text = text.encode() if isinstance(text, str) else text
            at.insert_text(-self._changes, self._insertion_rank(at, where), text)

    def replace(self, resource: str, identity: object, value: Any) -> None:
        """Put any JSON value in the place of a row."""
        with self.lock:
            at = self._at(resource)
            key = self._key(at, identity)
            rank = at.listing.rank(key)
            assert rank is not None
            at.delete(key)
            self._changes += 1
            at.insert_text(-self._changes, rank, json.dumps(value).encode())

    def edit(self, resource: str, identity: object, **fields: Any) -> None:
        """Change fields of a row, and its time of update unless that is among them."""
        with self.lock:
            at = self._at(resource)
            self._edit(at, self._key(at, identity), fields)

    def delete(self, resource: str, *identities: object) -> None:
        """Delete rows."""
        with self.lock:
            at = self._at(resource)
            for key in [self._key(at, identity) for identity in identities]:
                at.delete(key)

    def restore(self, resource: str, identity: str) -> None:
        """Bring a deleted row back to where it was; one that was inserted has to be inserted again."""
        with self.lock:
            at = self._at(resource)
            key = at.number_of(identity)
            if key is None or at.listing.rank(key) is not None:
                raise KeyError(identity)
            at.restore(key)

    def move(self, resource: str, identity: object, where: Where = "head") -> None:
        """Move a row to another place in the list, without changing it."""
        with self.lock:
            at = self._at(resource)
            self._move(at, self._key(at, identity), where)

    def delete_at(self, resource: str, where: Where, count: int = 1) -> None:
        """Delete rows that stand side by side."""
        with self.lock:
            for key in self._keys_at(resource, where, count):
                self._at(resource).delete(key)

    def edit_at(self, resource: str, where: Where, count: int = 1, **fields: Any) -> None:
        """Edit rows that stand side by side: the given fields, or the text (the name, without a text)."""
        with self.lock:
            at = self._at(resource)
            for key in self._keys_at(resource, where, count):
                self._edit(at, key, fields or self._new_text(at, key))

    def move_at(self, resource: str, where: Where, count: int = 1, to: Where = "head") -> None:
        """Move rows that stand side by side to another place, one after the other."""
        with self.lock:
            for key in self._keys_at(resource, where, count):
                self._move(self._at(resource), key, to)

    def reshape(self, resource: str, change: Callable[[Row], Any] | None) -> None:
        """Send every row of a resource through a function: new fields, vanished fields, other types."""
        with self.lock:
            at = self._at(resource)
            at.reshape = change
            at.changes += 1

    def add_resource(self, name: str, rows: Sequence[Any] = ()) -> None:
        """Add a list of any name with any JSON values as rows."""
        with self.lock:
            if name in self._resources:
                raise ValueError(f"there is already a resource {name!r}")
            self._resources[name] = Resource(name, None, self._seed * 64 + 56)
            for row in rows:
                self._changes += 1
                self._resources[name].insert_text(
                    -self._changes, self._resources[name].total(), json.dumps(row).encode()
                )

    # Within

    def _at(self, resource: str) -> Resource:
        at = self._resources[resource]
        at.advance(self._now())
        return at

    def _now(self) -> int:
        return microseconds(self._clock())

    def _stamp(self, now: int) -> int:
        """Return a moment that is later for each change, even while the clock stands still."""
        self._changes += 1
        return now + self._changes

    def _rotated(self, at: Resource, offset: int, limit: int, total: int) -> list[Key]:
        """Return a page of the list as if it began in another place each time."""
        count = max(min(limit, total - offset), 0)
        start = (offset + self.rotation) % max(total, 1)
        tail = at.keys(self.order, start, count)
        return tail + at.keys(self.order, 0, count - len(tail))

    def _key(self, at: Resource, identity: object) -> Key:
        key = at.find(identity)
        if key is None:
            raise KeyError(identity)
        return key

    def _keys_at(self, resource: str, where: Where, count: int) -> list[Key]:
        return self.keys(resource, self.place(resource, where, count), count)

    def _edit(self, at: Resource, key: Key, fields: Mapping[str, Any]) -> None:
        stamped = {"updated_at": iso(self._stamp(self._now())), **fields}
        row = at.row(key)
        if _writable(stamped) and isinstance(row, dict):
            at.edit(key, stamped)
        else:
            self.replace(at.name, row["id"], {**row, **stamped})

    def _move(self, at: Resource, key: Key, where: Where) -> None:
        if self.order.startswith("updated"):
            at.edit(key, {"updated_at": iso(self._stamp(self._now()))})
            return
        target = self.place(at.name, where)
        at.move(key, at.total() - 1 - target if self.order == "descending" else target)

    def _insertion_rank(self, at: Resource, where: Where) -> int:
        # One place more than there are rows: behind the last one as well.
        place = self.place(at.name, where, 0)
        return at.total() - place if self.order == "descending" else place

    def _made_up(self, at: Resource) -> Row:
        self._changes += 1
        if at.maker is None:
            identity = f"X{self._changes:06d}"
            return {"id": identity, "name": f"{at.name} {identity}"}
        row = at.maker.row(mixed(self._changes, self._seed) % 1024, 1024)
        return row | {"id": f"{at.maker.prefix}X{self._changes:06d}"}

    def _new_text(self, at: Resource, key: Key) -> Row:
        row = at.row(key)
        name = "text" if isinstance(row, dict) and "text" in row else "name"
        return {name: f"Edited {self._changes}"}


def _hashable(identity: object) -> object:
    # 1, 1.0 and True are the same key of a dictionary, but not the same id.
    return identity if isinstance(identity, str) else (repr(identity),)


def _moment(row: Any, name: str) -> int | None:
    try:
        return microseconds(datetime.fromisoformat(row[name]))
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _as_sent(value: Any) -> Any:
    """Return a value as a client reads it, sharing nothing with the sandbox."""
    return json.loads(json.dumps(value)) if not _writable(value) else orjson.loads(orjson.dumps(value))


def _writable(row: Any) -> bool:
    """Tell whether orjson writes a value as it is."""
    try:
        orjson.dumps(row)
    except (TypeError, ValueError):
        return False
    return True
