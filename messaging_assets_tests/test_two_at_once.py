"""Two syncs of one warehouse at once, and a warehouse that somebody else holds open."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import duckdb
import pytest

from messaging_assets.sandbox import At, Faults, Sandbox
from messaging_assets_tests.installation import ROOT, Installation
from messaging_assets_tests.warehouse.processes import elsewhere, hold_database

ROWS = 120
PATIENCE = 60
TIMEOUT = "MESSAGING__LOCK_TIMEOUT_SECONDS"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with Sandbox(messages=ROWS) as sandbox:
        yield Installation(tmp_path / "project", sandbox).prepare()


@contextmanager
def stopped_at_a_page(sandbox: Sandbox) -> Iterator[threading.Event]:
    """Has the API keep whoever asks for the third page waiting; the event is set when somebody does."""
    asked, go_on = threading.Event(), threading.Event()

    def stop(_: object) -> None:
        asked.set()
        go_on.wait(PATIENCE)

    sandbox.order(Faults(script=[At(3, stop)]))
    try:
        yield asked
    finally:
        go_on.set()


def until_it_says(words: str, output: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (output.exists() and words in output.read_text()):
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.01)


def assert_both_were_there_at_once_and_the_rows_are_exact(installation: Installation) -> None:
    with duckdb.connect(installation.database, read_only=True) as database:
        syncs = database.sql(
            "SELECT started_at, ended_at, rows_new, error "
            "FROM messaging.messaging._sync_ledger ORDER BY ended_at"
        ).fetchall()
    (_, first_ended, first_new, _), (second_started, _, second_new, _) = syncs
    assert second_started < first_ended
    assert (first_new, second_new) == (ROWS, 0)
    assert [error for *_, error in syncs] == [None, None]
    assert installation.held() == installation.truth()
    installation.assert_tidy()


def test_two_command_lines(installation: Installation) -> None:
    with stopped_at_a_page(installation.sandbox) as asked:
        first = installation.start("sync", output="first")
        assert asked.wait(PATIENCE)
        second = installation.start("sync", "--verbose", output="second")
        until_it_says("for another sync of messaging", installation.folder / "second")
    assert_end_well(first, second)
    assert_both_were_there_at_once_and_the_rows_are_exact(installation)


def assert_end_well(*processes: ForkServerProcess) -> None:
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_a_run_of_dagster_and_the_command_line(installation: Installation) -> None:
    output = installation.folder / "dagster"
    with stopped_at_a_page(installation.sandbox) as asked:
        first = installation.start("sync")
        assert asked.wait(PATIENCE)
        second = installation.job(output)
        until_it_says("for another sync of messaging", output)
    assert_end_well(first)
    assert second.wait(PATIENCE) == 0, output.read_text()
    assert_both_were_there_at_once_and_the_rows_are_exact(installation)


def test_the_first_of_all_make_one_history(installation: Installation) -> None:
    shutil.copy(ROOT / "dagster.yaml", installation.folder)
    assert_end_well(*[installation.start("sync", output=name) for name in ("first", "second", "third")])
    histories = list((installation.folder / ".dagster").rglob("*.db"))
    assert len(histories) > 3
    for history in histories:
        with sqlite3.connect(history) as database:
            assert len(database.execute("SELECT * FROM alembic_version").fetchall()) == 1
    assert installation.run("sync") == 0, installation.output


def test_a_file_that_somebody_holds_is_waited_for_and_then_the_process_is_named(
    installation: Installation,
) -> None:
    assert installation.run("sync") == 0, installation.output
    before = installation.held()
    installation.sandbox.insert("messages", name="new")
    with elsewhere(hold_database, installation.database) as (holder, _):
        assert installation.run("sync", settings={TIMEOUT: "0.3"}) == 1
        assert f"another process has held the DuckDB file for over 0 s: process {holder.pid}, " in (
            installation.output
        )
        assert "python" in installation.output
        assert "To do: close it there" in installation.output
    assert installation.held() == before
    assert installation.run("sync") == 0, installation.output
    assert installation.held() == installation.truth()
    installation.assert_tidy()


def test_a_file_that_somebody_lets_go_of_in_time_is_all_right(installation: Installation) -> None:
    assert installation.run("sync") == 0, installation.output
    installation.sandbox.insert("messages", name="new")
    with elsewhere(hold_database, installation.database) as (_, pipe):
        waiting = installation.start("sync", "--verbose")
        until_it_says("Started execution of step", installation.folder / "output")
        pipe.send(0)
        assert_end_well(waiting)
    assert installation.held() == installation.truth()


def test_what_was_read_while_somebody_held_the_file_is_not_read_again(installation: Installation) -> None:
    assert installation.run("sync") == 0, installation.output
    before, api = installation.held(), installation.sandbox
    api.reshape("messages", lambda row: {**row, "text": f"edited: {row['text']}"})
    settings = {TIMEOUT: "0.3", "MESSAGING__CHECKPOINT_SECONDS": "0"}
    with ExitStack() as holding:
        hold = elsewhere(hold_database, installation.database)
        api.order(Faults(script=[At(2, lambda _: holding.enter_context(hold))]))
        assert installation.run("sync", "--reconcile", settings=settings) == 1, installation.output
        assert "another process has held the DuckDB file" in installation.output
    api.order()
    api.reset_counters()
    assert installation.held() == before
    assert installation.run("sync", "--reconcile", settings=settings) == 0, installation.output
    assert api.count("/v1/messages") <= 3
    assert installation.held() == installation.truth()
    installation.assert_tidy()
