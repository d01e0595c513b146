"""How fast a host may be asked: one budget of requests, shared by everyone who asks it.

It knows the rate that is configured, what the host says in `Retry-After` and in its rate limit headers, and
what its 429s tell when it says nothing else. Time is given and nothing is awaited: who waits, and who is
told of it, stands in `transport.py`; what is tried again, in `error_handler.py`.
"""

import math
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

# After a 429 the rate is halved. It grows back to where it was refused within so many successes, and
# from there on by a tenth with each, until twice that rate shows that it is no longer refused.
SUCCESSES_TO_RECOVER = 30
GROWTH_BEYOND = 0.1
# A request in ten seconds is asked for whatever the host refuses: a success has to be able to happen.
LOWEST_RATE = 0.1
# The rate at which a 429 came is that of the requests of the last second.
MEASURED_SECONDS = 1.0
# A request that starts late leaves the next ones their time, up to this much: timers are never exact.
SLACK_SECONDS = 0.02
# Resets that differ by less are one and the same: they are told in whole seconds, and answers take time.
SAME_RESET_SECONDS = 1.5
# Beyond these a number of seconds is a moment: 2001 in seconds since 1970, and in milliseconds.
EPOCH_SECONDS = 1e9
EPOCH_MILLISECONDS = 1e12

# The names in use, with an X and with the hyphens that one likes, and those of the IETF's draft, without.
_REMAINING = re.compile(r"(x-)?rate-?limit-remaining", re.IGNORECASE)
_FIRST_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)")


class Pause(NamedTuple):
    """How long the next request has to wait, and why.

    Attributes:
        seconds: From now; 0 for not at all, infinity where an answer has to come first.
        why: In words, for people.
    """

    seconds: float
    why: str = ""


NO_PAUSE = Pause(0.0)
AS_ASKED = "as the API asks (Retry-After)"


@dataclass(frozen=True)
class Allowance:
    """What a host says of its rate limit.

    Attributes:
        remaining: Requests that are left.
        seconds: Until there are more.
        limit: How many there are then, None where it does not say.
    """

    remaining: int
    seconds: float
    limit: int | None = None


def allowance_of(headers: Mapping[str, str], *, now: Callable[[], datetime]) -> Allowance | None:
    """Read the rate limit headers of an answer.

    Args:
        headers: Its headers, whose values are found under names in any case.
        now: Tells the time to which a moment is compared, the host's if possible.

    Returns:
        What they say; None where they are missing or make no sense.

    Example:
        >>> allowance_of({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "20"}, now=datetime.now)
        Allowance(remaining=3, seconds=20.0, limit=None)
    """
    name = next(filter(_says_what_remains, headers), None)
    if name is None:
        return None
    family = name[: -len("Remaining")]
    remaining, reset, limit = (
        _number(headers.get(family + word)) for word in ("Remaining", "Reset", "Limit")
    )
    if remaining is None or reset is None:
        return None
    if reset >= EPOCH_MILLISECONDS:
        reset /= 1000
    if reset >= EPOCH_SECONDS:
        reset -= now().timestamp()
    return Allowance(int(remaining), max(reset, 0.0), None if limit is None else int(limit))


# The answers of a host have the same headers, again and again.
@lru_cache
def _says_what_remains(name: str) -> bool:
    return _REMAINING.fullmatch(name) is not None


def _number(value: str | None) -> float | None:
    found = _FIRST_NUMBER.match(value) if value else None
    return float(found[1]) if found else None


class RateBudget:
    """The budget of one host. All of it happens in one thread.

    Args:
        now: Seconds that never run backwards.
        requests_per_second: The rate that is configured, None for as fast as it goes.

    Example:
        >>> budget = RateBudget(lambda: 0.0, requests_per_second=4)
        >>> budget.pause().seconds
        0.0
        >>> budget.start()
        >>> budget.pause().seconds
        0.25
    """

    def __init__(self, now: Callable[[], float], requests_per_second: float | None = None) -> None:
        self.under_way = 0
        self._now = now
        self._configured = requests_per_second
        self._reduced: float | None = None
        self._refused_at = 0.0
        self._slowed_at = -math.inf
        self._is_blocked = False
        self._starts: deque[float] = deque()
        self._next = -math.inf
        self._held_until = -math.inf
        # What the host said last of its limit: None while nothing is known.
        self._remaining: int | None = None
        self._limit = 1
        self._resets_at = -math.inf

    @property
    def rate(self) -> float | None:
        """Requests per second that are allowed now, None for as fast as it goes."""
        return self._configured if self._reduced is None else self._reduced

    def pause(self) -> Pause:
        """Tell how long the next request has to wait."""
        now = self._now()
        held = self._held_until - now
        if held > 0:
            return Pause(held, AS_ASKED)
        if self._is_blocked and self.under_way:
            return Pause(math.inf)
        if self._remaining is not None:
            pause = self._pause_for_reset(now, self._remaining)
            if pause.seconds > 0:
                return pause
        # Sums of fractions miss a moment by a little.
        pace = self._next - now
        return Pause(pace, f"between requests, at {self.rate:.2g} a second") if pace > 1e-6 else NO_PAUSE

    def held(self) -> float:
        """Tell how long Retry-After keeps everyone from asking, from now."""
        return max(0.0, self._held_until - self._now())

    def start(self) -> None:
        """Note that a request starts now."""
        now = self._now()
        self.under_way += 1
        self._starts.append(now)
        while self._starts[0] < now - MEASURED_SECONDS:
            self._starts.popleft()
        rate = self.rate
        if rate is not None:
            is_late = now - self._next > min(SLACK_SECONDS, 1 / rate)
            self._next = (now if is_late else self._next) + 1 / rate

    def end(self) -> None:
        """Note that a request has ended, with an answer or without."""
        self.under_way -= 1

    def hold(self, seconds: float) -> None:
        """Let nobody ask for a time, as Retry-After wants it."""
        self._held_until = max(self._held_until, self._now() + seconds)

    def note_success(self) -> None:
        """Take back a bit of an earlier slowdown."""
        self._is_blocked = False
        if self._reduced is None:
            return
        step = self._refused_at / 2 / SUCCESSES_TO_RECOVER
        self._reduced += step if self._reduced < self._refused_at else self._reduced * GROWTH_BEYOND
        enough = 2 * self._refused_at if self._configured is None else self._configured
        if self._reduced >= enough:
            self._reduced = None
            self._next = min(self._next, self._now())

    def note_refusal(self, started: float) -> None:
        """Slow down after a 429, once for all requests that were under way together.

        Args:
            started: When the refused request started.
        """
        if started <= self._slowed_at:
            return
        now = self._now()
        if not self._is_blocked:
            # Refusals without a success between them tell nothing new of the rate that was too much.
            recent = sum(1 for start in self._starts if start >= now - MEASURED_SECONDS)
            self._refused_at = min(recent / MEASURED_SECONDS, self.rate or math.inf)
        slower = self._refused_at if self._reduced is None else min(self._reduced, self._refused_at)
        self._reduced = max(slower / 2, LOWEST_RATE)
        self._is_blocked = True
        self._slowed_at = now
        self._next = max(self._next, now + 1 / self._reduced)

    def note_allowance(self, allowance: Allowance | None) -> None:
        """Take note of the rate limit headers of an answer, or that it had none to go by."""
        now = self._now()
        if allowance is None:
            if now >= self._resets_at:
                self._remaining = None
            return
        resets_at = now + allowance.seconds
        if self._remaining is None or resets_at > self._resets_at + SAME_RESET_SECONDS:
            self._remaining, self._resets_at = allowance.remaining, resets_at
        elif resets_at >= self._resets_at - SAME_RESET_SECONDS:
            # Answers overtake each other; one of the period before says nothing about this one.
            self._remaining = min(self._remaining, allowance.remaining)
        self._limit = max(1, allowance.limit or 1)

    def _pause_for_reset(self, now: float, remaining: int) -> Pause:
        """Requests under way may or may not be counted yet: no more than are left are under way at once."""
        if now >= self._resets_at:
            # Where the host does not say how many there are, whoever goes first finds out.
            self._remaining, self._resets_at = self._limit, -math.inf
            remaining = self._limit
        if self.under_way < remaining:
            return NO_PAUSE
        if self.under_way and remaining:
            return Pause(math.inf)
        return Pause(self._resets_at - now, "until the API's rate limit begins anew")
