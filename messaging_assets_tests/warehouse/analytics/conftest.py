"""A workspace for each test: the three raw tables, empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.analytics.workspace import Workspace, connection, named


@pytest.fixture
def empty(project: Project, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace in which nothing ever happened, in UTC."""
    yield Workspace(tmp_path / "chat.duckdb")


@pytest.fixture
def chat(empty: Workspace) -> Workspace:
    """A workspace with two users and two channels, and without messages, in UTC."""
    return _with_people(empty)


@pytest.fixture
def zurich(empty: Workspace) -> Workspace:
    """The same in Zurich, where clocks go forward on 31 March 2024 at 2:00 and back on 27 October at 3:00."""
    empty.connection = connection("Europe/Zurich")
    return _with_people(empty)


def _with_people(workspace: Workspace) -> Workspace:
    workspace.put("users", named("ann", "Ann"), named("ben", "Ben"))
    workspace.put("channels", named("general", "General"), named("random", "Random"))
    return workspace
