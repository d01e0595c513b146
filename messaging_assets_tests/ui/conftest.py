"""What the browser's part of the suite shares: a browser, `dagster dev` as on a fresh clone, a page of it.

A browser that is missing, or can't be started, fails the tests; none of them is ever skipped.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from messaging_assets_tests.orchestration.test_dagster_dev import (
    Ask,
    dagster_dev,
    free_port,
    new_project,
    until,
)
from messaging_assets_tests.ui.dagster_ui import WIDTH, DagsterUi

#: Bounds for what hangs, not for what is slow, in milliseconds.
PATIENCE = 30_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FINISHED = "query Runs { runsOrError { ... on Runs { results { runId status } } } }"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let whoever wants the documentation's pictures ask for them."""
    parser.addoption("--pictures", action="store_true", help="take the pictures of the documentation anew")


@dataclass(frozen=True)
class Platform:
    """`dagster dev` at work in a project of its own.

    Args:
        project: Its folder, in which nothing is configured.
        address: Where its UI is.
        ask: Asks its GraphQL.
    """

    project: Path
    address: str
    ask: Ask


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform as on a fresh clone: no setting, no history, the bundled sandbox."""
    folder = tmp_path_factory.mktemp("ui")
    project = new_project(folder / "project")
    port = free_port()
    with dagster_dev(project, {"PATH": os.environ["PATH"], "HOME": str(folder)}, port) as ask:
        yield Platform(project, f"http://127.0.0.1:{port}", ask)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    chromium = shutil.which("chromium")
    assert chromium, "there is no chromium on the PATH; on Debian: apt-get install chromium"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def new_page(browser: Browser, platform: Platform) -> Iterator[Page]:
    """A page in a window of its own, which shows everybody the same, wherever it is opened.

    Nothing may be asked of anybody but the platform, and no script may break.
    """
    elsewhere: list[str] = []
    broken: list[str] = []
    window = browser.new_context(
        viewport={"width": WIDTH, "height": 900},
        color_scheme="light",
        locale="en-US",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    window.set_default_timeout(PATIENCE)
    page = window.new_page()
    page.on("request", lambda request: elsewhere.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    yield page
    window.close()
    at_home = (platform.address, "data:", "blob:", "file:")
    assert [url for url in elsewhere if not url.startswith(at_home)] == []
    assert broken == []


@pytest.fixture
def page(browser: Browser, platform: Platform) -> Iterator[Page]:
    """A new page."""
    with new_page(browser, platform) as page:
        yield page


@pytest.fixture
def ui(page: Page, platform: Platform) -> DagsterUi:
    """The UI, in a new page."""
    return DagsterUi(page, platform.address)


@pytest.fixture(scope="session")
def materialised(browser: Browser, platform: Platform) -> str:
    """The run that materialised everything, asked for by the button."""
    with new_page(browser, platform) as page:
        DagsterUi(page, platform.address).open("/asset-groups", "Global asset lineage")
        page.get_by_role("button", name="Materialize all").click()
        toast = page.get_by_text(re.compile("Launched run [0-9a-f]{8}"))
        expect(toast).to_be_visible()
        [begins] = re.findall("Launched run ([0-9a-f]{8})", toast.inner_text())

    def over() -> tuple[str, str] | None:
        runs = platform.ask(FINISHED)["runsOrError"]["results"]
        [run] = [run for run in runs if run["runId"].startswith(begins)]
        return (run["runId"], run["status"]) if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

    run, status = until(over, seconds=120)
    assert status == "SUCCESS"
    return str(run)


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> bool:
    """Whether the documentation's pictures are taken anew."""
    return bool(request.config.getoption("--pictures"))
