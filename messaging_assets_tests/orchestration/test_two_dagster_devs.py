"""`dagster dev` started twice in one folder: both work, and their syncs wait for each other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import duckdb
import pytest

from messaging_assets.sandbox import Sandbox
from messaging_assets_tests.orchestration.test_dagster_dev import (
    RESOURCES,
    dagster_dev,
    launch,
    new_project,
    settings,
    until_over,
)
from messaging_assets_tests.warehouse.processes import Command

pytestmark = pytest.mark.dagster


@pytest.mark.timeout(300)
def test_runs_of_both_end_well(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    both_are_up = Barrier(2, timeout=60)
    with Sandbox(users=30, channels=5, messages=250) as sandbox:
        environment = settings(tmp_path, sandbox)
        # Somebody has worked here before: there is a history.
        before = Command(("sync",), project, environment).start()
        before.join(60)
        assert before.exitcode == 0
        sandbox.insert("messages")

        def run_in_one(_: int) -> str:
            with dagster_dev(project, environment) as ask:
                both_are_up.wait()
                status = until_over(ask, launch(ask, "messaging_sync"))
                both_are_up.wait()
            return status

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(run_in_one, range(2))) == ["SUCCESS", "SUCCESS"]
        with duckdb.connect(tmp_path / "own.duckdb", read_only=True) as database:
            for name in RESOURCES:
                ids = [row[0] for row in database.sql(f"SELECT id FROM own.messaging.{name}").fetchall()]
                assert sorted(ids) == sorted(sandbox.ids(name))
