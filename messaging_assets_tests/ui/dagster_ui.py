"""Dagster's UI in a browser, as a person reads and uses it: pages, the lineage graph, metadata, pictures.

Things are found by what a person goes by: words, roles, labels, and where they stand in the drawing. What
ought to be seen belongs to the tests.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from messaging_assets_tests.orchestration.test_dagster_dev import until

PICTURES = Path(__file__).with_name("pictures")
WIDTH = 1400

#: What the boxes and arrows of the drawing are, in its own coordinates.
_DRAWING = """
() => ({
  boxes: [...document.querySelectorAll('svg foreignObject')].map(box => ({
    group: box.classList.contains('group'),
    left: box.x.baseVal.value,
    top: box.y.baseVal.value,
    right: box.x.baseVal.value + box.width.baseVal.value,
    bottom: box.y.baseVal.value + box.height.baseVal.value,
    lines: [...box.children].flatMap(part => part.innerText.split('\\n'))
      .map(line => line.trim()).filter(line => line),
  })).filter(box => box.lines.length),
  arrows: [...document.querySelectorAll('svg path[marker-end]')].map(arrow => {
    const start = arrow.getPointAtLength(0), end = arrow.getPointAtLength(arrow.getTotalLength());
    return [start.x, start.y, end.x, end.y];
  }),
})
"""
#: An arrow ends as far before its box, for its head to have room.
_GAP = 20

#: What stands in a line of its own where something is wrong, was left out, or nobody knows.
UNEXPLAINED = re.compile(
    r"unknown|undefined|null|nan|no description|default|error|warning|degraded|never materialized|missing|"
    r"overdue|fail(ed|ing|ure)|(never|not) (evaluated|executed)|not running",
    re.IGNORECASE,
)

#: A group, and the name of an asset in it.
Place = tuple[str, str]


@dataclass(frozen=True)
class Box:
    """A box of the drawing, with what is written in it, line by line."""

    group: bool
    left: float
    top: float
    right: float
    bottom: float
    lines: list[str]

    @property
    def name(self) -> str:
        """What stands on top of it, below the label that something upstream is newer."""
        return next(line for line in self.lines if not line.startswith("Unsynced"))

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies in it, or as near as an arrow's end does."""
        return self.left - _GAP <= x <= self.right + _GAP and self.top <= y <= self.bottom


@dataclass(frozen=True)
class Graph:
    """The lineage as it is drawn.

    Args:
        assets: What is written in the box of each asset, line by line, by its place.
        arrows: From where to where the arrows lead.
    """

    assets: Mapping[Place, list[str]]
    arrows: frozenset[tuple[Place, Place]]

    def downstream(self, place: Place) -> set[Place]:
        """Everything that the arrows lead to from a place, step by step."""
        found: set[Place] = set()
        ahead = {place}
        while ahead:
            ahead = {end for start, end in self.arrows if start in ahead} - found
            found |= ahead
        return found


class DagsterUi:
    """A page of the browser on Dagster's UI.

    Args:
        page: The page.
        address: Where the UI is served.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address

    def open(self, path: str, *words: str) -> None:
        """Go to a page, and wait until these words stand on it and everything is loaded."""
        self.page.goto(self.address + path)
        for shown in words:
            expect(self.page.get_by_text(shown).first).to_be_visible()
        self.settle()

    def settle(self) -> None:
        """Wait until the page asks for nothing any more and shows nothing as being loaded."""
        self.page.wait_for_load_state("networkidle")
        expect(self.page.get_by_text(re.compile("^Loading"))).to_have_count(0)

    def lines(self) -> list[str]:
        """What stands on the page, line by line."""
        written = self.page.locator("body").inner_text().splitlines()
        return [line.strip() for line in written if line.strip()]

    def shows(self, description: str) -> None:
        """Wait until a description stands on the page, as it looks once its Markdown is rendered."""
        expect(self.page.locator("body")).to_contain_text(plain(description), use_inner_text=True)

    def after(self, label: str) -> str:
        """The line that follows a label."""
        lines = self.lines()
        return lines[lines.index(label) + 1]

    def between(self, label: str, end: str) -> set[str]:
        """The lines between two labels."""
        lines = self.lines()
        return set(lines[lines.index(label) + 1 : lines.index(end)])

    def unexplained(self) -> set[str]:
        """The lines of the page in which something is wrong, was left out, or nobody knows."""
        return {line for line in self.lines() if UNEXPLAINED.fullmatch(line)}

    def table(self, heading: str) -> list[list[str]]:
        """The cells of the table with this heading, without the headings."""
        table = self.page.get_by_role("table").filter(has=self.page.get_by_text(heading, exact=True)).first
        rows = table.get_by_role("row").filter(has=self.page.get_by_role("cell")).all()
        found = [[plain(cell) for cell in row.get_by_role("cell").all_inner_texts()] for row in rows]
        return [cells for cells in found if heading not in cells]

    def open_lineage(self) -> None:
        """Go to the lineage of all assets, and open every group."""
        self.open("/asset-groups", "Global asset lineage", "Materialize all")
        closed = self.page.get_by_label("unfold_more")
        expect(closed.first).to_be_visible()
        for left in range(closed.count() - 1, -1, -1):
            closed.first.click()
            expect(closed).to_have_count(left)
        # What is out of sight is not drawn; when it is opened anew, the drawing is fitted into the window.
        self.page.reload()
        self.settle()

    def graph(self, size: int) -> Graph:
        """The lineage that is drawn on the page, as soon as so many assets are."""
        return until(lambda: self._graph(size), seconds=60)

    def _graph(self, size: int) -> Graph | None:
        drawing = self.page.evaluate(_DRAWING)
        boxes = [Box(**box) for box in drawing["boxes"]]
        if sum(not box.group for box in boxes) != size:
            return None
        groups = [box for box in boxes if box.group]
        assets: dict[Place, Box] = {}
        for box in boxes:
            if not box.group:
                [around] = [group for group in groups if group.holds(box.left, box.top)]
                assets[around.name, box.name] = box

        def at(x: float, y: float) -> Place:
            [place] = [place for place, box in assets.items() if box.holds(x, y)]
            return place

        arrows = frozenset((at(*arrow[:2]), at(*arrow[2:])) for arrow in drawing["arrows"])
        return Graph({place: box.lines for place, box in assets.items()}, arrows)

    def metadata(self, key: str) -> Locator:
        """The value of a metadata entry: in its cell, or in the dialog that the cell opens."""
        row = self.page.get_by_role("row").filter(has=self.page.get_by_text(key, exact=True)).first
        expect(row).to_be_visible()
        opens = row.get_by_text("[Show Markdown]")
        if not opens.count():
            return row.get_by_role("cell").filter(has_text=re.compile(r"\S")).last
        opens.click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        return dialog

    def picture(self, name: str) -> None:
        """Keep what is on the screen as a picture for the documentation."""
        self.settle()
        save_picture(self.page, name)


def save_picture(page: Page, name: str) -> None:
    """Write what is on the screen among the pictures of the documentation."""
    seen = Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide")))
    # A palette makes the file several times smaller; this way of choosing it keeps the few strong colours.
    small = seen.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(PICTURES / f"{name}.png", optimize=True)


def plain(text: str) -> str:
    """A text as it looks once Markdown is rendered: without backticks, with single spaces."""
    return " ".join(text.replace("`", "").replace("**", "").split())
