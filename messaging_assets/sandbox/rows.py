"""What a row says, computed from its number: users, channels and messages of the sandbox's workspace.

Here stand the times and the contents. Where a row stands in its list is `listing`'s matter, what a
test changed by hand is `workspace`'s.

Everything is a pure function of the row's number, of the seed and of how many rows there are so far.
The clock enters in one place, `Timeline.count`; whatever happens later to a row (an edit, a reaction)
happens when the workspace has grown by so many further rows. Two sandboxes started alike therefore
say the same at the same moment, and no row needs to be kept.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, Protocol

Row = dict[str, Any]

_ALL_BITS = (1 << 64) - 1
_MICROSECONDS = 1_000_000
_LONGEST_PAST = 2 * 365 * 86_400 * _MICROSECONDS
_START_OF_TIME = datetime(1970, 1, 1)


def mixed(number: int, salt: int) -> int:
    """Return 64 bits that look random and depend on nothing but the arguments (splitmix64)."""
    value = (number * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & _ALL_BITS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _ALL_BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _ALL_BITS
    return value ^ (value >> 31)


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970, exactly."""
    return (moment.astimezone(UTC).replace(tzinfo=None) - _START_OF_TIME) // timedelta(microseconds=1)


def iso(moment: int) -> str:
    """Return microseconds since 1970 as the API writes them, such as `2025-01-01T00:00:00.000000Z`."""
    return (_START_OF_TIME + timedelta(microseconds=moment)).isoformat(timespec="microseconds") + "Z"


class Rhythm:
    """A week in which some hours are busier than others, in UTC: office days with a break, quiet nights.

    It bends an even time into one that passes fast in quiet hours, so that what happens evenly happens by the
    rhythm. Both times agree at the beginning of each week, a Monday.

    Args:
        weights: How busy each of the 168 hours of a week is, Monday first, against the others.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        whole = sum(weights)
        # When, in even time, each hour of the week begins.
        self._begins = [_WEEK * before // whole for before in accumulate(weights, initial=0)]

    def bent(self, even: int) -> int:
        """Return the moment for an even one, both in microseconds since 1970; never falls as that rises."""
        week, rest = divmod(even - _FIRST_MONDAY, _WEEK)
        hour = bisect_right(self._begins, rest) - 1
        begin, end = self._begins[hour], self._begins[hour + 1]
        return _FIRST_MONDAY + week * _WEEK + hour * _HOUR + (rest - begin) * _HOUR // (end - begin)

    def even(self, bent: int) -> int:
        """Return an even moment for one of the rhythm: `bent` of it is that moment or just before."""
        week, rest = divmod(bent - _FIRST_MONDAY, _WEEK)
        hour, within = divmod(rest, _HOUR)
        begin, end = self._begins[hour], self._begins[hour + 1]
        return _FIRST_MONDAY + week * _WEEK + begin + within * (end - begin) // _HOUR


_HOUR = 3600 * _MICROSECONDS
_WEEK = 168 * _HOUR
# 1970 began on a Thursday.
_FIRST_MONDAY = 4 * 24 * _HOUR
# Nights are quiet, and never so quiet that six messages an hour on average leave an hour without one.
_DAY_AT_WORK = (4, 3, 3, 3, 3, 4, 6, 12, 24, 34, 36, 32, 20, 28, 34, 35, 30, 22, 14, 10, 8, 6, 5, 4)
_DAY_OFF = (4, 3, 3, 3, 3, 3, 3, 4, 5, 7, 8, 8, 7, 7, 8, 8, 7, 7, 8, 9, 8, 7, 5, 4)
OFFICE_WEEK = Rhythm(_DAY_AT_WORK * 5 + _DAY_OFF * 2)


@dataclass(frozen=True)
class Timeline:
    """When the rows of a resource came to be.

    The first `initial` rows lie before the epoch, each a spacing after the one before it, with some
    jitter that never changes their order. Each later row follows the one before it by an interval. With a
    rhythm these are times of its even clock.

    Args:
        initial: How many rows there are at the epoch.
        epoch: Microseconds since 1970.
        spacing: Microseconds between two rows before the epoch.
        interval: Microseconds between two rows after the epoch; 0 means that nothing is added.
        salt: Sets the jitter apart from that of other resources and seeds.
        rhythm: By which rows come to be; None for evenly.
    """

    initial: int
    epoch: int
    spacing: int
    interval: int
    salt: int
    rhythm: Rhythm | None = None

    @classmethod
    def of(
        cls,
        initial: int,
        *,
        epoch: datetime,
        spacing_seconds: int,
        growth_per_hour: float,
        salt: int,
        rhythm: Rhythm | None = None,
    ) -> "Timeline":
        """Return a timeline that squeezes its past into two years, however many rows there are."""
        spacing = min(spacing_seconds * _MICROSECONDS, _LONGEST_PAST // max(initial, 1))
        interval = round(3600 * _MICROSECONDS / growth_per_hour) if growth_per_hour > 0 else 0
        if growth_per_hour > 0:
            interval = max(interval, 1)
        return cls(initial, microseconds(epoch), spacing, interval, salt, rhythm)

    def count(self, now: int) -> int:
        """Return how many rows have been created up to a moment, deleted ones included."""
        if not self.interval or now <= self.epoch:
            return self.initial
        count = self.initial + (self._even(now) - self._even(self.epoch)) // self.interval
        # Between the two clocks some microseconds are lost.
        while self.created(count) <= now:
            count += 1
        return count

    def created(self, number: int, bits: int | None = None) -> int:
        """Return when a row was created; it rises with the number.

        Args:
            number: The row.
            bits: `mixed(number, salt)`, if the caller has it already.
        """
        if number >= self.initial:
            return self._after_epoch((number - self.initial + 1) * self.interval)
        return self._before_epoch(number, mixed(number, self.salt) if bits is None else bits)

    def touched(self, number: int, later: int, count: int) -> int | None:
        """Return when something happened to a row, or None if it has not happened yet.

        Args:
            number: The row.
            later: How many further rows come before it happens, at least 1.
            count: How many rows there are now.
        """
        if number < self.initial:
            bits = mixed(number, self.salt)
            moment = self._before_epoch(number, bits, after=max(self.spacing * later // 1024, 1))
            return max(moment, self.created(number, bits) + 1)
        return self.created(number + later) if number + later < count else None

    def _before_epoch(self, number: int, bits: int, *, after: int = 0) -> int:
        """Return when a row before the epoch was created, or so many microseconds after."""
        # The jitter leaves the last sixth of the spacing free: an edit of a row falls in there, so that
        # the rows before the epoch have one order, by creation as by update.
        jitter = bits % max(self.spacing * 5 // 6, 1)
        return self._after_epoch((number - self.initial) * self.spacing + jitter + after)

    def _after_epoch(self, passed: int) -> int:
        """Return the moment so many microseconds after the epoch, or before it."""
        if self.rhythm is None:
            return self.epoch + passed
        return self.rhythm.bent(self.rhythm.even(self.epoch) + passed)

    def _even(self, moment: int) -> int:
        return moment if self.rhythm is None else self.rhythm.even(moment)


class RowMaker(Protocol):
    """Makes the rows of one resource."""

    prefix: str
    timeline: Timeline
    loses_rows: bool

    def identity(self, number: int) -> str:
        """Return the id of the row with this number."""

    def row(self, number: int, count: int) -> Row:
        """Return the row with this number, as it is once there are `count` rows."""


class Users:
    """The people and bots of the workspace."""

    prefix = "U"
    loses_rows = False

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline

    def identity(self, number: int) -> str:
        """Return an id such as `U000001`."""
        return f"U{number + 1:06d}"

    def row(self, number: int, count: int) -> Row:
        """Return a user; one in sixteen has changed its profile once."""
        bits = mixed(number, self.timeline.salt)
        created = self.timeline.created(number)
        changed = self.timeline.touched(number, 1 + (bits >> 8) % 8, count) if bits & 15 == 0 else None
        first, last = (
            _FIRST_NAMES[(bits >> 16) % len(_FIRST_NAMES)],
            _LAST_NAMES[(bits >> 24) % len(_LAST_NAMES)],
        )
        return {
            "id": self.identity(number),
            "name": f"{first} {last}",
            "email": f"user{number + 1}@example.com",
            "is_bot": bits >> 32 & 31 == 0,
            "time_zone": _TIME_ZONES[(bits >> 40) % len(_TIME_ZONES)],
            "status": "away" if changed is not None else "active",
            "created_at": iso(created),
            "updated_at": iso(created if changed is None else changed),
        }


class Channels:
    """The channels of the workspace, and who is a member of them."""

    prefix = "C"
    loses_rows = False

    def __init__(self, timeline: Timeline, users: Users) -> None:
        self.timeline = timeline
        self._users = users

    def identity(self, number: int) -> str:
        """Return an id such as `C000001`."""
        return f"C{number + 1:06d}"

    def row(self, number: int, count: int) -> Row:
        """Return a channel; one in eight has had its topic changed once."""
        bits = mixed(number, self.timeline.salt)
        created = self.timeline.created(number)
        changed = self.timeline.touched(number, 1 + (bits >> 8) % 4, count) if bits & 7 == 0 else None
        topic = _TOPICS[(bits >> 16) % len(_TOPICS)]
        return {
            "id": self.identity(number),
            "name": f"{topic}-{number + 1}",
            "topic": f"All about {topic}" + (", and more" if changed is not None else ""),
            "is_private": bits >> 24 & 7 == 0,
            "member_count": self.member_count(number),
            "created_at": iso(created),
            "updated_at": iso(created if changed is None else changed),
        }

    def member_count(self, number: int) -> int:
        """Return how many of the first users are members of a channel."""
        users = self._users.timeline.initial
        return min(users, 2 + mixed(number, self.timeline.salt + 1) % max(users, 1))

    def member(self, number: int, place: int) -> Row:
        """Return the member of a channel who stands at a place, from 0 to `member_count`."""
        users = max(self._users.timeline.initial, 1)
        user = (mixed(number, self.timeline.salt + 2) + place) % users
        joined = self.timeline.created(number) + place * _MICROSECONDS
        return {
            "id": self._users.identity(user),
            "name": self._users.row(user, users)["name"],
            "channel_id": self.identity(number),
            "created_at": iso(joined),
        }


class Messages:
    """The messages of the workspace: written by users, in channels, some of them replies."""

    prefix = "M"
    loses_rows = True

    def __init__(self, timeline: Timeline, users: Users, channels: Channels) -> None:
        self.timeline = timeline
        self._user_count = users.timeline.initial
        count = channels.timeline.initial
        # The square makes some channels far busier than others.
        self._channel_ids = [
            channels.identity(draw * draw * count >> 20) if count else None for draw in range(1024)
        ]

    def identity(self, number: int) -> str:
        """Return an id such as `M000000001`."""
        return f"M{number + 1:09d}"

    def row(self, number: int, count: int) -> Row:
        """Return a message; one in eight is edited, one in four gets a reaction, one in three is a reply."""
        bits = mixed(number, self.timeline.salt)
        created = updated = self.timeline.created(number, bits)
        text = _text(bits)
        reactions: Sequence[Mapping[str, Any]] = _NO_REACTIONS
        kind = bits & 7
        if kind == 0:
            edited = self.timeline.touched(number, 1 + (bits >> 3 & 31), count)
            if edited is not None:
                updated, text = edited, text + " (edited)"
        elif kind < 3:
            reacted = self.timeline.touched(number, 1 + (bits >> 3 & 15), count)
            if reacted is not None:
                updated, reactions = reacted, _REACTIONS[bits >> 8 & 63]
        created_text = iso(created)
        return {
            "id": f"M{number + 1:09d}",
            "name": text[:24],
            "channel_id": self._channel_ids[bits >> 14 & 1023],
            "user_id": self._user_id(bits >> 30 & 0xFFFF),
            "text": text,
            "created_at": created_text,
            "updated_at": created_text if updated == created else iso(updated),
            "reactions": reactions,
            "thread_parent_id": self._parent(number, bits) if number & 3 and bits >> 46 & 2 else None,
        }

    def _user_id(self, draw: int) -> str | None:
        # The square makes some users write far more than others.
        return f"U{(draw * draw * self._user_count >> 32) + 1:06d}" if self._user_count else None

    def _parent(self, number: int, bits: int) -> str:
        # Every fourth message starts a thread and is never a reply, so that no reply answers a reply.
        return self.identity(number - number % 4 - 4 * min(bits >> 48 & 7, number // 4))


def _text(bits: int) -> str:
    first = _SENTENCES[bits >> 6 & 127]
    length = bits >> 52 & 3
    if length == 0:
        return first
    if length == 1:
        return f"{first} {_SENTENCES[bits >> 14 & 127]}"
    second, third = _SENTENCES[bits >> 14 & 127], _SENTENCES[bits >> 22 & 127]
    return (
        f"{first} {second} {third}"
        if length == 2
        else f"{first} {second} {third} {_SENTENCES[bits >> 30 & 127]}"
    )


_NO_REACTIONS: tuple[Mapping[str, Any], ...] = ()
_FIRST_NAMES = (
    "Ada", "Alan", "Amina", "Bjørn", "Chiara", "Dmitri", "Edsger", "Frances", "Grace", "Hedy", "Ines", "José",
    "Katherine", "Linus", "Mary", "Naoko", "Olga", "Priya", "Radia", "Søren", "Tim", "Uma", "Vint", "Łukasz",
)  # fmt: skip
_LAST_NAMES = (
    "Allen", "Bartik", "Cerf", "Dijkstra", "Engelbart", "Fernández", "Goldberg", "Hopper", "Ito", "Johnson",
    "Knuth", "Lovelace", "Müller", "Nakamura", "O'Neil", "Perlman", "Quispe", "Ritchie", "Shannon", "Turing",
)  # fmt: skip
_TIME_ZONES = ("UTC", "Europe/Oslo", "America/Lima", "Asia/Tokyo", "Africa/Nairobi", "Australia/Sydney")
_TOPICS = (
    "general", "random", "help", "releases", "incidents", "design", "data", "hiring", "lunch", "books",
    "music", "support",
)  # fmt: skip
_EMOJI = ("thumbsup", "heart", "eyes", "tada", "rocket", "joy", "thinking", "white_check_mark")
_REACTIONS = tuple(
    tuple(
        {"name": _EMOJI[(draw + place) % 8], "count": 1 + (draw >> 3) + place}
        for place in range(1 + draw % 3)
    )
    for draw in range(64)
)
_OPENINGS = (
    "Has anyone looked at", "I have just finished", "Could somebody please review", "We should talk about",
    "Good news about", "There is a problem with", "Thanks for", "Here is the link to", "Nobody told me about",
    "Let us postpone", "I am still waiting for", "Please don't touch", "+1 for", "Quick question on",
    "Reminder:", "Naïve idea for",
)  # fmt: skip
_OBJECTS = (
    'the "quarterly" report \N{BAR CHART}', "the new on-call plan; it starts on Monday",
    "the migration (part 2 of 3)", "yesterday's outage, see https://status.example.com/?id=42&lang=en",
    "the café's menu \N{HOT BEVERAGE}", "our backlog:\n- first\n- second", "the budget of 1,000 € for tests",
    "the data model, \N{CJK UNIFIED IDEOGRAPH-65E5}\N{CJK UNIFIED IDEOGRAPH-672C} included",
)  # fmt: skip
_SENTENCES = tuple(f"{opening} {thing}." for opening in _OPENINGS for thing in _OBJECTS)
