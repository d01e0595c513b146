"""Nothing in the UI is left unexplained: things say what they are, pages why they show a state."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from messaging_assets_tests.orchestration.test_dagster_dev import REPOSITORY, until
from messaging_assets_tests.ui.conftest import Platform
from messaging_assets_tests.ui.dagster_ui import UNEXPLAINED, DagsterUi
from messaging_assets_tests.ui.test_automation import JOBS

pytestmark = pytest.mark.usefixtures("materialised")

THINGS = """
query Things($selector: RepositorySelector!) {
  assetNodes {
    assetKey { path }
    groupName
    description
    kinds
    isMaterializable
    owners { __typename }
    metadataEntries { label }
    op { description }
    configField { configType { ... on CompositeConfigType { fields { name description } } } }
    assetMaterializations(limit: 1) {
      metadataEntries {
        label
        ... on TextMetadataEntry { text }
        ... on BoolMetadataEntry { boolValue }
        ... on TableSchemaMetadataEntry { schema { columns { name description } } }
      }
    }
    assetChecksOrError {
      ... on AssetChecks {
        checks {
          name
          description
          executionForLatestMaterialization {
            status
            evaluation { description metadataEntries { label ... on TextMetadataEntry { text } } }
          }
        }
      }
    }
  }
  repositoryOrError(repositorySelector: $selector) {
    ... on Repository {
      pipelines { name description }
      schedules { name description }
      sensors { name description }
      allTopLevelResourceDetails { name description configFields { name description } }
    }
  }
}
"""
# The job that Dagster makes of all assets, which no page shows.
OF_DAGSTER = "__ASSET_JOB"


def things(platform: Platform) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """All assets by their path, and everything else of the code location."""
    answer = platform.ask(THINGS, {"selector": REPOSITORY})
    assets = {"/".join(node["assetKey"]["path"]): node for node in answer["assetNodes"]}
    return assets, answer["repositoryOrError"]


def undescribed(where: str, described: list[dict[str, Any]]) -> Iterator[str]:
    """Those that have no description."""
    for thing in described:
        if not (thing["description"] or "").strip() and thing["name"] != OF_DAGSTER:
            yield f"{where} {thing['name']}"


def left_open(name: str, asset: dict[str, Any]) -> Iterator[str]:
    """What an asset does not say of itself, its columns, its checks and its configuration."""
    labels = {entry["label"] for entry in asset["metadataEntries"]}
    said = {
        "description": asset["description"],
        "group": asset["groupName"] != "default",
        "kinds": asset["kinds"],
        "owners": asset["owners"],
        "code reference": "dagster/code_references" in labels,
        "description of its op": not asset["isMaterializable"] or asset["op"]["description"],
    }
    yield from (f"{name}: {what}" for what, there in said.items() if not there)
    if asset["configField"] is not None:
        yield from undescribed(f"{name}: configuration", asset["configField"]["configType"].get("fields", []))
    for materialisation in asset["assetMaterializations"]:
        yield from unexplained(name, materialisation["metadataEntries"])
        for entry in materialisation["metadataEntries"]:
            if "schema" in entry:
                yield from undescribed(f"{name}: column", entry["schema"]["columns"])
    yield from undescribed(f"{name}: check", checks_of(asset))
    for check in checks_of(asset):
        execution = check["executionForLatestMaterialization"]
        if execution is None or execution["status"] != "SUCCEEDED":
            yield f"{name}: check {check['name']} did not pass"
        elif not execution["evaluation"]["description"] or not execution["evaluation"]["metadataEntries"]:
            yield f"{name}: check {check['name']} does not say why"
        else:
            yield from unexplained(f"{name}: {check['name']}", execution["evaluation"]["metadataEntries"])


def unexplained(where: str, entries: list[dict[str, Any]]) -> Iterator[str]:
    """The metadata that tells nothing but that something is wrong, that nobody knows, or a bare yes or no."""
    for entry in entries:
        words = (entry["label"], entry.get("text", ""))
        if "boolValue" in entry or any(map(UNEXPLAINED.fullmatch, words)):
            yield f"{where}: {entry['label']}"


def checks_of(asset: dict[str, Any]) -> list[dict[str, Any]]:
    return list(asset["assetChecksOrError"].get("checks", []))


def test_everything_is_described(platform: Platform) -> None:
    def nothing_left_open() -> bool:
        return not all_left_open(platform)

    # A run of the schedule may be under way, and its checks not evaluated yet.
    with suppress(AssertionError):
        until(nothing_left_open, seconds=60)
    assert all_left_open(platform) == []


def all_left_open(platform: Platform) -> list[str]:
    """What assets and everything else do not say of themselves."""
    assets, others = things(platform)
    open_ends = [found for name, asset in assets.items() for found in left_open(name, asset)]
    for kind in ("pipelines", "schedules", "sensors", "allTopLevelResourceDetails"):
        open_ends += undescribed(kind, others[kind])
    for resource in others["allTopLevelResourceDetails"]:
        open_ends += undescribed(f"resource {resource['name']}: configuration", resource["configFields"])
    return open_ends


def test_no_page_shows_a_state_without_a_reason(ui: DagsterUi, platform: Platform, materialised: str) -> None:
    assets, _ = things(platform)
    pages = {
        "/assets": "View lineage",
        "/jobs": JOBS[0],
        "/automation": "messaging_sync_schedule",
        "/deployment/locations": "Loaded",
        "/deployment/daemons": "Running",
        f"/runs/{materialised}": "Success",
    }
    for name, asset in assets.items():
        pages[f"/assets/{name}"] = "Definition"
        if checks_of(asset):
            pages[f"/assets/{name}?view=checks"] = "Latest execution"
    found = []
    for path, shown in pages.items():
        ui.open(path, shown)
        lines = ui.unexplained()
        if not assets.get(path.removeprefix("/assets/"), {"isMaterializable": True})["isMaterializable"]:
            ui.shows("Dagster has therefore never materialized it. Each sync leaves an observation")
            lines.discard("Never materialized")
        found += [f"{path}: {line}" for line in lines]
    assert found == []
