"""The lineage of all assets, as it is drawn before and after everything is materialised."""

import re

from playwright.sync_api import ViewportSize

from messaging_assets.warehouse.analytics.model import read_models
from messaging_assets_tests.orchestration.test_dagster_dev import until
from messaging_assets_tests.ui.conftest import Platform
from messaging_assets_tests.ui.dagster_ui import WIDTH, DagsterUi, Place

RAW = ("users", "channels", "messages")
ENDS = {("messaging_api", name) for name in RAW}
TABLES = {("messaging", name) for name in RAW}
MODELS = {("messaging_analytics", model.name) for model in read_models()}
REPORT = ("messaging_analytics", "report")
ALL = ENDS | TABLES | MODELS | {REPORT}
NONE = "\N{EN DASH}"
# The drawing is higher and wider than a screen; boxes that are out of sight are not drawn.
LARGE: ViewportSize = {"width": 3000, "height": 2400}
# So much smaller that only names and states are drawn.
SMALL: ViewportSize = {"width": WIDTH, "height": 1320}


#: The way of the data, which the arrows must show, and nothing else: an arrow past a box runs behind it.
WAY = (
    {(("messaging_api", name), ("messaging", name)) for name in RAW}
    | {
        (("messaging", table), ("messaging_analytics", model.name))
        for model in read_models()
        for table in model.reads
    }
    | {(model, REPORT) for model in MODELS}
)
ASSETS = "{ assetNodes { assetKey { path } groupName dependencyKeys { path } } }"


def defined_arrows(platform: Platform) -> set[tuple[Place, Place]]:
    """What depends on what by its definition."""
    nodes = platform.ask(ASSETS)["assetNodes"]
    groups = {tuple(node["assetKey"]["path"]): node["groupName"] for node in nodes}

    def place(key: dict[str, list[str]]) -> Place:
        return (groups[tuple(key["path"])], key["path"][-1])

    return {(place(key), place(node["assetKey"])) for node in nodes for key in node["dependencyKeys"]}


def test_every_asset_stands_in_its_group_and_the_arrows_lead_from_the_api_to_the_report(
    ui: DagsterUi, platform: Platform
) -> None:
    ui.page.set_viewport_size(LARGE)
    ui.open_lineage()
    graph = ui.graph(len(ALL))
    assert set(graph.assets) == ALL
    assert graph.arrows == WAY == defined_arrows(platform)
    assert all(REPORT in graph.downstream(end) for end in ENDS)


def test_the_button_materialises_everything_and_all_of_it_is_green(
    materialised: str, ui: DagsterUi, pictures: bool
) -> None:
    ui.page.set_viewport_size(LARGE)
    ui.open_lineage()

    def all_green() -> bool:
        graph = ui.graph(len(ALL))
        return all(is_green(graph.assets[place]) for place in ALL - ENDS)

    # A run of the schedule may change something meanwhile, which the report follows by itself.
    until(all_green, seconds=150)
    if pictures:
        ui.page.set_viewport_size(SMALL)
        ui.page.reload()
        ui.graph(len(ALL))
        ui.picture("lineage")


def is_green(lines: list[str]) -> bool:
    """Whether a box says that its asset is materialised, up to date, and each of its checks passed."""
    checks = lines[lines.index("Asset checks") + 1]
    passed = re.fullmatch(r"(\d+) / (\d+) Passed", checks)
    synced = not any(line.startswith("Unsynced") for line in lines)
    return synced and "Materialized" in lines and (checks == NONE or bool(passed and passed[1] == passed[2]))
