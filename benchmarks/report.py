"""The results of a run of the benchmarks: as JSON, as tables in Markdown, as a plot."""

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tabulate import tabulate

from benchmarks.figures import Measurement, Target, shown, spread
from benchmarks.plot import draw

PACKAGES = ("dlt", "duckdb", "pyarrow", "orjson", "aiohttp", "dagster")


def write_results(
    folder: Path,
    measurements: Sequence[Measurement],
    targets: Sequence[Target],
    *,
    quick: bool,
    runs: int,
    load: float,
) -> str:
    """Writes results.json, results.md and results.svg.

    Args:
        folder: Where to; made if it is missing.
        measurements: What was measured.
        targets: What had to be reached.
        quick: Whether it was a quick run, whose figures say nothing.
        runs: How often each contender ran.
        load: The load of the machine before it began.

    Returns:
        The tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    machine = machine_words(load)
    results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": {name: version(name) for name in PACKAGES},
        "quick": quick,
        "runs": runs,
        "targets": [dataclasses.asdict(target) | {"verdict": target.verdict} for target in targets],
        "measurements": [dataclasses.asdict(measurement) for measurement in measurements],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    warning = "A quick run: it shows that everything works, and its figures say nothing.\n\n" if quick else ""
    tables = f"{warning}{targets_table(targets)}\n\n{measurements_table(measurements)}\n"
    (folder / "results.md").write_text(f"# Benchmark\n\n{machine}\n\n{tables}")
    draw(folder / "results.svg", measurements)
    return tables


def machine_words(load: float) -> str:
    """The machine, the Python and what else was going on, in a sentence."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores, {gigabytes:.0f} GB, "
        f"Python {platform.python_version()}, load {load:.1f} before it began."
    )


def targets_table(targets: Sequence[Target]) -> str:
    """What had to be reached, and whether it is."""
    rows = [
        [target.what, target.asked, shown(target.measured, target.unit), _marked(target)]
        for target in targets
    ]
    return _table(rows, ["what", "asked for", "measured", "verdict"])


def measurements_table(measurements: Sequence[Measurement]) -> str:
    """What was measured: medians, and in parentheses the smallest and the largest."""
    rows = [
        [
            found.scenario,
            found.contender,
            f"{found.messages:,}",
            spread(found.seconds),
            spread(found.cpu_seconds) if found.cpu_seconds else "",
            f"{found.peak:,.0f}" if found.peak else "",
            ", ".join(f"{name} {count:,}" for name, count in found.requests.items()),
            "" if found.database_megabytes is None else f"{found.database_megabytes:,.1f}",
        ]
        for found in measurements
    ]
    headers = [
        "scenario",
        "contender",
        "messages",
        "seconds",
        "CPU seconds",
        "peak MB",
        "requests",
        "file MB",
    ]
    return _table(rows, headers)


def _marked(target: Target) -> str:
    return f"**{target.verdict}**" if target.verdict == "NOT REACHED" else target.verdict


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
