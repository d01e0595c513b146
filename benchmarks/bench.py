"""The bench: it runs contenders, in rounds and in places of their own, and keeps what they took.

What is measured, on how much, and what it has to reach, stands in `scenarios`.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import contenders
from benchmarks.contenders import Command, Place
from benchmarks.figures import Measurement, Target, shown
from benchmarks.processes import Run, run
from benchmarks.server import ApiServer

# A quick run is to show that everything works: its sizes are so many times smaller.
QUICK = 50
SMALLEST = 1_000
# Gives the command of a contender for an address and a place.
Racer = Callable[[str, Place], Command]


class Bench:
    """Runs contenders and keeps what they took.

    Args:
        folder: An empty folder for everything that is written.
        runs: How often each contender runs.
        quick: Whether to do everything at a small size.
        large: Whether to measure the growth up to five million messages.
        tell: Is told every run, as it ends.

    Attributes:
        measurements: What was measured so far.
        targets: What it came to so far.
    """

    def __init__(
        self, folder: Path, *, runs: int, quick: bool, large: bool, tell: Callable[[str], None]
    ) -> None:
        self.runs = runs
        self.quick = quick
        self.large = large
        self.measurements: list[Measurement] = []
        self.targets: list[Target] = []
        self._folder = folder
        self._tell = tell
        self._places = 0
        self._held = ExitStack()

    def __enter__(self) -> "Bench":
        """Opens nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def size(self, messages: int) -> int:
        """So many messages, or few in a quick run."""
        return max(SMALLEST, messages // QUICK) if self.quick else messages

    def place(self) -> Place:
        """A new folder."""
        self._places += 1
        place = Place(self._folder / f"{self._places:04}")
        place.folder.mkdir()
        return place

    def reach(self, what: str, measured: float, limit: float, **more: Any) -> None:
        """Notes what a figure has to reach."""
        target = Target(what, measured, limit, **more)
        self.targets.append(target)
        self._tell(f"    {what}: {shown(measured, target.unit)}, {target.asked}: {target.verdict}")

    def run(self, scenario: str, command: Command, place: Place) -> Run:
        """Runs a contender once, in a place that stays."""
        done = run(command.words, folder=place.folder, settings=command.settings)
        self._tell(
            f"    {scenario}, {command.contender}: {done.seconds:.2f} s, CPU {done.cpu_seconds:.2f} s, "
            f"{done.peak_megabytes:.0f} MB"
        )
        return done

    def keep(
        self, scenario: str, contender: str, messages: int, runs: Sequence[Run], **more: Any
    ) -> Measurement:
        """Keeps what the runs of a contender took."""
        kept = Measurement(
            scenario,
            contender,
            messages,
            [done.seconds for done in runs],
            [done.cpu_seconds for done in runs],
            [done.peak_megabytes for done in runs],
            **more,
        )
        self.measurements.append(kept)
        return kept

    def race(
        self,
        scenario: str,
        server: ApiServer,
        messages: int,
        racers: Sequence[Racer],
    ) -> dict[str, Measurement]:
        """Runs contenders in turn, several rounds, each time from nothing; by contender what they took."""
        done: dict[str, list[Run]] = {}
        more: dict[str, dict[str, Any]] = {}
        for _ in range(self.runs):
            for racer in racers:
                place = self.place()
                command = racer(server.base_url, place)
                server.take_counts()
                done.setdefault(command.contender, []).append(self.run(scenario, command, place))
                more[command.contender] = {
                    "requests": server.take_counts(),
                    "database_megabytes": place.database_megabytes,
                }
                shutil.rmtree(place.folder)
        return {
            name: self.keep(scenario, name, messages, found, **more[name]) for name, found in done.items()
        }

    @cached_property
    def dlt_modules(self) -> tuple[str, ...]:
        """The modules of dlt that a sync of the platform needs, in the order in which it imports them."""
        with ApiServer(messages=SMALLEST) as server:
            place = self.place()
            done = self.run("warm-up", contenders.platform(server.base_url, place), place)
        return tuple(done.report["modules"])

    def seconds_of_imports(self, found: Mapping[str, Measurement]) -> float:
        """What importing dlt adds to a process that has imported what the floor imports."""
        return found["import dlt"].median - found["no dlt"].median

    @property
    def importers(self) -> list[Racer]:
        """The racers that measure the imports."""
        modules = self.dlt_modules
        return [lambda *_: contenders.imports(()), lambda *_: contenders.imports(modules)]

    @cached_property
    def held(self) -> "Held":
        """A million messages held already, and the server that has them."""
        return self._held.enter_context(_holding(self, self.size(1_000_000)))


class Held:
    """A warehouse that holds what a server has; scenarios change both, and leave them in step.

    Args:
        bench: The bench.
        server: The server.
        messages: How many messages it has.
        place: Where the warehouse is.
    """

    def __init__(self, bench: Bench, server: ApiServer, messages: int, place: Place) -> None:
        self.server = server
        self.messages = messages
        self.place = place
        self._bench = bench

    def sync(self, scenario: str, mode: contenders.Mode = "sync") -> tuple[Run, dict[str, int]]:
        """Syncs by the platform; the requests by resource."""
        command = contenders.platform(self.server.base_url, self.place, mode)
        self.server.take_counts()
        done = self._bench.run(scenario, command, self.place)
        return done, self.server.take_counts()


@contextmanager
def _holding(bench: Bench, messages: int) -> Iterator[Held]:
    with ApiServer(messages=messages) as server:
        held = Held(bench, server, messages, bench.place())
        held.sync("loading")
        yield held
