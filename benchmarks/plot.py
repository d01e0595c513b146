"""The plot of the results, for the README: how long a first sync takes, and how it all grows with size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.figures import Measurement

FIRST_SYNC = "first sync"
IMPORTS = ("import dlt", "no dlt")
GROWTH = {
    "growth, first sync": "#1f5fa8",
    "growth, reconcile": "#d9822b",
    "growth, sync, unchanged": "#3c9a5f",
}
OURS, THEIRS = "#1f5fa8", "#b8bcc2"
# Title, figure, and whether it grows by powers.
PANELS: Sequence[tuple[str, Callable[[Measurement], float], bool]] = (
    ("seconds", lambda found: found.median, True),
    ("peak memory, MB", lambda found: found.peak, False),
    ("requests", lambda found: sum(found.requests.values()), True),
    ("DuckDB file, MB", lambda found: found.database_megabytes or 0.0, True),
)


def draw(file: Path, measurements: Sequence[Measurement]) -> None:
    """Draws what there is into an SVG file, text as text, the same results as the same file."""
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "benchmarks",
        "font.size": 8,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(9, 5), layout="constrained")
        grid = figure.add_gridspec(2, len(PANELS))
        _first_sync(figure.add_subplot(grid[0, :]), measurements)
        growth = [found for found in measurements if found.scenario in GROWTH]
        for column, panel in enumerate(PANELS if growth else ()):
            axes = figure.add_subplot(grid[1, column])
            _growth(axes, *panel, growth)
            if column == 0:
                figure.legend(loc="outside lower center", ncols=len(GROWTH), frameon=False)
        figure.savefig(file, format="svg", metadata={"Date": None})


def _first_sync(axes: Axes, measurements: Sequence[Measurement]) -> None:
    """The contenders of the smallest first sync."""
    syncs = [m for m in measurements if m.scenario == FIRST_SYNC and m.contender not in IMPORTS]
    smallest = min((found.messages for found in syncs), default=0)
    shown = sorted((m for m in syncs if m.messages == smallest), key=lambda m: m.median, reverse=True)
    colours = [OURS if found.contender == "platform" else THEIRS for found in shown]
    bars = axes.barh([found.contender for found in shown], [found.median for found in shown], color=colours)
    axes.bar_label(bars, fmt="%.1f s", padding=3)
    axes.set_title(f"First sync of {smallest:,} messages, whole process, seconds")


def _growth(
    axes: Axes,
    title: str,
    value: Callable[[Measurement], float],
    by_powers: bool,
    measurements: Sequence[Measurement],
) -> None:
    for scenario, colour in GROWTH.items():
        found = [measurement for measurement in measurements if measurement.scenario == scenario]
        points = [m.messages for m in found], [value(m) for m in found]
        axes.plot(*points, "o-", markersize=3, color=colour, label=scenario.removeprefix("growth, "))
    axes.set_xscale("log")
    if by_powers:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    axes.set_title(title)
    axes.set_xlabel("messages")
