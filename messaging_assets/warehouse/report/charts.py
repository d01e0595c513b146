"""The charts: each draws some figures on a figure of matplotlib.

Drawing alone belongs here; files and HTML are made elsewhere. matplotlib is imported when something is
drawn: it takes its time. Every colour has a role, so that a page can show a chart in colours of its own.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from messaging_assets.warehouse.report.figures import Activity, Channels, Day, TableState, Waits
from messaging_assets.warehouse.report.words import change, counted, day, duration, number, shown, weekday

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

#: The colour of each role. No two are the same, so that a role can be told by its colour.
COLOURS = {
    "ink": "#1c2733",
    "soft": "#5b6875",
    "line": "#dfe4ea",
    "paper": "#ffffff",
    "main": "#2f6fde",
    "pale": "#bcd2f7",
    "second": "#0e8f7e",
    "shade": "#d5efeb",
    "warm": "#d9822b",
    "alarm": "#c2352b",
    "heat0": "#f1f4f8",
    "heat1": "#d3e2fb",
    "heat2": "#a5c4f6",
    "heat3": "#6d9eee",
    "heat4": "#3a76de",
    "heat5": "#1d4ea8",
}
HEAT = tuple(colour for role, colour in COLOURS.items() if role.startswith("heat"))
#: Width of a chart in inches: that of a phone, so that its letters can be read there.
WIDTH = 4.4
# The first of these that is installed; DejaVu Sans comes with matplotlib.
FONTS = ("Inter", "Helvetica Neue", "Helvetica", "Arial", "Liberation Sans")
# For letters that these don't have.
MORE_FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans Symbols2", "Noto Emoji")
DOTS_PER_INCH = 200
PNG_COLOURS = 64
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
#: Where the axis of the waits has marks, in seconds.
WAITS = (
    *(1, 5, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 20, 30)),
    *(hours * _HOUR for hours in (1, 2, 4, 8, 12)),
    *(days * _DAY for days in (1, 2, 4, 7, 14, 30, 90)),
)


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn.

    Attributes:
        name: For the name of its file.
        title: What it shows.
        height: Its height in inches.
        draw: Draws it on a figure.
    """

    name: str
    title: str
    height: float
    draw: Callable[["FigureBase"], None]
    width: float = WIDTH

    def svg(self) -> str:
        """The chart as SVG, without a title; the colours are those of the roles."""
        return self._saved("svg", titled=False, transparent=True, metadata={"Date": None}).decode()

    def png(self, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
        """The chart as a picture that stands alone, in few colours: half of the bytes, and no eye sees it."""
        from PIL import Image

        drawn = self._saved("png", titled=True, dpi=dots_per_inch)
        target = io.BytesIO()
        with Image.open(io.BytesIO(drawn)) as image:
            # This way of choosing them keeps colours that are rare and strong.
            few = image.convert("RGB").quantize(
                PNG_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
            )
            few.save(target, format="png", optimize=True)
        return target.getvalue()

    def _saved(self, kind: str, *, titled: bool, **settings: Any) -> bytes:
        from matplotlib import style
        from matplotlib.figure import Figure

        with style.context(["default", self._style()]), warnings.catch_warnings():
            # A letter that no font has is drawn as a box.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure = Figure(figsize=(self.width, self.height), layout="constrained")
            if titled:
                figure.suptitle(self.title, x=0.02, ha="left", fontsize=12, fontweight="bold")
            self.draw(figure)
            target = io.BytesIO()
            figure.savefig(target, format=kind, **settings)
        return target.getvalue()

    def _style(self) -> dict[str, Any]:
        return {
            "font.family": _fonts(),
            "font.size": 9.5,
            "text.color": COLOURS["ink"],
            # A dollar sign in a name is no formula.
            "text.parse_math": False,
            "axes.edgecolor": COLOURS["line"],
            "axes.labelcolor": COLOURS["soft"],
            "axes.titlecolor": COLOURS["ink"],
            "axes.titlelocation": "left",
            "axes.titlesize": 9.5,
            "axes.facecolor": "none",
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "axes.spines.bottom": False,
            "grid.color": COLOURS["line"],
            "grid.linewidth": 0.8,
            "xtick.color": COLOURS["soft"],
            "ytick.color": COLOURS["soft"],
            "xtick.major.size": 0,
            "ytick.major.size": 0,
            "xtick.minor.size": 0,
            "ytick.minor.size": 0,
            "figure.facecolor": COLOURS["paper"],
            "svg.fonttype": "none",
            # Names within an SVG are the same each time, and differ between charts.
            "svg.hashsalt": self.name,
        }


def _fonts() -> list[str]:
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return [*[name for name in FONTS if name in installed][:1], *[n for n in MORE_FONTS if n in installed]]


# ---- the week ------------------------------------------------------------------------------------


def activity_chart(figures: Activity) -> Chart:
    """Messages and people by day, over four weeks."""

    def draw(figure: "FigureBase") -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        days = (*figures.days, figures.today)
        _bars(above, days, len(figures.week))
        _people(below, days)
        mondays = [place for place, shown_day in enumerate(days) if shown_day.day.isoweekday() == 1]
        below.set_xticks(mondays, [day(days[place].day) for place in mondays])
        below.set_xlim(-0.8, len(days) - 0.2)

    return Chart("activity", "Messages and people, day by day", 3.5, draw)


def _bars(axes: "Axes", days: Sequence[Day], week: int) -> None:
    whole = len(days) - 1
    earlier, last = range(whole - week), range(whole - week, whole)
    axes.bar(earlier, [days[n].messages for n in earlier], width=0.72, color=COLOURS["pale"])
    axes.bar(last, [days[n].messages for n in last], width=0.72, color=COLOURS["main"])
    today = days[-1].messages
    axes.bar(
        [whole], [today], width=0.68, facecolor="none", edgecolor=COLOURS["main"], linewidth=1, linestyle=":"
    )
    axes.set_title("Messages (strong: the last 7 days, dotted: today)")
    _count_axis(axes)


def _people(axes: "Axes", days: Sequence[Day]) -> None:
    people = [shown_day.active_users for shown_day in days[:-1]]
    axes.fill_between(range(len(people)), people, color=COLOURS["shade"], linewidth=0)
    axes.plot(range(len(people)), people, color=COLOURS["second"], linewidth=1.8)
    axes.set_title("People who wrote")
    _count_axis(axes)


def _count_axis(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")


def channels_chart(figures: Channels) -> Chart:
    """The busiest channels of the week."""

    def draw(figure: "FigureBase") -> None:
        axes = figure.subplots()
        places = range(len(figures.busiest))
        counts = [channel.messages for channel in figures.busiest]
        axes.barh(places, counts, height=0.62, color=COLOURS["main"])
        for place, channel in zip(places, figures.busiest, strict=True):
            # One text, so that no font, wider than this one, can write the parts over each other.
            text = f"{number(channel.messages)} ({change(channel.messages, channel.before)})"
            end = (channel.messages, place)
            axes.annotate(text, end, (4, 0), textcoords="offset points", va="center", color=COLOURS["soft"])
        _names(axes, [channel.name for channel in figures.busiest])
        axes.set_xlim(0, max(counts) * 1.4)
        axes.xaxis.set_visible(False)

    height = 0.5 + 0.27 * len(figures.busiest)
    return Chart("channels", "The busiest channels of the week", height, draw)


def _names(axes: "Axes", names: Sequence[str]) -> None:
    """Names down the left side, the first at the top."""
    axes.set_yticks(range(len(names)), [shown(name) for name in names], color=COLOURS["ink"])
    axes.set_ylim(len(names) - 0.4, -0.6)


def heatmap_chart(figures: Mapping[tuple[int, int], int]) -> Chart:
    """At which hours of the week people write."""

    def draw(figure: "FigureBase") -> None:
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch

        axes = figure.subplots()
        most = max(figures.values())
        steps = len(HEAT) - 1
        # The palest colour is for hours in which nobody wrote.
        shades = [
            [-(-figures.get((weekday_, hour), 0) * steps // most) for hour in range(24)]
            for weekday_ in range(1, 8)
        ]
        axes.pcolormesh(
            shades,
            cmap=ListedColormap(HEAT),
            vmin=-0.5,
            vmax=steps + 0.5,
            edgecolors=COLOURS["paper"],
            linewidth=1.5,
        )
        axes.set_yticks([place + 0.5 for place in range(7)], [weekday(n)[:3] for n in range(1, 8)])
        axes.set_xticks([0.5 + hour for hour in range(0, 24, 3)], [f"{hour}:00" for hour in range(0, 24, 3)])
        axes.set_ylim(7, 0)
        words = ["none", *[""] * (steps - 1), f"up to {counted(most, 'message')}"]
        handles = [Patch(facecolor=colour, label=word) for colour, word in zip(HEAT, words, strict=True)]
        figure.legend(
            handles=handles,
            loc="outside lower left",
            frameon=False,
            ncols=len(HEAT),
            labelcolor=COLOURS["soft"],
            handlelength=1,
            handletextpad=0.4,
            columnspacing=0.5,
        )

    return Chart("heatmap", "When people write, over the whole time", 2.9, draw)


def waits_chart(figures: Waits) -> Chart:
    """How long threads waited for the first reply."""

    def draw(figure: "FigureBase") -> None:
        axes = figure.subplots()
        # Somebody can answer within the second.
        medians = [max(wait.median, 1.0) for wait in figures.channels]
        p90s = [max(wait.p90, 1.0) for wait in figures.channels]
        places = range(len(medians))
        axes.hlines(places, medians, p90s, color=COLOURS["pale"], linewidth=5, capstyle="round")
        axes.plot(p90s, places, "o", color=COLOURS["warm"], markersize=5, label="9 of 10 within")
        axes.plot(medians, places, "o", color=COLOURS["main"], markersize=7, label="half of them within")
        _names(axes, [wait.channel for wait in figures.channels])
        axes.set_xscale("log")
        low, high = min(medians) / 1.4, max(p90s) * 1.4
        inside = [tick for tick in WAITS if low <= tick <= high]
        # No more than fit side by side.
        inside = inside[:: -(-len(inside) // 4) or 1]
        axes.set_xlim(low, high)
        axes.set_xticks(inside, [duration(tick) for tick in inside])
        axes.set_xticks([], minor=True)
        axes.grid(axis="x")
        figure.legend(loc="outside lower left", frameon=False, ncols=2, reverse=True, handletextpad=0.2)

    height = 0.9 + 0.27 * len(figures.channels)
    return Chart("response_times", "How long a thread waits for its first reply", height, draw)


# ---- the data ------------------------------------------------------------------------------------


def rows_chart(tables: Sequence[TableState], time_zone: tzinfo) -> Chart:
    """How many rows lived after each sync, of tables that were synced more than once."""

    def draw(figure: "FigureBase") -> None:
        panels = figure.subplots(len(tables), 1, sharex=True, squeeze=False)[:, 0]
        for axes, table in zip(panels, tables, strict=True):
            moments = [moment.timestamp() for moment, _ in table.history]
            rows = [alive for _, alive in table.history]
            axes.step(moments, rows, where="post", color=COLOURS["second"], linewidth=1.8)
            axes.plot(moments[-1:], rows[-1:], "o", color=COLOURS["second"], markersize=4)
            since = day(table.history[0][0].astimezone(time_zone).date())
            grown = f"{rows[-1] - rows[0]:+,} since {since}"
            axes.set_title(f"{shown(table.table)}: {counted(rows[-1], 'row')} ({grown})")
            axes.margins(x=0.02, y=0.25)
            _rows_axis(axes)
        first = min(table.history[0][0] for table in tables)
        last = max(table.history[-1][0] for table in tables)
        ends = [first.astimezone(time_zone), last.astimezone(time_zone)]
        panels[-1].set_xticks([end.timestamp() for end in ends], [_moment(end) for end in ends])
        for label, side in zip(panels[-1].get_xticklabels(), ("left", "right"), strict=True):
            label.set_horizontalalignment(side)

    return Chart("rows", "Rows after each sync", 0.4 + 0.85 * len(tables), draw)


def _moment(moment: datetime) -> str:
    return f"{day(moment.date())}, {moment:%H:%M}"


def _rows_axis(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.grid(axis="y")
