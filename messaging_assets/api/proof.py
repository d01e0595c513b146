"""What counts as proof that a pass over a list delivered every row of it.

The rules stand here, one function each; what they judge is counted by `sweep`. Anchored paging misses
nothing as long as the rows keep their places among each other. So either the order is shown to rest on
something that does not change, or the list is shown to have held still, or two passes agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal

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


def judge(counts: PassCounts, order: "OrderEvidence") -> Verdict:
    """Applies the rules to a pass, the cheapest first."""
    if counts.distinct + counts.keyless == 0 and counts.total_after:
        return Verdict("no", f"the API returned no row, and a total of {counts.total_after}")
    if _held_still(counts):
        return Verdict("full", f"the list held still: {counts.distinct} rows before, after and delivered")
    if _order_is_proof(counts, order) and (counts.looked_again or not order.is_descending):
        return Verdict("full", f"the list is ordered by {order.shown}, so anchored paging misses nothing")
    if _agrees_with_pass_before(counts) and counts.looked_again:
        return Verdict("full", "two passes in a row delivered the same rows, and the head is unmoved")
    return Verdict("no", _what_is_missing(counts))


def needs_last_look(counts: PassCounts, order: "OrderEvidence") -> bool:
    """Whether the verdict hangs on the head of the list being read once more.

    In a list ordered by update time an edited row moves to the head, already read, from where it was still
    unread. Such a list can pass for one in descending order of created_at, and two passes can agree on the
    rows that they have by accident.
    """
    if _held_still(counts):
        return False
    if _order_is_proof(counts, order):
        return order.is_descending
    return _agrees_with_pass_before(counts)


def _order_is_proof(counts: PassCounts, order: "OrderEvidence") -> bool:
    return order.shown is not None and not counts.unanchored


def _held_still(counts: PassCounts) -> bool:
    return (
        counts.total_before is not None
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


@dataclass
class _Direction:
    """Whether a sequence has only risen, or only fallen, so far."""

    rising: bool = True
    falling: bool = True

    def add(self, values: Sequence[Any]) -> None:
        if self.rising:
            self.rising = all(a <= b for a, b in pairwise(values))
        if self.falling:
            self.falling = all(a >= b for a, b in pairwise(values))

    @property
    def monotone(self) -> str | None:
        return "ascending" if self.rising else "descending" if self.falling else None


@dataclass
class OrderEvidence:
    """Watches whether the list, as it is read, is ordered by something that does not change.

    That is created_at with id among equals, created_at where equals never meet the edge of a page (there
    a row could change places with another unseen), or id. Each page shares a row with the one before, so
    that pages that are monotone make a list that is.
    """

    _both: _Direction = field(default_factory=_Direction)
    _created: _Direction = field(default_factory=_Direction)
    _ids: _Direction = field(default_factory=_Direction)
    _pages: int = 0
    _comparable: bool = True

    def add_page(self, created: Sequence[Any], ids: Sequence[Any]) -> None:
        """Takes note of a page: the created_at and the id of each of its rows, in order."""
        self._pages += 1
        self._watch_ids(ids)
        instants = instants_of(created) if self._comparable else None
        if instants is None:
            self._comparable = False
            return
        self._created.add(instants)
        if len(instants) > 1 and (instants[0] == instants[1] or instants[-1] == instants[-2]):
            self._created = _Direction(rising=False, falling=False)
        try:
            self._both.add(list(zip(instants, ids, strict=True)))
        except TypeError:
            self._both = _Direction(rising=False, falling=False)

    def _watch_ids(self, ids: Sequence[Any]) -> None:
        try:
            self._ids.add(ids)
        except TypeError:
            self._ids = _Direction(rising=False, falling=False)

    @property
    def shown(self) -> str | None:
        """The order that the whole list showed, in words, or None."""
        if not self._pages:
            return "nothing, since it is empty"
        if self._comparable and self._both.monotone:
            return f"created_at and id, {self._both.monotone}"
        if self._comparable and self._created.monotone:
            return f"created_at, {self._created.monotone}"
        return f"id, {self._ids.monotone}" if self._ids.monotone else None

    @property
    def is_descending(self) -> bool:
        """Whether the order shown is a descending one."""
        return self.shown is not None and "descending" in self.shown


def instants_of(values: Sequence[Any]) -> Sequence[Any] | None:
    """Values of created_at as things that compare as instants, None where one is missing or unreadable.

    Texts of one length that all end in Z compare as they stand; others are read, since 02:10+01:00 is
    later than 02:50+02:00.
    """
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return values
    if not all(isinstance(v, str) for v in values):
        return None
    if len({len(v) for v in values}) <= 1 and all(v.endswith("Z") for v in values):
        return values
    try:
        moments = [datetime.fromisoformat(v) for v in values]
    except ValueError:
        return None
    return [m if m.tzinfo else m.replace(tzinfo=UTC) for m in moments]
