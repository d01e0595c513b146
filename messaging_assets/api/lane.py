"""The way to one host: how many go at once, in which order, and at the pace of its budget.

Who goes on being tried and what is told of a wait belongs to `transport.py`, how fast it may be to `rate.py`.
All of it happens in the transport's event loop.
"""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from messaging_assets.api.rate import RateBudget


class Lane:
    """One host, as everyone who asks it shares it.

    Args:
        budget: How fast it may be asked.
        in_flight: How many requests are under way at once.

    Attributes:
        turns: Held by each request that counts among those under way.
    """

    def __init__(self, budget: RateBudget, in_flight: int) -> None:
        self.budget = budget
        self.turns = asyncio.Semaphore(in_flight)
        self._answered = asyncio.Event()
        self._first_is_busy = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def in_line(self, attempt: int) -> AsyncIterator[None]:
        """Be the first in line: one at a time is, and waits for what the budget allows.

        Args:
            attempt: Which attempt it is. Later ones go first: they have few left.
        """
        if self._first_is_busy:
            await self._until_first(attempt)
        self._first_is_busy = True
        try:
            yield
        finally:
            self._let_next_be_first()

    async def until_answered(self) -> None:
        """Wait until a request that is under way has ended."""
        self._answered.clear()
        await self._answered.wait()

    def end(self) -> None:
        """Note that a request has ended."""
        self.budget.end()
        self._answered.set()

    async def _until_first(self, attempt: int) -> None:
        called = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-attempt, next(self._numbers), called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._let_next_be_first()
            raise

    def _let_next_be_first(self) -> None:
        while self._waiting:
            _, _, called = heapq.heappop(self._waiting)
            if not called.done():
                called.set_result(None)
                return
        self._first_is_busy = False
