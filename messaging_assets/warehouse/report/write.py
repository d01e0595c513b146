"""Making the report: reading, drawing, and putting the files where they belong, each as a whole."""

import base64
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from messaging_assets.api.connection import Connection
from messaging_assets.warehouse.errors import WarehouseError
from messaging_assets.warehouse.location import OWNER_ONLY, WarehouseLocation, owner_only_files
from messaging_assets.warehouse.report.charts import (
    Chart,
    activity_chart,
    channels_chart,
    heatmap_chart,
    rows_chart,
    waits_chart,
)
from messaging_assets.warehouse.report.figures import Figures, Missing, read_figures
from messaging_assets.warehouse.report.findings import Findings, judge
from messaging_assets.warehouse.report.graph import lineage_chart
from messaging_assets.warehouse.report.page import page
from messaging_assets.warehouse.report.preview import DOTS_PER_INCH, preview_chart
from messaging_assets.warehouse.report.summary import first_sentence, verdict

PAGE = "report.html"
PICTURE_TITLE = "The report at a glance"


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        page: The HTML file.
        pictures: The file of each chart that has something to show, by the chart's name; `preview` is all
            at a glance.
        preview: The bytes of that picture.
        sentence: What happened in the week.
        verdict: How the data is.
        figures: The numbers.
        findings: What they say about the data.
    """

    page: Path
    pictures: dict[str, Path]
    preview: bytes
    sentence: str
    verdict: str
    figures: Figures
    findings: Findings

    def markdown(self) -> str:
        """The report at a glance as Markdown: two sentences, and the picture within."""
        picture = base64.b64encode(self.preview).decode()
        return f"{self.sentence} {self.verdict}.\n\n![{PICTURE_TITLE}](data:image/png;base64,{picture})"


def report_folder(location: WarehouseLocation, connection: str) -> Path:
    """Where the report of a connection lies: beside the warehouse, a folder for each file.

    Example:
        >>> report_folder(WarehouseLocation(Path("/data/messaging.duckdb")), "chat")
        PosixPath('/data/reports/messaging/chat')
    """
    return location.database.with_name("reports") / location.database.stem / connection


def write_report(
    location: WarehouseLocation,
    connection: Connection,
    folder: Path,
    *,
    as_of: datetime,
    sandbox: bool = False,
) -> Report:
    """Makes the report of a connection.

    Args:
        location: The warehouse, which is read and closed again before anything is drawn.
        connection: The connection.
        folder: Where to; made where it is missing.
        as_of: The moment for which the report is made; its day is the one under way.
        sandbox: Whether the data is the bundled sandbox's, which the page then says.

    Raises:
        WarehouseMissingError: Nothing was synced yet.
        WarehouseError: The warehouse can't be read or is held by another process, or the folder can't be
            written; each file in it is as it was before, or as it is now.
    """
    figures = read_figures(location.database, connection, as_of=as_of)
    findings = judge(figures)
    charts = charts_of(figures)
    preview = preview_chart(figures, findings)
    pictures = {chart.name: chart.png() for chart in charts} | {preview.name: preview.png(DOTS_PER_INCH)}
    html = page(figures, findings, charts, sandbox=sandbox)
    try:
        _write(folder, pictures, html)
    except OSError as error:
        raise WarehouseError(
            f"the report can't be written: {error.strerror or type(error).__name__}",
            where=str(folder),
            remedy="free some disk space, or make the folder writable",
        ) from None
    return Report(
        page=folder / PAGE,
        pictures={name: folder / f"{name}.png" for name in pictures},
        preview=pictures[preview.name],
        sentence=first_sentence(figures),
        verdict=verdict(findings)[1],
        figures=figures,
        findings=findings,
    )


def charts_of(figures: Figures) -> list[Chart]:
    """The charts that have something to show, in the order of the page."""
    return list(_charts(figures))


def _charts(figures: Figures) -> Iterator[Chart]:
    if not isinstance(figures.activity, Missing):
        yield activity_chart(figures.activity)
    if not isinstance(figures.channels, Missing):
        yield channels_chart(figures.channels)
    if not isinstance(figures.heatmap, Missing):
        yield heatmap_chart(figures.heatmap)
    if not isinstance(figures.waits, Missing):
        yield waits_chart(figures.waits)
    synced = [table for table in figures.tables if len(table.history) > 1]
    if synced:
        yield rows_chart(synced, ZoneInfo(figures.connection.analytics.time_zone))
    yield lineage_chart(figures.tables, figures.models)


def _write(folder: Path, pictures: dict[str, bytes], html: str) -> None:
    """Writes the files, the page last; pictures of charts that have nothing to show any more go."""
    with owner_only_files():
        folder.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        for name, content in pictures.items():
            _replace(folder / f"{name}.png", content)
        _replace(folder / PAGE, html.encode())
    for file in folder.glob("*.png"):
        if file.stem not in pictures:
            file.unlink()


def _replace(path: Path, content: bytes) -> None:
    """Replaces a file as a whole: who reads it has the old one or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
