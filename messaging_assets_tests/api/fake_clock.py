"""A clock that runs as fast as tests like: whoever sleeps is woken at once, at the time they asked for."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Time that passes only by sleeping and by `advance`; remembers the sleeps."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        self._passed = 0.0
        self._start = datetime.now(UTC)

    def now(self) -> float:
        return self._passed

    def wall(self) -> datetime:
        return self._start + timedelta(seconds=self._passed)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        until = self._passed + seconds
        await asyncio.sleep(0)
        self._passed = max(self._passed, until)

    def advance(self, seconds: float) -> None:
        self._passed += seconds


class OrderlyClock(FakeClock):
    """A clock for many sleepers and a real server: answers take no time, and sleepers wake one by one.

    Time passes when no request is under way and nobody has anything else to do, to the moment at which the
    first of those who sleep wants to be woken. `under_way` is set by the test, to the transport's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.under_way: Callable[[], int] = lambda: 0
        self._alarms: list[tuple[float, int]] = []
        self._numbers = itertools.count()

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        alarm = (self.now() + seconds, next(self._numbers))
        heapq.heappush(self._alarms, alarm)
        quiet = 0
        # Those who are waked by one another need a few turns of the event loop each.
        while quiet < 20:
            await asyncio.sleep(0)
            is_next = self._alarms[0] == alarm and not self.under_way()
            quiet = quiet + 1 if is_next else 0
            if not is_next:
                await asyncio.sleep(0.0005)
        heapq.heappop(self._alarms)
        self.advance(max(0.0, alarm[0] - self.now()))
