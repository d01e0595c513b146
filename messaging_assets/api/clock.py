"""Time as the transport sees it, so that tests can let it pass at will.

Only time belongs here; what is waited for, and how long, stands in `error_handler.py` and `transport.py`.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time, so that tests can let it pass at will."""

    def now(self) -> float:
        """Return seconds that never run backwards."""

    def wall(self) -> datetime:
        """Return the date and time, with time zone."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""


class SystemClock:
    """The time of the machine."""

    def now(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic()

    def wall(self) -> datetime:
        """Return the date and time, with time zone."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
