"""A workspace whose numbers can be counted by hand, on the morning of Tuesday, 12 March 2024."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from messaging_assets.api.connection import Freshness
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.ledger import LedgerEntry, write_entry
from messaging_assets.warehouse.report.figures import Figures, read_figures
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.analytics.workspace import (
    SCHEMA,
    Workspace,
    message,
    named,
    reply,
)

NOW = datetime(2024, 3, 12, 9, 0, tzinfo=UTC)
# Names are other people's text.
SCRIPT = "<script>alert(1)</script>"
FORMULA = "a $\\frac{1}{2$ & \"b\" 'c'"
SECRET = "the text of a message"


def figures_of(workspace: Workspace, as_of: datetime = NOW) -> Figures:
    return read_figures(workspace.path, workspace.connection, as_of=as_of)


def synced(workspace: Workspace, resource: str, *, ago: timedelta = timedelta(0), **more: Any) -> None:
    """Write to the ledger that a sync of a resource ended well, or as it is said."""
    at = NOW - ago
    entry = LedgerEntry(resource, "sync", "run", at, at, verified="full", content_version=at.isoformat())
    with open_database(workspace.path) as database:
        write_entry(database, SCHEMA, replace(entry, **more))


def fill(workspace: Workspace) -> None:
    """Two weeks and a morning."""
    workspace.put(
        "users", named("ann", "Ann"), named("ben", "Ben"), named("cid", "Cid", "2024-03-06T12:00:00Z")
    )
    workspace.put("channels", named("general", "general"), named("script", SCRIPT), named("formula", FORMULA))

    def said(identity: str, at: str, **more: Any) -> dict[str, Any]:
        return dict(message(identity, at, text=SECRET, **more))

    workspace.put(
        "messages",
        # The week before: Tuesday 27 February to Monday 4 March.
        said("b1", "2024-02-27T00:00:00Z"),
        said("b2", "2024-03-04T23:59:59Z", channel_id="script"),
        # The week: Tuesday 5 to Monday 11 March.
        said("w1", "2024-03-05T00:00:00Z"),
        said("w2", "2024-03-05T10:00:00Z", user_id="ben"),
        said("w3", "2024-03-08T10:00:00Z", channel_id="script"),
        said("w4", "2024-03-08T10:20:00Z", channel_id="script", user_id="ben"),
        said("w5", "2024-03-11T23:59:59Z", channel_id="script", user_id="cid"),
        said("gone", "2024-03-09T10:00:00Z", user_id="eve"),
        # Today.
        said("t1", "2024-03-12T08:00:00Z", channel_id="formula"),
        # Answers: after 60 and 600 seconds in the week of 4 March, after an hour in this one.
        {**reply("r1", "w1", "2024-03-05T00:01:00Z", "ben"), "text": SECRET},
        {**reply("r2", "w2", "2024-03-05T10:10:00Z", "ann"), "text": SECRET},
        {**reply("r3", "w5", "2024-03-12T00:59:59Z", "ann", channel_id="script"), "text": SECRET},
    )
    workspace.delete("messages", "gone", at="2024-03-10T00:00:00Z")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where workspaces stand that were made once, to be copied."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def empty(project: Project, shelf: Path) -> Workspace:
    """A workspace in which nothing ever happened, synced and refreshed."""
    return _copied(shelf / "empty.duckdb", project.path / "chat.duckdb", lambda _: None)


@pytest.fixture
def week(project: Project, shelf: Path) -> Workspace:
    """The same with two weeks of messages."""
    return _copied(shelf / "week.duckdb", project.path / "chat.duckdb", fill)


def _copied(made: Path, to: Path, filled: Callable[[Workspace], None]) -> Workspace:
    if not made.exists():
        workspace = Workspace(made)
        for resource in ("users", "channels", "messages"):
            synced(workspace, resource)
        filled(workspace)
        workspace.refresh()
    shutil.copy(made, to)
    return Workspace(to)


@pytest.fixture
def patient(week: Workspace) -> Workspace:
    """The same where nothing is too old."""
    long = Freshness(1e6, 1e6, 1e6, 1e6)
    week.connection = replace(week.connection, freshness=long)
    return week
