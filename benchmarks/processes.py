"""A contender as a whole process: how long it takes, what it costs, and how much memory its tree holds.

Memory is the resident size of the process and of all its descendants added up, looked at every 10 ms; pages
that two of them share count twice. The kernel's own peak of each process counts too, so that nothing between
two looks is missed in a contender that is a single process, as all of them are. Linux only.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
SECONDS_BETWEEN_LOOKS = 0.01
MEGABYTE = 1_000_000
# How much of a failed contender's complaint is shown.
COMPLAINT_LENGTH = 2_000


class ContenderError(Exception):
    """A contender failed, so that its figures mean nothing."""


@dataclass(frozen=True)
class Run:
    """One process, from its start to its end.

    Attributes:
        seconds: Wall-clock time.
        cpu_seconds: Processor time, of its descendants too.
        peak_megabytes: The most memory that its tree held.
        ended: When it ended, on the clock that all processes of the machine share.
        report: What it printed last, as JSON; empty where that is none.
    """

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    ended: float
    report: Mapping[str, Any]


def run(command: Sequence[str], *, folder: Path, settings: Mapping[str, str]) -> Run:
    """Runs a program to its end, with this Python's programs on its path and no more of this environment.

    Args:
        command: The program and its arguments.
        folder: Where it runs; its home too.
        settings: Its environment.

    Raises:
        ContenderError: It failed.
    """
    programs = Path(sys.executable).parent
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.defpath}",
        "HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        **settings,
    }
    with (folder / "output").open("w+") as output, (folder / "complaints").open("w+") as complaints:
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - programs of this project
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints
        )
        watch = _MemoryWatch(process.pid)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            ended = time.monotonic()
            watch.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            complaints.seek(0)
            raise ContenderError(f"{' '.join(command)} failed: {complaints.read()[-COMPLAINT_LENGTH:]}")
        output.seek(0)
        report = _report_in(output.read())
    return Run(ended - began, used.ru_utime + used.ru_stime, watch.peak / MEGABYTE, ended, report)


def _report_in(output: str) -> Mapping[str, Any]:
    lines = output.splitlines()
    try:
        report = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


class _MemoryWatch:
    """Looks at a process and its descendants again and again, in a thread, until it is stopped."""

    def __init__(self, process: int) -> None:
        self.peak = 0
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Looks no more."""
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            sizes = list(filter(None, map(memory_of, tree_of(self._process))))
            held = sum(size for size, _ in sizes)
            self.peak = max(self.peak, held, *(peak for _, peak in sizes), 0)


def tree_of(process: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield process
    try:
        lists = [file.read_text() for file in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:
        return
    for child in " ".join(lists).split():
        yield from tree_of(int(child))


def memory_of(process: int) -> tuple[int, int] | None:
    """The resident size of a process now, and its largest so far, in bytes; None where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    told = dict(line.split(":", 1) for line in lines if line.startswith("Vm"))
    if "VmRSS" not in told:
        return None
    return tuple(int(told[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
