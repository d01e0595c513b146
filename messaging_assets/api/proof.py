"""What counts as proof that a pass over a list delivered every row of it.

The rules stand here, one function each; what they judge is counted by `sweep`. Anchored paging misses
nothing as long as the rows keep their places among each other. So either the order is shown to rest on
something that does not change, or the list is shown to have held still, or two passes agree.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from messaging_assets.api.page import field_values

Verified = Literal["full", "order", "filter", "no"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a sync can prove that it is complete, and by what.

    Attributes:
        verified: `full` for a whole list, `order` and `filter` for what is new in it, `no` for unproved.
        reason: One clause that says what the verdict rests on, or what is missing.
    """

    verified: Verified
    reason: str


def is_proof(verified: object) -> bool:
    """Whether a value of `verified`, as the ledger and the metadata have it, stands for a complete sync."""
    return verified in ("full", "order", "filter")


@dataclass
class PassCounts:
    """What one pass over a list came to.

    Attributes:
        total_before: The total that the first page reported, None where none did.
        total_after: The total that the last page reported.
        distinct: Rows with a key delivered, each once.
        keyless: Rows without a usable key.
        same_as_before: Rows that the pass before had delivered as well, None for a first pass.
        before: Rows that the pass before had delivered, None for a first pass.
        drift_repaired: How often rows moved while they were read.
        unanchored: Whether pages were taken that nothing ties to the ones before.
        looked_again: Whether a last look found a row of the first page unmoved and unchanged.
        resumed: Whether the pass goes on where an earlier run stopped.
        outgrown: Whether the pass was broken off, since the list grew as fast as it was read.
    """

    total_before: int | None = None
    total_after: int | None = None
    distinct: int = 0
    keyless: int = 0
    same_as_before: int | None = None
    before: int | None = None
    drift_repaired: int = 0
    unanchored: bool = False
    looked_again: bool = False
    resumed: bool = False
    outgrown: bool = False


def judge(counts: PassCounts, order: "OrderEvidence") -> Verdict:
    """Applies the rules to a pass, the cheapest first."""
    if counts.distinct + counts.keyless == 0 and counts.total_after:
        return Verdict("no", f"the API returned no row, and a total of {counts.total_after}")
    if counts.outgrown:
        return Verdict("no", "the list grows as fast as it is read")
    if _held_still(counts):
        return Verdict("full", f"the list held still: {counts.distinct} rows before, after and delivered")
    if _order_is_proof(counts, order) and counts.looked_again:
        return Verdict("full", f"the list is ordered by {order.shown}, so anchored paging misses nothing")
    if _agrees_with_pass_before(counts) and counts.looked_again:
        return Verdict("full", "two passes in a row delivered the same rows, and the head is unmoved")
    return Verdict("no", _what_is_missing(counts))


def needs_last_look(counts: PassCounts, order: "OrderEvidence") -> bool:
    """Whether the verdict hangs on the head of the list being read once more.

    In a list ordered by update time edited rows move while they are unread: to the head, already read, or to
    the end, so that others take their places there. Such a list can pass for one in order of created_at, and
    two passes can agree on the rows that they have by accident.
    """
    if counts.outgrown or _held_still(counts):
        return False
    return _order_is_proof(counts, order) or _agrees_with_pass_before(counts)


def _order_is_proof(counts: PassCounts, order: "OrderEvidence") -> bool:
    return order.shown is not None and not counts.unanchored and not _falls_short(counts)


def _falls_short(counts: PassCounts) -> bool:
    """Whether fewer rows were delivered than the list had at any time: some may have moved while unread."""
    totals = [total for total in (counts.total_before, counts.total_after) if total is not None]
    return counts.distinct + counts.keyless < min(totals, default=0)


def _held_still(counts: PassCounts) -> bool:
    # Between two runs rows can come and go by pairs that leave the total as it was.
    return (
        not counts.resumed
        and counts.total_before is not None
        and counts.total_before == counts.total_after == counts.distinct + counts.keyless
        and counts.drift_repaired == 0
    )


def _agrees_with_pass_before(counts: PassCounts) -> bool:
    return counts.same_as_before == counts.before == counts.distinct


def _what_is_missing(counts: PassCounts) -> str:
    if counts.total_after is None:
        total = "the API reports no total"
    elif counts.total_before != counts.total_after:
        total = f"the total moved from {counts.total_before} to {counts.total_after}"
    else:
        delivered = counts.distinct + counts.keyless
        total = f"the total is {counts.total_after}, the rows delivered are {delivered}"
    return f"the list is not ordered by created_at or id, {total}, and no two passes in a row agree"


class _Monotone:
    """Whether a list rises, or falls, as far as it was read.

    Args:
        follows: Says of two values whether the first may stand behind the second.
    """

    def __init__(self, follows: Callable[[Any, Any], bool]) -> None:
        self.holds = True
        self._follows = follows
        self._frontier: Any = None

    def state(self) -> list[Any]:
        """All that is known, as JSON values."""
        return [self.holds, _as_json(self._frontier)]

    def restore(self, state: list[Any]) -> None:
        """Goes on from a state."""
        self.holds, self._frontier = state[0], _from_json(state[1])

    def add(self, values: Sequence[Any], first_unread: int | None, *, is_last: bool) -> None:
        """Takes note of a page; `first_unread` is the place of the first row that no earlier page reached."""
        if not self.holds:
            return
        try:
            self.holds = self._continues(values, first_unread, is_last=is_last)
        except TypeError:
            # Values that do not compare, a text and a number for example, show no order.
            self.holds = False

    def _continues(self, values: Sequence[Any], first_unread: int | None, *, is_last: bool) -> bool:
        if not all(map(self._follows, values[1:], values)):
            return False
        # A known row that moved can tie a page to the wrong place; then what follows does not continue where
        # the reading stood.
        unread = values[first_unread:] if first_unread is not None else []
        if unread and self._frontier is not None and not self._follows(unread[0], self._frontier):
            return False
        if self._frontier is None or self._follows(values[-1], self._frontier):
            self._frontier = values[-1]
        return not is_last or bool(values[-1] == self._frontier)


class _Order:
    """Whether a list is ordered by one thing, either way."""

    def __init__(self) -> None:
        self._rising = _Monotone(operator.ge)
        self._falling = _Monotone(operator.le)

    def add(self, values: Sequence[Any], first_unread: int | None, *, is_last: bool) -> None:
        self._rising.add(values, first_unread, is_last=is_last)
        self._falling.add(values, first_unread, is_last=is_last)

    def state(self) -> list[Any]:
        return [self._rising.state(), self._falling.state()]

    def restore(self, state: list[Any]) -> None:
        self._rising.restore(state[0])
        self._falling.restore(state[1])

    def break_off(self, *, but: str | None = None) -> None:
        """Gives up both directions, or one of them."""
        self._rising.holds &= but == "ascending"
        self._falling.holds &= but == "descending"

    def holds(self, direction: str) -> bool:
        """Whether the list rises (`ascending`) or falls, or is too short to tell."""
        return (self._rising if direction == "ascending" else self._falling).holds

    @property
    def direction(self) -> str | None:
        return "ascending" if self._rising.holds else "descending" if self._falling.holds else None


class OrderEvidence:
    """Watches whether the list, as it is read, is ordered by something that does not change.

    That is created_at with id among equals, created_at where equals never meet the edge of a page (there
    a row could change places with another unseen), or id.

    Example:
        >>> order = OrderEvidence()
        >>> order.add_page(["2026-01-01", "2026-01-02"], ["b", "a"], first_unread=0, is_last=True)
        >>> order.shown
        'created_at and id, ascending'
    """

    def __init__(self) -> None:
        self._pages = 0
        # The created_at of the first row of the last page.
        self._reached: Any = None
        self._both, self._created, self._ids = _Order(), _Order(), _Order()

    def add_page(
        self, created: Sequence[Any], ids: Sequence[Any], *, first_unread: int | None, is_last: bool
    ) -> None:
        """Takes note of a page.

        Args:
            created: The created_at of each of its rows, in order.
            ids: The id of each of its rows.
            first_unread: The place of the first row that no earlier page reached, None where there is none.
            is_last: Whether the list ends with this page.
        """
        if not ids:
            return
        self._pages += 1
        self._ids.add(ids, first_unread, is_last=is_last)
        instants = instants_of(created)
        self._reached = instants[0] if instants else None
        if instants is None:
            self._both.break_off()
            self._created.break_off()
            return
        self._both.add(list(zip(instants, ids, strict=True)), first_unread, is_last=is_last)
        self._created.add(instants, first_unread, is_last=is_last)
        if len(instants) > 1 and (instants[0] == instants[1] or instants[-1] == instants[-2]):
            self._created.break_off()

    def rely_on(self, order: str) -> None:
        """Takes it that pages which nobody looks at go on in an order, the only one known of them.

        Args:
            order: The order in the words of `shown`. The next page that is added is the last of these pages.
        """
        found, direction = self._named(order)
        for candidate in (self._both, self._created, self._ids):
            candidate.break_off(but=direction if candidate is found else None)

    def state(self) -> dict[str, Any]:
        """All that was watched so far, as JSON values, for a later run to go on from."""
        orders = [self._both, self._created, self._ids]
        return {"pages": self._pages, "orders": [order.state() for order in orders]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "OrderEvidence":
        """Goes on from a state."""
        evidence = cls()
        evidence._pages = state["pages"]
        orders = (evidence._both, evidence._created, evidence._ids)
        for order, saved in zip(orders, state["orders"], strict=True):
            order.restore(saved)
        return evidence

    @property
    def shown(self) -> str | None:
        """The order that the whole list showed, in words, or None."""
        if not self._pages:
            return "nothing, since it is empty"
        for order, name in (
            (self._both, "created_at and id"),
            (self._created, "created_at"),
            (self._ids, "id"),
        ):
            if order.direction is not None:
                return f"{name}, {order.direction}"
        return None

    def has_passed(self, moment: datetime) -> bool:
        """Whether a list in ascending order of created_at is read up to rows that are all younger."""
        is_younger = isinstance(self._reached, datetime) and self._reached > moment
        return is_younger and self._both.direction == "ascending"

    def is_in(self, order: str) -> bool:
        """Whether the pages so far are in an order, given in the words of `shown`."""
        found, direction = self._named(order)
        return found.holds(direction)

    def _named(self, order: str) -> tuple[_Order, str]:
        name, _, direction = order.rpartition(", ")
        return {"created_at and id": self._both, "created_at": self._created, "id": self._ids}[
            name
        ], direction


def order_values(
    records: Sequence[Any], keys: Sequence[int | None], key_field: str
) -> tuple[list[Any], list[Any]]:
    """The created_at and the id of the records of a page that have a key."""
    rows = records
    if None in keys:
        rows = [record for record, key in zip(records, keys, strict=True) if key is not None]
    return field_values(rows, "created_at"), field_values(rows, key_field)


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"instant": value.isoformat()}
    return [_as_json(part) for part in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return datetime.fromisoformat(value["instant"])
    return tuple(_from_json(part) for part in value) if isinstance(value, list) else value


def instants_of(values: Sequence[Any]) -> list[Any] | None:
    """Values of created_at as things that compare as instants, None where one is missing or unreadable.

    Texts are read as dates with their offsets: 02:10+01:00 is later than 02:50+02:00.
    """
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return list(values)
    try:
        moments = list(map(datetime.fromisoformat, values))
    except (ValueError, TypeError):
        return None
    return [m if m.tzinfo else m.replace(tzinfo=UTC) for m in moments]
