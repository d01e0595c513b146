"""Progress of a sync as it happens: rows, pages, rate and the estimated time left, in a line now and then."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from messaging_assets.api.sweep import SweepProgress

# A line every few seconds: enough to see that it moves, few enough to read.
SECONDS_BETWEEN_LINES = 3.0


@dataclass(frozen=True)
class Progress:
    """How far a sync has come.

    Attributes:
        rows: Rows read in the pass under way.
        pages: Pages read.
        total: How many rows there are as far as the API says.
        seconds: Seconds since the pass began.
        number: Which pass it is: a list that can't be proved by one is read again.
    """

    rows: int
    pages: int
    total: int | None
    seconds: float
    number: int = 1

    def line(self) -> str:
        """The progress in words.

        Example:
            >>> Progress(rows=2000, pages=20, total=10000, seconds=4.0).line()
            '2,000 of 10,000 rows, 20 pages, 500 rows/s, about 16 s left'
        """
        rate = self.rows / self.seconds if self.seconds else 0.0
        of = f" of {self.total:,}" if self.total is not None else ""
        parts = [f"{self.rows:,}{of} rows", f"{self.pages:,} pages", f"{rate:,.0f} rows/s"]
        if self.total is not None and rate:
            parts.append(f"about {max(0.0, self.total - self.rows) / rate:,.0f} s left")
        again = f"pass {self.number}: " if self.number > 1 else ""
        return again + ", ".join(parts)


class Reporter:
    """Passes progress on, at most once in a few seconds.

    Args:
        tell: Told the progress.
        clock: Seconds that never run backwards.
    """

    def __init__(self, tell: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._started = self._told = clock()
        self._pass = 1
        self._pages_before = 0

    def __call__(self, reading: SweepProgress) -> None:
        """Takes note of the progress. Each pass over the list counts from its own beginning."""
        now = self._clock()
        if reading.passes > self._pass:
            self._pass, self._started, self._pages_before = reading.passes, now, reading.pages
        if now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            pages = reading.pages - self._pages_before
            self._tell(Progress(reading.rows, pages, reading.total, now - self._started, self._pass))
