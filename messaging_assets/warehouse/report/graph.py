"""The lineage drawn as a graph: the API's endpoints, the raw tables, the models, and what flows where.

Columns are too many for a picture; the page lists them by model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from messaging_assets.warehouse.report.charts import COLOURS, Chart
from messaging_assets.warehouse.report.figures import ModelState, TableState
from messaging_assets.warehouse.report.words import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

WIDTH = 6.4
_COLUMNS = ("API", "raw tables", "analytics")
# Left and right edges of the boxes, their height and that of a row, in the units of the drawing.
_EDGES = ((0.0, 1.7), (2.35, 3.75), (5.2, 8.0))
_ROW = 1.0
_HEIGHT = 0.7


def lineage_chart(tables: Sequence[TableState], models: Sequence[ModelState]) -> Chart:
    """What each table is made of."""
    rows = max(len(tables), len(models), 1)

    def draw(figure: "FigureBase") -> None:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(-0.05, _EDGES[-1][1] + 0.05)
        axes.set_ylim(rows * _ROW - 0.1, -0.75)
        for (left, _), name in zip(_EDGES, _COLUMNS, strict=True):
            axes.text(left, -0.4, name, color=COLOURS["soft"], fontsize=9)
        raw = _places(len(tables), rows)
        made = _places(len(models), rows)
        for table, place in zip(tables, raw, strict=True):
            _arrow(axes, 0, place, place)
            _box(axes, 0, place, table.endpoint)
            for state, end in zip(models, made, strict=True):
                if table.table in state.model.reads:
                    _arrow(axes, 1, place, end, dashed=_is_skipped(state))
        for table, place in zip(tables, raw, strict=True):
            _box(axes, 1, place, table.table, dashed=not table.exists)
        for state, place in zip(models, made, strict=True):
            skipped = _is_skipped(state)
            _box(axes, 2, place, f"{state.model.name}{' (skipped)' if skipped else ''}", dashed=skipped)

    return Chart("lineage", "What each table is made of", 0.4 + 0.42 * rows, draw, WIDTH)


def _is_skipped(state: ModelState) -> bool:
    return state.skipped is not None


def _places(count: int, rows: int) -> list[float]:
    """The middles of boxes, spread over the height."""
    space = rows * _ROW / max(count, 1)
    return [space * (number + 0.5) - 0.5 * _ROW + _HEIGHT / 2 for number in range(count)]


def _box(axes: "Axes", column: int, place: float, name: str, *, dashed: bool = False) -> None:
    from matplotlib.patches import FancyBboxPatch

    left, right = _EDGES[column]
    axes.add_patch(
        FancyBboxPatch(
            (left + 0.06, place - _HEIGHT / 2 + 0.06),
            right - left - 0.12,
            _HEIGHT - 0.12,
            boxstyle="round,pad=0.06",
            facecolor=COLOURS["paper"],
            edgecolor=COLOURS[("warm", "main", "second")[column]],
            linewidth=1.3,
            linestyle="--" if dashed else "-",
            zorder=2,
        )
    )
    colour = COLOURS["soft"] if dashed else COLOURS["ink"]
    middle = (left + right) / 2
    axes.text(middle, place, shown(name), ha="center", va="center", color=colour, fontsize=9, zorder=3)


def _arrow(axes: "Axes", column: int, start: float, end: float, *, dashed: bool = False) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    left, right = _EDGES[column][1], _EDGES[column + 1][0] - 0.05
    middle = (left + right) / 2
    curve = Path(
        [(left, start), (middle, start), (middle, end), (right, end)],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
    line = "--" if dashed else "-"
    axes.add_patch(
        PathPatch(curve, facecolor="none", edgecolor=COLOURS["soft"], linewidth=0.9, linestyle=line, zorder=1)
    )
    axes.plot([right], [end], ">", color=COLOURS["soft"], markersize=4, zorder=1)
