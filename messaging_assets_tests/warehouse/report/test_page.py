"""The page: what stands on it, and what never does."""

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest

from messaging_assets.api.connection import Analytics, Freshness
from messaging_assets.warehouse.report.findings import judge
from messaging_assets.warehouse.report.page import page as render
from messaging_assets.warehouse.report.write import charts_of
from messaging_assets_tests.warehouse.analytics.workspace import Workspace, message, named
from messaging_assets_tests.warehouse.report.conftest import SCRIPT, SECRET, figures_of, synced
from messaging_assets_tests.warehouse.report.page_reader import Page

SECTIONS = (
    *("verdict", "week", "activity", "channels", "heatmap", "response_times"),
    *("data", "tables", "quality", "rows", "models", "lineage"),
)


def html_of(workspace: Workspace, *, sandbox: bool = False) -> str:
    figures = figures_of(workspace)
    return render(figures, judge(figures), charts_of(figures), sandbox=sandbox)


@pytest.fixture
def html(week: Workspace, shelf: Path) -> str:
    kept = shelf / "week.html"
    if not kept.exists():
        synced(week, "messages", ago=timedelta(days=1), rows_alive=3)
        kept.write_text(html_of(week), encoding="utf-8")
    return kept.read_text(encoding="utf-8")


@pytest.fixture
def page(html: str) -> Page:
    return Page(html)


def test_every_section_is_there(page: Page) -> None:
    assert tuple(page.parts) == SECTIONS
    assert all(page.parts[name].text.strip() for name in SECTIONS)
    assert page.tags.count("svg") == 6


def test_it_stands_alone(html: str, page: Page) -> None:
    named_in_it = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "action")]
    assert all(value.startswith("#") for value in named_in_it)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "img"} & set(page.tags)
    assert re.findall(r"(?i)https?:|//\w|@import|url\((?!#)", html) == []
    policy = next(value for _, name, value in page.attributes if value.startswith("default-src"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_a_phone_shows_it_in_its_own_width_and_the_dark_in_dark_colours(html: str) -> None:
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert "@media (max-width" in html
    assert "@media (prefers-color-scheme: dark)" in html


def test_names_are_text(html: str, page: Page) -> None:
    assert "script" not in page.tags
    assert "<script" not in html
    assert [SCRIPT, "3", "1", "+200 %"] in page.parts["channels"].rows
    assert page.parts["channels"].text.count(SCRIPT) == 2


def test_a_name_stays_in_its_place_wherever_it_is_shown(week: Workspace) -> None:
    week.put("channels", named("general", "x\u202e</bdi></text>&amp;<b>"))
    synced(week, "channels", ago=timedelta(minutes=-1))
    week.refresh()
    page = Page(html_of(week))
    assert "b" not in {tag for tag in page.tags if tag not in ("b", "bdi")}
    assert ["x </bdi></text>&amp;<b>", "4", "1", "+300 %"] in page.parts["channels"].rows


def test_no_text_of_a_message_is_in_it(html: str) -> None:
    assert SECRET not in unescape(html)


def test_it_begins_with_what_happened_and_how_the_data_is(page: Page) -> None:
    begins = page.text[: page.text.index("The week")]
    assert begins.strip().startswith("chat, Tuesday 12 March 2024\n")
    assert "Tuesday 12 March 2024, 09:00 (UTC)" in begins
    assert "In the 7 days up to Mon 11 Mar, 7 messages were written by 3 people" in begins
    assert "3 people, 250 % more than in the week before." in begins
    for label, value, note in (
        ("Messages in 7 days", "7", "+250 % on the week before"),
        ("People who wrote", "3", "+200 % on the week before"),
        ("New people", "1", "2 in the week before"),
        ("Today so far", "2", "messages, by 1 person"),
        ("Channels written in", "2", "0 busy, 3 quiet, 0 dead"),
        ("Busiest hour", "Tue 0:00", "4 messages over the whole time"),
    ):
        assert f"{label}{value}{note}" in begins


def test_the_numbers_behind_the_charts_are_there(page: Page) -> None:
    assert ["Tue 5 Mar", "4", "2", "0"] in page.parts["activity"].rows
    assert ["Tue 12 Mar", "2", "1", "0"] in page.parts["activity"].rows
    assert len(page.parts["activity"].rows) == 1 + 28 + 1
    assert ["0:00", "0", "4", "0", "0", "0", "0", "0"] in page.parts["heatmap"].rows
    assert ["general", "2", "6 min", "9 min"] in page.parts["response_times"].rows
    assert "week of Mon 4 Mar" in page.parts["response_times"].text


def test_the_state_of_the_data_reads_without_colours(week: Workspace) -> None:
    week.connection = replace(week.connection, freshness=Freshness(1, 2, 24, 1e6))
    week.put("messages", message("u", "2024-03-11T10:00:00Z", user_id="nobody"))
    synced(week, "users", ago=timedelta(hours=-1), error="the API refuses this")
    synced(week, "channels", ago=timedelta(minutes=-1), verified="no", reason="the list moved")
    page = Page(html_of(week))
    users, channels, messages = page.parts["tables"].rows[1:]
    assert users[:3] == ["users", "3", "✗ badthe last sync failed: the API refuses this"]
    assert channels[4] == "✗ badnot proved: the list moved"
    assert messages[:2] == ["messages", "12 (and 1 deleted)"]
    assert messages[2] == "✓ goodjust now"
    assert ["Every message is of a known user", "! look1 message of unknown users: nobody"] in page.parts[
        "quality"
    ].rows
    assert "✗ The data has 2 problems and 1 thing to look at." in page.parts["verdict"].text
    assert "users, last sync: the last sync failed: the API refuses this" in page.parts["verdict"].text


def test_the_models_tell_where_each_column_comes_from(week: Workspace) -> None:
    week.connection = replace(week.connection, analytics=Analytics(columns={"users": {"name": "label"}}))
    week.execute("ALTER TABLE chat.users RENAME COLUMN name TO label")
    week.seen("users", {"displayName": "label"})
    week.refresh()
    page = Page(html_of(week))
    lineage = page.text[page.text.index("Where the numbers come from") :]
    assert "user_activity, 8 columns" in lineage
    assert "users.label the API's displayName" in lineage
    assert "messages.deleted_at set by the sync" in lineage
    assert "Characters of its text; null without a text." in lineage


def test_an_empty_workspace_says_that_there_is_nothing_yet(empty: Workspace) -> None:
    page = Page(html_of(empty))
    assert tuple(page.parts) == SECTIONS
    assert "There is nothing to show yet: nothing has happened in this workspace yet." in page.text
    assert page.text.count("Nothing to show: ") == 5
    assert page.tags.count("svg") == 1
    assert "Messages in 7 days" not in page.text


def test_what_is_skipped_says_why(week: Workspace) -> None:
    week.execute("ALTER TABLE chat.messages DROP COLUMN thread_parent_id")
    week.execute("DROP TABLE chat_analytics.response_times")
    week.refresh()
    page = Page(html_of(week))
    reason = "chat.messages has no column `thread_parent_id`"
    assert f"Nothing to show: {reason}" in page.parts["response_times"].text
    (row,) = (row for row in page.parts["models"].rows if row[0] == "response_times")
    assert row[1] == ""
    assert row[2].startswith(f"? no answerskipped: {reason}")
    assert "response_times (skipped)" in page.text
    assert "general" in page.parts["channels"].text


def test_made_up_data_is_called_so(week: Workspace) -> None:
    words = "made-up data of the bundled sandbox"
    assert words in html_of(week, sandbox=True)
    assert words not in html_of(week)
