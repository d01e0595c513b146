"""`messaging sync`, killed at named points: what was there stays readable, and the next sync ends exact.

The API's rows change before the sync that is killed and again before the next one, so that whatever a
killed process has left behind would be seen if it came into the table. A plain sync need not find edits of
rows that the table holds, so these are made where the list is read as a whole. Runs that Dagster's own
command line starts are killed in `orchestration.test_killed_runs`.
"""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging_assets.sandbox import Broken, Faults, Sandbox
from messaging_assets_tests.installation import PAGE, ROOT, Installation, State
from messaging_assets_tests.kill_points import KillPoint

KILLED = -signal.SIGKILL
ROWS = 120
NEW_ROWS = 5
DUCKDB = "duckdb.DuckDBPyConnection"
PIPELINE = "dlt.pipeline.pipeline.Pipeline"
LOAD_STORAGE = "dlt.common.storages.load_storage.LoadStorage"

before, after = KillPoint.before, KillPoint.after

# Where the table is as it was before.
BEFORE_THE_END = {
    "when it takes the lock": KillPoint("pathlib.Path.write_text", r"syncing messaging\.messages"),
    "while it reads what is held": after(r'FROM "messaging"\."messages"'),
    "before dlt extracts": KillPoint(f"{PIPELINE}.extract"),
    "while dlt extracts": KillPoint("pyarrow.parquet.ParquetWriter.write_table", when="after"),
    "while dlt normalises": KillPoint(f"{LOAD_STORAGE}.commit_new_load_package"),
    "before dlt loads": KillPoint(f"{PIPELINE}.load"),
    "while dlt makes its tables": after(r'INSERT INTO "messaging_staging"\."_dlt_version"'),
    "when dlt has loaded the rows": after(r'INSERT INTO "messaging_staging"\."messages"'),
    "before dlt notes the load": before(r'INSERT INTO "messaging_staging"\."_dlt_loads"'),
    "after dlt has loaded": KillPoint(f"{PIPELINE}.load", when="after"),
    "before the final transaction": before("^BEGIN"),
    "when the changed rows are deleted": after(
        r'DELETE FROM "messaging"\."messages" AS held USING "_staging"'
    ),
    "when the changed rows are inserted": after(r'INSERT INTO "messaging"\."messages" \("id"'),
    "when rows are marked as deleted": after(r'INSERT INTO "messaging"\."messages" SELECT \* FROM gone_rows'),
    "before the ledger is written": before(r'INSERT INTO "messaging"\."_sync_ledger"'),
    "before the commit": before("^COMMIT"),
}

# Where it is as it was before or as the API was.
AT_THE_END = {"while the commit writes": KillPoint(f"{DUCKDB}.execute", "^COMMIT", "writing")}

# Where it is as the API was.
AFTER_THE_END = {
    "after the commit": after("^COMMIT"),
    "while the file is closed": KillPoint(f"{DUCKDB}.close", when="writing", since="^COMMIT"),
    "when the file is closed": KillPoint(f"{DUCKDB}.close", when="after", since="^COMMIT"),
    "while the table is checked": after("group by .id. having"),
}

POINTS = {**BEFORE_THE_END, **AT_THE_END, **AFTER_THE_END}
# By page of the list, for which the API is asked.
PAGES = {"first": 1, "fourth": 4, "last": ROWS // PAGE + 1}
FIRST_SYNC = ("when dlt has loaded the rows", "before the commit", "while the file is closed")
FAILED_SYNC = ("before the ledger is written", "after the commit")
RECONCILE = ("when dlt has loaded the rows", "when the changed rows are deleted", "while the commit writes")
CONSOLE_SCRIPT = ("while dlt extracts", "when the changed rows are inserted")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The same rows each time it is started."""
    with Sandbox(messages=ROWS) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was synced once."""
    folder = tmp_path_factory.mktemp("synced") / "project"
    with Sandbox(messages=ROWS) as sandbox:
        assert Installation(folder, sandbox).prepare().run("sync") == 0
    return folder


@pytest.fixture
def installation(synced: Path, sandbox: Sandbox, tmp_path: Path) -> Installation:
    """A folder of its own, in the state in which that sync has left it."""
    shutil.copytree(synced, tmp_path / "project")
    return Installation(tmp_path / "project", sandbox)


def change(installation: Installation, edition: int) -> None:
    """Let rows come, let one go, and edit those that the table does not hold."""
    sandbox, held = installation.sandbox, installation.held()
    for row in sandbox.rows("messages"):
        if row["id"] not in held:
            sandbox.edit("messages", row["id"], text=f"edition {edition}", reactions=[edition])
    sandbox.delete("messages", sandbox.ids("messages")[ROWS // 2], sandbox.ids("messages")[-1])
    for _ in range(NEW_ROWS):
        sandbox.insert("messages", text=f"new in edition {edition}")


def edit_everything(installation: Installation, edition: int) -> None:
    """Edit each row."""
    installation.sandbox.reshape("messages", lambda row: {**row, "text": f"edition {edition}: {row['text']}"})


def truth(installation: Installation, before: State) -> State:
    """What the table must hold, given what it held; rows that are gone stay in it, marked as deleted."""
    return installation.truth(gone=set(before) - set(installation.sandbox.ids("messages")))


def assert_the_next_ends_exact(installation: Installation, *arguments: str) -> None:
    held = installation.held()
    change(installation, 2)
    assert installation.run("sync", *arguments) == 0, installation.output
    assert installation.held() == truth(installation, held)
    installation.assert_tidy()


@pytest.mark.parametrize("name", POINTS)
def test_killed(name: str, installation: Installation) -> None:
    first = installation.held()
    change(installation, 1)
    second = truth(installation, first)
    assert installation.run("sync", point=POINTS[name]) == KILLED, installation.output
    assert_first_or_second(name, installation.held(), first, second)
    assert "messaging_staging" not in installation.schemas()
    assert_the_next_ends_exact(installation)


def assert_first_or_second(name: str, held: State, first: State, second: State) -> None:
    assert held in (first, second)
    if name not in AT_THE_END:
        assert held == (first if name in BEFORE_THE_END else second)


@pytest.mark.parametrize("name", RECONCILE)
def test_killed_when_each_row_was_edited(name: str, installation: Installation) -> None:
    first = installation.held()
    change(installation, 1)
    edit_everything(installation, 1)
    second = truth(installation, first)
    assert installation.run("sync", "--reconcile", point=POINTS[name]) == KILLED, installation.output
    assert_first_or_second(name, installation.held(), first, second)
    edit_everything(installation, 2)
    assert_the_next_ends_exact(installation, "--reconcile")


@pytest.mark.parametrize("name", PAGES)
def test_killed_by_the_api_at_the_page(name: str, installation: Installation) -> None:
    first = installation.held()
    change(installation, 1)
    edit_everything(installation, 1)
    assert installation.run_until_page(PAGES[name]) == KILLED, installation.output
    assert installation.held() == first
    edit_everything(installation, 2)
    assert_the_next_ends_exact(installation, "--reconcile")


@pytest.mark.parametrize("name", FIRST_SYNC)
def test_the_first_sync_killed(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    installation = Installation(tmp_path / "project", sandbox).prepare()
    assert installation.run("sync", point=POINTS[name]) == KILLED, installation.output
    assert_first_or_second(name, installation.held(), {}, installation.truth())
    assert_the_next_ends_exact(installation)


@pytest.mark.parametrize("name", FAILED_SYNC)
def test_killed_while_a_failure_is_written_down(name: str, installation: Installation) -> None:
    first = installation.held()
    change(installation, 1)
    installation.sandbox.order(Faults(broken=[Broken("status", status=403, position=ROWS // 2)]))
    assert installation.run("sync", "--reconcile", point=POINTS[name]) == KILLED, installation.output
    assert installation.held() == first
    installation.sandbox.order()
    assert_the_next_ends_exact(installation)


@pytest.mark.parametrize("name", CONSOLE_SCRIPT)
def test_the_console_script_killed_in_a_folder_that_keeps_its_history(
    name: str, installation: Installation
) -> None:
    shutil.copy(ROOT / "dagster.yaml", installation.folder)
    first = installation.held()
    change(installation, 1)
    with installation.console_script("sync", point=POINTS[name]) as killed:
        output, _ = killed.communicate(timeout=60)
    assert killed.returncode == KILLED, output
    assert installation.held() == first
    assert_the_next_ends_exact(installation)


def test_a_commit_that_got_only_part_of_its_log_to_the_disk(installation: Installation) -> None:
    first = installation.held()
    change(installation, 1)
    second = truth(installation, first)
    assert installation.run("sync", point=POINTS["after the commit"]) == KILLED, installation.output
    log = installation.database.with_name(f"{installation.database.name}.wal")
    whole = log.read_bytes()
    states = []
    for part in range(9):
        log.write_bytes(whole[: len(whole) * part // 8])
        states.append(installation.held())
    assert states == [first] * 8 + [second]
    log.write_bytes(whole[: len(whole) * 2 // 3])
    assert_the_next_ends_exact(installation)


def test_a_sync_that_goes_on_where_a_killed_one_stood(installation: Installation) -> None:
    """What was read before the kill comes into the table as it was; the sync after that sees the rest."""
    first = installation.held()
    edit_everything(installation, 1)
    often = {"settings": {"MESSAGING__CHECKPOINT_SECONDS": "0"}}
    assert installation.run_until_page(PAGES["fourth"], **often) == KILLED, installation.output
    assert installation.held() == first
    assert "state.json" in installation.work_files()
    read = installation.truth()
    edit_everything(installation, 2)
    assert installation.run("sync", "--reconcile", **often) == 0, installation.output
    held, now = installation.held(), installation.truth()
    assert set(held) == set(now)
    assert all(row in (read[key], now[key]) for key, row in held.items())
    installation.assert_tidy()
    assert_the_next_ends_exact(installation, "--reconcile")
