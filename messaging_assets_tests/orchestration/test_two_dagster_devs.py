"""`dagster dev` started twice in one folder: both work, and their syncs wait for each other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import duckdb
import pytest

from messaging_assets.sandbox import Sandbox
from messaging_assets_tests.orchestration.test_dagster_dev import (
    RESOURCES,
    RUN,
    Ask,
    dagster_dev,
    launch,
    new_project,
    settings,
    until,
)
from messaging_assets_tests.warehouse.processes import Command

pytestmark = pytest.mark.dagster


def until_it_succeeds(ask: Ask, run: str) -> bool:
    """Waits for a run's success.

    Both daemons can take the same run off the queue, which Dagster does not prevent. Then one of them calls
    it failed when its process finds the other's at work, and that one ends it.
    """

    def has_succeeded() -> bool:
        return bool(ask(RUN, {"id": run})["runOrError"]["status"] == "SUCCESS")

    return until(has_succeeded, seconds=100)


@pytest.mark.timeout(300)
def test_runs_of_both_end_well(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    both_are_up = Barrier(2, timeout=120)
    with Sandbox(users=30, channels=5, messages=250) as sandbox:
        environment = settings(tmp_path, sandbox)
        # Somebody has worked here before: there is a history.
        before = Command(("sync",), project, environment).start()
        before.join(60)
        assert before.exitcode == 0
        sandbox.insert("messages")

        def run_in_one(_: int) -> bool:
            with dagster_dev(project, environment) as ask:
                both_are_up.wait()
                is_well = until_it_succeeds(ask, launch(ask, "messaging_sync"))
                both_are_up.wait()
            return is_well

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(run_in_one, range(2))) == [True, True]
        with duckdb.connect(tmp_path / "own.duckdb", read_only=True) as database:
            for name in RESOURCES:
                ids = [row[0] for row in database.sql(f"SELECT id FROM own.messaging.{name}").fetchall()]
                assert sorted(ids) == sorted(sandbox.ids(name))
