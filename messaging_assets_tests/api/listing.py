"""A list behind limit and offset whose rows come and go while it is read, without HTTP.

For properties over thousands of histories; what a real server does is tested against the sandbox.
"""

from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

from messaging_assets.api.page import Page

Ordering = Literal["ascending", "descending", "updated ascending", "updated descending", "none"]
FOUNDED = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Listing:
    """Rows in an order, changed at random with a rate between requests.

    Attributes:
        alive: The ids of the rows that lived when the reading began and live still.
    """

    random: Random
    rows: int
    limit: int
    ordering: Ordering = "ascending"
    cap: int | None = None
    reports_total: bool = True
    restlessness: float = 0.0
    in_flight: int = 1
    start: int = 0
    maximum_offset: int | None = None
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clock = 0
        self._served = False
        self.list: list[dict[str, Any]] = []
        for _ in range(self.rows):
            self._insert()
        if self.ordering == "none":
            self.random.shuffle(self.list)
        self.alive = {row["id"] for row in self.list}

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.list]

    def fetch(self, offset: int, limit: int) -> "Future[Page]":
        """Answers at once or when the answer is waited for, so that pages arrive in any order."""
        pending = _Pending(self, offset, limit)
        if self.random.random() < 0.5:
            pending.result()
        return pending

    def serve(self, offset: int, limit: int) -> Page:
        self._served = True
        self.asked.append(offset)
        size = limit if self.cap is None else min(limit, self.cap)
        page = Page([dict(row) for row in self.list[offset : offset + size]], self._total())
        if self.random.random() < self.restlessness:
            self._change()
        return page

    def _total(self) -> int | None:
        return len(self.list) if self.reports_total else None

    def _insert(self) -> None:
        self._clock += 1
        created = (FOUNDED + timedelta(seconds=self._clock)).isoformat()
        # Ids that say nothing about the order.
        row = {"id": f"r{self._clock * 7919 % 100_003}", "created_at": created, "updated": self._clock}
        if "descending" in self.ordering:
            self.list.insert(0, row)
        elif self.ordering == "none" and self._served:
            self.list.insert(self.random.randint(0, len(self.list)), row)
        else:
            self.list.append(row)

    def _change(self) -> None:
        kind = self.random.choice(["insert", "delete", "burst", "edit", "edit", "edit"])
        if kind == "insert" or not self.list:
            self._insert()
        elif kind == "edit":
            self._edit(self.random.choice(self.list))
        else:
            first = self.random.randrange(len(self.list))
            count = 1 if kind == "delete" else self.random.choice([2, self.limit])
            for row in self.list[first : first + count]:
                self.alive.discard(row["id"])
            del self.list[first : first + count]

    def _edit(self, row: dict[str, Any]) -> None:
        self._clock += 1
        row["updated"] = self._clock
        if self.ordering.startswith("updated"):
            self.list.remove(row)
            self.list.insert(0 if self.ordering.endswith("descending") else len(self.list), row)


class _Pending(Future[Page]):
    """A page that is made when it is first waited for."""

    def __init__(self, listing: Listing, offset: int, limit: int) -> None:
        super().__init__()
        self._request = (listing, offset, limit)

    def result(self, timeout: float | None = None) -> Page:
        if not self.done():
            listing, offset, limit = self._request
            self.set_result(listing.serve(offset, limit))
        return super().result(timeout)
