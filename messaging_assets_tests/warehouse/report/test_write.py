"""The files of a report: where they lie, who can read them, that each is whole."""

import base64
import os
from datetime import timedelta
from pathlib import Path

import pytest

from messaging_assets.warehouse.errors import WarehouseError, WarehouseMissingError
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.report.figures import Figures, Missing
from messaging_assets.warehouse.report.findings import Findings, judge
from messaging_assets.warehouse.report.write import Report, report_folder, write_report
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.analytics.workspace import Workspace, connection
from messaging_assets_tests.warehouse.report.conftest import NOW, synced


def written(workspace: Workspace) -> Report:
    location = WarehouseLocation(workspace.path)
    folder = report_folder(location, workspace.connection.name)
    return write_report(location, workspace.connection, folder, as_of=NOW)


def test_page_and_pictures_lie_beside_the_warehouse_for_the_owner_alone(week: Workspace) -> None:
    synced(week, "messages", ago=timedelta(days=1), rows_alive=3)
    report = written(week)
    folder = week.path.parent / "reports" / "chat" / "chat"
    assert report.page == folder / "report.html"
    names = {"activity", "channels", "heatmap", "response_times", "rows", "lineage", "preview"}
    assert report.pictures == {name: folder / f"{name}.png" for name in names}
    assert {file.name for file in folder.iterdir()} == {"report.html", *(f"{name}.png" for name in names)}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder.parent, folder, *folder.iterdir()))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in report.pictures.values())
    assert report.pictures["preview"].read_bytes() == report.preview


def test_the_same_data_at_the_same_moment_makes_the_same_report(week: Workspace) -> None:
    report = written(week)
    files = [report.page, *report.pictures.values()]
    first = [file.read_bytes() for file in files]
    written(week)
    assert [file.read_bytes() for file in files] == first


def test_as_markdown_it_is_its_sentences_and_the_picture(week: Workspace) -> None:
    report = written(week)
    words, _, picture = report.markdown().partition("\n\n")
    assert words == f"{report.sentence} {report.verdict}."
    assert picture.startswith("![The report at a glance](data:image/png;base64,")
    assert base64.b64decode(picture.split(",")[1].removesuffix(")")) == report.preview
    assert len(report.markdown()) < 60_000


def test_a_picture_that_has_nothing_to_show_any_more_goes(week: Workspace) -> None:
    report = written(week)
    assert report.pictures["heatmap"].exists()
    week.execute("DELETE FROM chat.messages")
    synced(week, "messages", ago=timedelta(minutes=-1))
    week.refresh()
    again = written(week)
    assert isinstance(again.figures.heatmap, Missing)
    assert "heatmap" not in again.pictures
    assert not report.pictures["heatmap"].exists()
    assert again.pictures["preview"].exists()


def test_a_reader_has_the_old_page_or_the_new_one(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    page = written(empty).page
    before = page.read_text()
    synced(empty, "messages", ago=-timedelta(minutes=1), error="the API refuses this")
    replace, seen = Path.replace, []

    def replace_after_a_look(self: Path, target: Path) -> Path:
        seen.append(page.read_text())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_after_a_look)
    written(empty)
    assert set(seen) == {before}
    assert "the API refuses this" in page.read_text()


def test_a_full_disk_leaves_the_last_report(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    page = written(empty).page
    before = {file.name: file.read_bytes() for file in page.parent.iterdir()}
    synced(empty, "messages", ago=-timedelta(minutes=1), error="the API refuses this")

    def full(handle: int, mode: str) -> None:
        os.close(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(WarehouseError, match="the report can't be written: No space left") as failure:
        written(empty)
    assert failure.value.where == str(page.parent)
    assert {file.name: file.read_bytes() for file in page.parent.iterdir()} == before


def test_the_warehouse_is_closed_before_anything_is_drawn(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge_with_the_file_open_elsewhere(figures: Figures) -> Findings:
        empty.execute("CREATE TABLE elsewhere (id INTEGER)")
        return judge(figures)

    monkeypatch.setattr("messaging_assets.warehouse.report.write.judge", judge_with_the_file_open_elsewhere)
    assert written(empty).page.exists()


def test_reports_of_the_sandbox_and_of_the_real_api_lie_apart() -> None:
    files = (Path(f"/data/{name}.duckdb") for name in ("real", "sandbox"))
    places = {report_folder(WarehouseLocation(file), "chat") for file in files}
    assert places == {Path("/data/reports/real/chat"), Path("/data/reports/sandbox/chat")}


def test_without_a_warehouse_nothing_is_written(project: Project) -> None:
    with pytest.raises(WarehouseMissingError):
        write_report(WarehouseLocation(project.path / "none"), connection(), project.path / "out", as_of=NOW)
    assert not (project.path / "out").exists()
