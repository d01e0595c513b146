"""The report at a glance: one small picture, for places where a page does not fit."""

from typing import TYPE_CHECKING

from messaging_assets.warehouse.report.charts import (
    COLOURS,
    Chart,
    activity_chart,
    channels_chart,
    heatmap_chart,
)
from messaging_assets.warehouse.report.figures import Channels, Figures, Missing
from messaging_assets.warehouse.report.findings import Findings
from messaging_assets.warehouse.report.summary import first_sentence, tiles, verdict
from messaging_assets.warehouse.report.words import day_in_full, shown

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

#: Small enough for an event that carries the picture.
DOTS_PER_INCH = 130
_TILES = 4
_CHANNELS = 5
_SIGNS = {"good": ("✓", "second"), "look": ("!", "warm"), "bad": ("✗", "alarm"), "unknown": ("?", "soft")}


def preview_chart(figures: Figures, findings: Findings) -> Chart:
    """The picture: the numbers at the top, the week, the channels, the hours, and how the data is."""

    def draw(figure: "FigureBase") -> None:
        state, words = verdict(findings)
        sign, role = _SIGNS[state]
        figure.supxlabel(f"{sign}  {words}", x=0.02, ha="left", fontsize=10.5, color=COLOURS[role])
        if isinstance(figures.activity, Missing):
            figure.text(0.5, 0.5, first_sentence(figures), ha="center", color=COLOURS["soft"])
            return
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 3.6)).flat
        _numbers(above, figures)
        left, right = below.subfigures(1, 2, squeeze=False).flat
        upper, lower = right.subfigures(2, 1, squeeze=False).flat
        activity_chart(figures.activity).draw(left)
        channels, heatmap = figures.channels, figures.heatmap
        _part(upper, "channels", None if isinstance(channels, Missing) else channels_chart(_first(channels)))
        _part(lower, "hours", None if isinstance(heatmap, Missing) else heatmap_chart(heatmap))

    title = f"{shown(figures.connection.name)}: {day_in_full(figures.now.date())}"
    return Chart("preview", title, 4.9, draw, width=8.4)


def _numbers(figure: "FigureBase", figures: Figures) -> None:
    found = tiles(figures)[:_TILES]
    for place, tile in enumerate(found):
        left = 0.02 + place / _TILES
        figure.text(left, 0.78, tile.label, color=COLOURS["soft"], fontsize=9)
        figure.text(left, 0.32, tile.value, fontsize=20, fontweight="bold")
        figure.text(left, 0.08, tile.note, color=COLOURS["soft"], fontsize=8.5)


def _part(figure: "FigureBase", what: str, chart: Chart | None) -> None:
    if chart is None:
        figure.text(0.5, 0.5, f"no {what} to show", ha="center", color=COLOURS["soft"])
        return
    figure.suptitle(chart.title, x=0.02, ha="left", fontsize=9.5)
    chart.draw(figure)


def _first(channels: Channels) -> Channels:
    return Channels(channels.busiest[:_CHANNELS], channels.active, channels.health)
