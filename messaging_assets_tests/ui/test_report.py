"""The report's own page in a browser, on a phone and on a screen: nothing overflows, nothing is fetched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from messaging_assets_tests.ui.conftest import Platform
from messaging_assets_tests.ui.dagster_ui import WIDTH, save_picture

pytestmark = pytest.mark.usefixtures("materialised")

PHONE: ViewportSize = {"width": 375, "height": 812}
SCREEN: ViewportSize = {"width": WIDTH, "height": 900}
SECTIONS = ("The week", "The data", "Where the numbers come from")
# Elements that reach out of the window, apart from what is within a box that scrolls by itself.
OVERFLOWING = """
() => [...document.querySelectorAll('main *')].filter(element => {
  if (element.closest('.scroll')) return false;
  const { right, width } = element.getBoundingClientRect();
  return width > 0 && right > document.documentElement.clientWidth + 1;
}).map(element => element.tagName + ' ' + element.textContent.slice(0, 40))
"""


@pytest.fixture
def report(platform: Platform) -> Iterator[Path]:
    [page] = platform.project.rglob("report.html")
    yield page


@pytest.mark.parametrize("size", [PHONE, SCREEN], ids=["phone", "screen"])
def test_the_report_fits_its_window(report: Path, page: Page, size: ViewportSize, pictures: bool) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.set_viewport_size(size)
    page.goto(report.as_uri())
    for section in SECTIONS:
        expect(page.get_by_role("heading", name=section, exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert page.evaluate(OVERFLOWING) == []
    for closed in page.locator("details").all():
        closed.evaluate("details => { details.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert page.evaluate(OVERFLOWING) == []
    assert complaints == []
    if pictures:
        page.reload()
        save_picture(page, f"report_page_{'phone' if size is PHONE else 'screen'}")


def test_the_report_in_the_dark_is_dark(report: Path, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(report.as_uri())
    red, green, blue = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert max(red, green, blue) < 80
