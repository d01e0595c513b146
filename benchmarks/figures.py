"""Figures: what was measured, what it has to reach, and whether it does. Nothing here runs anything."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Measurement:
    """What several runs of one contender took.

    Attributes:
        scenario: What was done.
        contender: By whom.
        messages: How many messages the API has.
        seconds: Wall-clock time of the whole process, of each run.
        cpu_seconds: Processor time, of each run.
        peak_megabytes: The most memory of the process tree, of each run.
        requests: Requests of the last run, by resource.
        database_megabytes: The size of the DuckDB file afterwards, where there is one.

    Example:
        >>> Measurement("first sync", "floor", 1000, [2.0, 1.0, 4.0]).median
        2.0
    """

    scenario: str
    contender: str
    messages: int
    seconds: Sequence[float]
    cpu_seconds: Sequence[float] = ()
    peak_megabytes: Sequence[float] = ()
    requests: dict[str, int] = field(default_factory=dict)
    database_megabytes: float | None = None

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return statistics.median(self.seconds)

    @property
    def peak(self) -> float:
        """The largest of the peaks."""
        return max(self.peak_megabytes, default=0.0)


@dataclass(frozen=True)
class Target:
    """A figure that has to reach something.

    Attributes:
        what: What is measured, in words.
        measured: The figure.
        limit: What it has to reach.
        aim: What it should reach, where that is more.
        at_least: Whether it has to be as large as the limit; otherwise it may be as large at most.
        unit: What it is counted in; `x` for a ratio.

    Example:
        >>> Target("first sync", measured=1.7, limit=2.0, aim=1.5).verdict
        'reached'
    """

    what: str
    measured: float
    limit: float
    aim: float | None = None
    at_least: bool = False
    unit: str = "x"

    @property
    def verdict(self) -> Literal["aim reached", "reached", "NOT REACHED"]:
        """Whether it is reached."""
        if not self._reaches(self.limit):
            return "NOT REACHED"
        return "aim reached" if self.aim is not None and self._reaches(self.aim) else "reached"

    @property
    def asked(self) -> str:
        """What is asked for, in words."""
        words = "at least" if self.at_least else "at most"
        aim = "" if self.aim is None else f" (aim {shown(self.aim, self.unit)})"
        return f"{words} {shown(self.limit, self.unit)}{aim}"

    def _reaches(self, bound: float) -> bool:
        return self.measured >= bound if self.at_least else self.measured <= bound


def beyond(taken: Measurement, given: float, floor: Measurement) -> float:
    """How many times the floor a contender takes, when some seconds are given to it.

    Args:
        taken: The contender.
        given: The seconds that are not counted, such as those of an import.
        floor: What it is compared with.

    Example:
        >>> floor = Measurement("first sync", "floor", 1000, [2.0])
        >>> beyond(Measurement("first sync", "platform", 1000, [3.5]), 0.5, floor)
        1.5
    """
    return (taken.median - given) / floor.median


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median of some values, and in parentheses the smallest and the largest.

    Example:
        >>> spread([3.0, 1.0, 2.5])
        '2.50 (1.00 to 3.00)'
    """
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def shown(value: float, unit: str) -> str:
    """A figure with its unit.

    Example:
        >>> shown(1234.5, "MB"), shown(1.5, "x"), shown(3, "requests")
        ('1,234 MB', '1.50 x', '3 requests')
    """
    digits = 2 if unit in ("x", "s") else 0
    return f"{value:,.{digits}f} {unit}"
