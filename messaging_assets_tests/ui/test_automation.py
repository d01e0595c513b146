"""The pages of jobs, schedules and sensors: what runs by itself, and that everybody can read why."""

import pytest
from playwright.sync_api import expect

from messaging_assets_tests.orchestration.test_dagster_dev import REPOSITORY
from messaging_assets_tests.ui.conftest import Platform
from messaging_assets_tests.ui.dagster_ui import DagsterUi

LOCATION = f"/locations/{REPOSITORY['repositoryLocationName']}"
AUTOMATIONS = {
    "messaging_sync_schedule": "schedules",
    "messaging_reconcile_schedule": "schedules",
    "messaging_new_messages": "sensors",
    "messaging_analytics_follow": "sensors",
}
JOBS = ("messaging_sync", "messaging_reconcile")
DESCRIPTIONS = """
query Descriptions($selector: RepositorySelector!) {
  repositoryOrError(repositorySelector: $selector) {
    ... on Repository {
      pipelines { name description }
      schedules { name description }
      sensors { name description }
    }
  }
}
"""


def descriptions(platform: Platform) -> dict[str, str]:
    """What the jobs, schedules and sensors say of themselves."""
    repository = platform.ask(DESCRIPTIONS, {"selector": REPOSITORY})["repositoryOrError"]
    told = [thing for kind in ("pipelines", "schedules", "sensors") for thing in repository[kind]]
    return {thing["name"]: thing["description"] for thing in told if not thing["name"].startswith("__")}


def test_everything_that_runs_by_itself_is_listed_and_running(
    ui: DagsterUi, platform: Platform, pictures: bool
) -> None:
    assert set(descriptions(platform)) == {*AUTOMATIONS, *JOBS}
    ui.open("/automation", *AUTOMATIONS)
    for name in AUTOMATIONS:
        row = ui.page.locator("[data-index]").filter(has=ui.page.get_by_text(name, exact=True))
        expect(row.get_by_role("checkbox").last).to_be_checked()
    if pictures:
        ui.picture("automation")


@pytest.mark.parametrize("name", AUTOMATIONS)
def test_a_schedule_or_sensor_says_what_it_does_and_runs(
    name: str, ui: DagsterUi, platform: Platform
) -> None:
    ui.open(f"{LOCATION}/{AUTOMATIONS[name]}/{name}", name, "Next tick")
    ui.shows(descriptions(platform)[name])
    row = ui.page.get_by_role("row").filter(has=ui.page.get_by_text("Running", exact=True))
    expect(row.get_by_role("checkbox")).to_be_checked()
    assert ui.unexplained() == set()


@pytest.mark.parametrize("name", JOBS)
def test_a_job_says_what_it_does(name: str, ui: DagsterUi, platform: Platform) -> None:
    ui.open("/jobs", *JOBS)
    ui.page.get_by_role("link", name=name).click()
    ui.shows(descriptions(platform)[name])
    assert ui.unexplained() == set()
