"""A list behind limit and offset whose rows come and go while it is read, without HTTP.

For properties over thousands of histories; what a real server does is tested against the sandbox.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random
from typing import Any, Literal

import orjson

from messaging_assets.api.page import Page, PageDecoder

Ordering = Literal["ascending", "descending", "updated ascending", "updated descending", "none"]
Total = Literal["right", "absent", "null", "text", "too high", "too low"]
# By how many rows a wrong total is off.
TOTAL_ERROR = 7
FOUNDED = datetime(2026, 1, 1, tzinfo=UTC)
_DECODE = PageDecoder("data")


@dataclass
class Listing:
    """Rows in an order, changed at random with a rate between requests.

    Attributes:
        reports_total: Whether pages carry a total; what it says is `total`.
        restlessness: How often something happens between two requests.
        floods: Whether rows also come in bursts larger than a page, and with dates of the past.
        moves: Whether rows also move to another place without being changed.
        hides: Whether a quarter of the rows is hidden after slicing.
        ties: Whether ten rows in a row have the same created_at, so that id does not order them.
        alive: The ids of the rows that lived when the reading began and live still.
    """

    random: Random
    rows: int
    limit: int
    ordering: Ordering = "ascending"
    cap: int | None = None
    extra: int = 0
    reports_total: bool = True
    total: Total = "right"
    restlessness: float = 0.0
    floods: bool = False
    moves: bool = False
    hides: bool = False
    ties: bool = False
    in_flight: int = 1
    start: int = 0
    maximum_offset: int | None = None
    asked: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    parsed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clock = self._made = 0
        self._served = False
        self.list: list[dict[str, Any]] = []
        for _ in range(self.rows):
            self._insert()
        if self.ordering == "none":
            self.random.shuffle(self.list)
        self.alive = {row["id"] for row in self.list if not self._is_hidden(row)}

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.list]

    def fetch(self, offset: int, limit: int) -> "_Pending":
        """Answers at once or when the answer is waited for, so that pages arrive in any order."""
        pending = _Pending(self, offset, limit)
        if self.random.random() < 0.5:
            pending.body()
        return pending

    def fetch_all(self, offsets: Sequence[int], limit: int) -> "list[_Pending]":
        self.batches.append(len(offsets))
        return [self.fetch(offset, limit) for offset in offsets]

    def serve(self, offset: int, limit: int) -> Page:
        self._served = True
        self.asked.append(offset)
        size = (limit if self.cap is None else min(limit, self.cap)) + self.extra
        rows = [row for row in self.list[offset : offset + size] if not self._is_hidden(row)]
        page = _DECODE(orjson.dumps({"data": rows, **self._total()}))
        if self.random.random() < self.restlessness:
            self._change()
        return page

    def _total(self) -> dict[str, object]:
        rows = len(self.list)
        said: dict[Total, object] = {
            "right": rows,
            "null": None,
            "text": str(rows),
            "too high": rows + TOTAL_ERROR,
            "too low": max(0, rows - TOTAL_ERROR),
        }
        return {"total": said[self.total]} if self.reports_total and self.total != "absent" else {}

    def _is_hidden(self, row: dict[str, Any]) -> bool:
        return self.hides and int(row["id"][1:]) % 4 == 0

    def _new_row(self, at: int) -> dict[str, Any]:
        self._made += 1
        created = FOUNDED + timedelta(seconds=at // 10 * 10 if self.ties else at)
        # Ids that say nothing about the order.
        identity = f"r{self._made * 7919 % 100_003}"
        return {"id": identity, "created_at": created.isoformat(), "updated": self._clock, "at": at}

    def _insert(self) -> None:
        self._clock += 1
        row = self._new_row(self._clock)
        if "descending" in self.ordering:
            self.list.insert(0, row)
        elif self.ordering == "none" and self._served:
            self.list.insert(self.random.randint(0, len(self.list)), row)
        else:
            self.list.append(row)

    def _flood(self, place: int, count: int) -> None:
        """Rows come in at a place, with the date of the row that stands there; by update they stand last."""
        for _ in range(count):
            if self.ordering.startswith("updated"):
                self._insert()
            else:
                self.list.insert(place, self._new_row(self.list[place]["at"]))

    def _change(self) -> None:
        kinds = ["insert", "delete", "burst", "edit", "edit", "edit"]
        kinds += ["flood", "flood"] * self.floods + ["move", "move"] * self.moves
        kind = self.random.choice(kinds)
        if kind == "insert" or not self.list:
            self._insert()
        elif kind == "edit":
            self._edit(self.random.choice(self.list))
        elif kind == "move":
            row = self.list.pop(self._place())
            self.list.insert(
                self.random.choice([0, self.random.randint(0, len(self.list)), len(self.list)]), row
            )
        elif kind == "flood":
            self._flood(self._place(), self.random.choice([1, 2 * self.limit + 1]))
        else:
            first = self._place()
            count = 1 if kind == "delete" else self.random.choice([2, self.limit, 2 * self.limit + 1])
            for row in self.list[first : first + count]:
                self.alive.discard(row["id"])
            del self.list[first : first + count]

    def _place(self) -> int:
        """A place in the list: its ends, where things mostly happen, or anywhere."""
        last = len(self.list) - 1
        return self.random.choice([0, self.random.randint(0, last), last])

    def _edit(self, row: dict[str, Any]) -> None:
        self._clock += 1
        row["updated"] = self._clock
        if self.ordering.startswith("updated"):
            self.list.remove(row)
            self.list.insert(0 if self.ordering.endswith("descending") else len(self.list), row)


class _Pending:
    """A page that is made when it is first waited for."""

    def __init__(self, listing: Listing, offset: int, limit: int) -> None:
        self._request = (listing, offset, limit)

    @cached_property
    def _page(self) -> Page:
        listing, offset, limit = self._request
        return listing.serve(offset, limit)

    def body(self) -> bytes:
        return orjson.dumps([self._page.records, self._page.total, self._page.has_more])

    def result(self) -> Page:
        page = self._page
        listing, offset, _ = self._request
        listing.parsed.append(offset)
        return page

    def cancel(self) -> bool:
        return True
