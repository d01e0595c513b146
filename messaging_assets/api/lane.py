"""The way to one host: how many go at once, in which order, and at the pace of its budget.

Who goes on being tried and what is told of a wait belongs to `transport.py`, how fast it may be to `rate.py`.
All of it happens in the transport's event loop.
"""

import asyncio
import heapq
import itertools
from contextlib import AbstractAsyncContextManager

from messaging_assets.api.rate import RateBudget


class Lane:
    """One host, as everyone who asks it shares it.

    Args:
        budget: How fast it may be asked.
        in_flight: How many requests are under way at once.

    Attributes:
        turns: Held by each request that counts among those under way.
        accepted: How many answers did not refuse the credentials.
    """

    def __init__(self, budget: RateBudget, in_flight: int) -> None:
        self.budget = budget
        self.turns = asyncio.Semaphore(in_flight)
        self.accepted = 0
        self._answered = asyncio.Event()
        self._first_is_busy = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def in_line(self, attempt: int) -> AbstractAsyncContextManager[None]:
        """Be the first in line: one at a time is, and waits for what the budget allows.

        Args:
            attempt: Which attempt it is. Later ones go first: they have few left.
        """
        return _First(self, attempt)

    async def until_answered(self) -> None:
        """Wait until a request that is under way has ended."""
        self._answered.clear()
        await self._answered.wait()

    def end(self) -> None:
        """Note that a request has ended."""
        self.budget.end()
        self._answered.set()

    async def until_first(self, attempt: int) -> None:
        """Wait to be the first in line; whoever is has to let the next one be it."""
        if self._first_is_busy:
            await self._until_called(attempt)
        self._first_is_busy = True

    def let_next_be_first(self) -> None:
        """Be the first in line no more."""
        while self._waiting:
            _, _, called = heapq.heappop(self._waiting)
            if not called.done():
                called.set_result(None)
                return
        self._first_is_busy = False

    async def _until_called(self, attempt: int) -> None:
        called = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-attempt, next(self._numbers), called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self.let_next_be_first()
            raise


class _First(AbstractAsyncContextManager[None]):
    """Being the first in line. A class, since each request goes through it and a generator is slower."""

    def __init__(self, lane: Lane, attempt: int) -> None:
        self._lane = lane
        self._attempt = attempt

    async def __aenter__(self) -> None:
        await self._lane.until_first(self._attempt)

    async def __aexit__(self, *_: object) -> None:
        self._lane.let_next_be_first()
