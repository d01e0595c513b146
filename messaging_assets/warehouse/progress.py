"""Progress of a sync as it happens: rows, pages, rate and the estimated time left, in a line now and then."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from messaging_assets.api.sweep import SweepProgress

# A line every few seconds: enough to see that it moves, few enough to read.
SECONDS_BETWEEN_LINES = 3.0
# A list is told about by its first page already if that leaves so many requests to be sent.
REQUESTS_WORTH_A_LINE = 10


@dataclass(frozen=True)
class Progress:
    """How far a sync has come.

    Attributes:
        rows: Rows read in the pass under way.
        pages: Pages read.
        total: How many rows there are as far as the API says, None where it is not read to its end.
        seconds: Seconds since the pass began; 0 where they say nothing of the speed yet.
        number: Which pass it is: a list that can't be proved by one is read again.
        requests_per_second: How many requests are allowed now, None for as many as it goes.
        resumed: Rows among them that an earlier run had read.
    """

    rows: int
    pages: int
    total: int | None
    seconds: float
    number: int = 1
    requests_per_second: float | None = None
    resumed: int = 0

    def line(self) -> str:
        """The progress in words.

        Example:
            >>> Progress(rows=2000, pages=20, total=10000, seconds=4.0).line()
            '2,000 of 10,000 rows, 20 pages, 500 rows/s, about 80 requests and 16 s left'
        """
        of = f" of {self.total:,}" if self.total is not None else ""
        parts = [f"{self.rows:,}{of} rows", f"{self.pages:,} page{'s' if self.pages != 1 else ''}"]
        if self.seconds:
            parts.append(f"{self._read / self.seconds:,.0f} rows/s")
        if self.requests_left is not None:
            parts.append(self._left(self.requests_left))
        again = f"pass {self.number}: " if self.number > 1 else ""
        return again + ", ".join(parts)

    @property
    def requests_left(self) -> int | None:
        """How many requests are left if pages go on to be as full, None where that can't be told."""
        if self.total is None or self._read <= 0:
            return None
        return math.ceil(max(0, self.total - self.rows) * self.pages / self._read)

    @property
    def _read(self) -> int:
        return self.rows - self.resumed

    def _left(self, requests: int) -> str:
        """What is left in words: it goes on as fast as so far, or slower if the rate limit says so."""
        left = f"about {requests:,} requests"
        so_far = requests * self.seconds / max(1, self.pages)
        limited = requests / self.requests_per_second if self.requests_per_second else 0.0
        if not self.seconds and not limited:
            return f"{left} left"
        limit = f" at {self.requests_per_second:,.2g} requests/s" if limited > so_far else ""
        return f"{left} and {max(so_far, limited):,.0f} s left{limit}"


class Reporter:
    """Passes progress on, at most once in a few seconds.

    Args:
        tell: Told the progress.
        clock: Seconds that never run backwards.
        rate: Tells how many requests per second are allowed now, None for as many as it goes.
    """

    def __init__(
        self,
        tell: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
        rate: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._rate = rate
        self._started = self._told = clock()
        self._pass = 1
        self._pages_before = 0
        self._is_first = True

    def __call__(self, reading: SweepProgress, *, whole: bool = True) -> None:
        """Takes note of the progress. Each pass over the list counts from its own beginning.

        Args:
            reading: How far the reading has come.
            whole: Whether the list is read to its end, so that its length tells how much is left.
        """
        now = self._clock()
        total = reading.total if whole else None
        resumed = reading.resumed if reading.passes <= 1 else 0
        if self._is_first and whole:
            self._is_first = False
            # The first answer took a connection and a token as well: its time is not that of the next ones.
            first = Progress(reading.rows, reading.pages, total, 0.0, 1, self._rate(), resumed)
            if (first.requests_left or 0) >= REQUESTS_WORTH_A_LINE:
                self._told = now
                self._tell(first)
        if reading.passes > self._pass:
            self._pass, self._started, self._pages_before = reading.passes, now, reading.pages
        if now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            pages, seconds = reading.pages - self._pages_before, now - self._started
            self._tell(Progress(reading.rows, pages, total, seconds, self._pass, self._rate(), resumed))
