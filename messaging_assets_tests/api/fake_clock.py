"""A clock that runs as fast as tests like: whoever sleeps is woken at once, at the time they asked for."""

import asyncio
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
