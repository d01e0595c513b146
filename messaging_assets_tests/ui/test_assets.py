"""The pages of a table, of a model and of the report, as they are once everything is materialised."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from messaging_assets.orchestration.checks import DESCRIPTIONS
from messaging_assets.orchestration.metadata import sandbox_metadata
from messaging_assets.warehouse.analytics.model import read_models
from messaging_assets.warehouse.database import open_database
from messaging_assets_tests.orchestration.test_dagster_dev import until
from messaging_assets_tests.ui.conftest import Platform
from messaging_assets_tests.ui.dagster_ui import DagsterUi

pytestmark = pytest.mark.usefixtures("materialised")

MESSAGES = "/assets/messaging/messages"
[MODEL] = [model for model in read_models() if model.name == "messages_enriched"]
ENRICHED = "/assets/messaging/analytics/messages_enriched"
REPORT = "/assets/messaging/analytics/report"


def read(platform: Platform, query: str) -> list[tuple[Any, ...]]:
    """Ask the warehouse, which a run may hold."""
    file = platform.project / ".warehouse" / "sandbox.duckdb"
    with open_database(file, timeout=60, read_only=True) as database:
        return database.execute(query).fetchall()


def test_messages_show_rows_freshness_columns_and_lineage(
    ui: DagsterUi, platform: Platform, pictures: bool
) -> None:
    def as_it_is_now() -> bool:
        # A run of the schedule may change the rows meanwhile, and freshness is evaluated every half minute.
        ui.open(MESSAGES, "Row count", "Freshness policy", "Columns")
        [(rows,)] = read(platform, "SELECT count(*) FROM messaging.messages WHERE deleted_at IS NULL")
        return ui.after("Row count") == f"{rows:,}" and ui.after("Freshness policy") == "Passing"

    assert until(as_it_is_now, seconds=90)
    if pictures:
        ui.picture("messages")
    described = {name: (kind, told) for name, kind, told in ui.table("Column name")}
    columns = read(platform, "SELECT column_name, column_type FROM (DESCRIBE messaging.messages)")
    assert {name: kind.removesuffix(" unique") for name, (kind, _) in described.items()} == dict(columns)
    assert [name for name, (_, told) in described.items() if not told] == []
    assert "messaging / api / messages" in ui.between("Upstream assets", "Downstream assets")
    assert "messaging / analytics / messages_enriched" in ui.between("Downstream assets", "Definition")


def test_rows_over_time_are_plotted(ui: DagsterUi) -> None:
    for asset, plotted in ((MESSAGES, "dagster/row_count"), (ENRICHED, "rows_written"), (REPORT, "problems")):
        ui.open(asset, "Metadata", "Plots")
        ui.page.get_by_text("Plots", exact=True).click()
        expect(ui.page.get_by_text(plotted, exact=True)).to_be_visible()
        expect(ui.page.locator("canvas").first).to_be_visible()


def test_that_the_data_is_made_up_is_said_in_words(ui: DagsterUi) -> None:
    for asset in (MESSAGES, ENRICHED, REPORT):
        ui.open(asset, "sandbox")
        told = sandbox_metadata(sandbox=True)["sandbox"].value
        expect(ui.metadata("sandbox")).to_have_text(str(told))


def test_each_check_of_messages_succeeded_and_says_what_to_do(ui: DagsterUi, pictures: bool) -> None:
    ui.open(f"{MESSAGES}?view=checks", "Latest execution")
    assert ui.lines().count("Succeeded") == len(DESCRIPTIONS)
    for name, description in DESCRIPTIONS.items():
        ui.page.get_by_text(name, exact=True).first.click()
        expect(ui.page).to_have_url(re.compile(f"checkDetail={name}"))
        ui.shows(description)
        ui.shows("Evaluation result Passed")
        if pictures and name == "complete":
            ui.picture("checks")


def test_a_model_shows_where_each_of_its_columns_comes_from(ui: DagsterUi, pictures: bool) -> None:
    ui.open(ENRICHED, "Columns", "Row count")
    ui.shows(MODEL.description)
    assert {name for name, _, _ in ui.table("Column name")} == {column.name for column in MODEL.columns}
    assert ui.after("Owners") == "data-platform"
    assert {"SQL", "DuckDB"} <= ui.between("Kinds", "Tags")
    assert "the SQL" in ui.between("Source code", "Automation details")
    if pictures:
        ui.picture("model")
    lineage = ui.metadata("column_lineage_table")
    for column in MODEL.columns:
        row = lineage.get_by_role("row").filter(has=ui.page.get_by_text(column.name, exact=True)).first
        for upstream in column.upstream:
            expect(row).to_contain_text(str(upstream))
    if pictures:
        ui.picture("column_lineage")


def test_the_report_can_be_seen_on_its_materialisation(ui: DagsterUi, pictures: bool) -> None:
    ui.open(f"{REPORT}?view=events", "Materialized in run", "preview")
    picture = ui.metadata("preview").get_by_role("img", name="The report at a glance")
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.complete && picture.naturalWidth") > 600
    if pictures:
        ui.picture("report")
    ui.page.get_by_role("button", name="Close").click()
    page = Path(ui.metadata("page").inner_text().strip())
    assert page.is_file()
    pictures_beside_it = ui.metadata("pictures_beside_it").inner_text().split(", ")
    assert {"preview.png", "lineage.png"} <= set(pictures_beside_it)
    assert all((page.parent / name).is_file() for name in pictures_beside_it)
