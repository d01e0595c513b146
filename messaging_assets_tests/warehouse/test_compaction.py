"""The file written anew: smaller, the same in everything, and never half done."""

import random
import resource
import shutil
import stat
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from messaging_assets.warehouse import compaction
from messaging_assets.warehouse import database as database_module
from messaging_assets.warehouse.columns import ColumnType
from messaging_assets.warehouse.compaction import compact, compact_if_worth
from messaging_assets.warehouse.database import CATALOG, open_database, transaction
from messaging_assets.warehouse.errors import (
    WarehouseBusyError,
    WarehouseError,
    WarehouseMissingError,
    WarehouseUnusableError,
)
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.publish import Target, create_table, drop_earlier_versions, write_rows
from messaging_assets.warehouse.staging import attach_staging
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.processes import elsewhere, hold_database, hold_lock

MESSAGES = Target("chat", "messages", ("id",))
TYPES = {"id": ColumnType.INTEGER, "text": ColumnType.TEXT}
ROWS = 10_000
# Texts that hardly compress, so that few rows make a file of many blocks.
TEXT_BYTES = 800
OF_OTHERS = """
    CREATE SCHEMA chat_analytics;
    CREATE TYPE chat_analytics.mood AS ENUM ('good', 'bad');
    CREATE TABLE chat_analytics.teams (
        id INTEGER PRIMARY KEY, name VARCHAR NOT NULL DEFAULT 'us', mood chat_analytics.mood, CHECK (id > 0)
    );
    INSERT INTO chat_analytics.teams VALUES (1, 'us', 'good'), (2, 'them', 'bad');
    CREATE INDEX by_name ON chat_analytics.teams (name);
    CREATE SEQUENCE chat_analytics.numbers START 5;
    SELECT nextval('chat_analytics.numbers');
    CREATE MACRO chat_analytics.doubled(x) AS 2 * x;
    CREATE VIEW chat_analytics.big AS SELECT * FROM chat.messages WHERE id > 10;
    CREATE VIEW chat_analytics.also_big AS SELECT * FROM chat_analytics.big;
    COMMENT ON TABLE chat.messages IS 'What people wrote';
    COMMENT ON COLUMN chat.messages.text IS 'Their words';
    COMMENT ON VIEW chat_analytics.big IS 'Most of it';
"""


def stage(database: duckdb.DuckDBPyConnection, ids: list[int], seed: int) -> None:
    """Put rows with these ids into staging, with content that depends on the seed."""
    draws = random.Random(seed)
    rows = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "text": [draws.randbytes(TEXT_BYTES // 2).hex() for _ in ids],
            "_row_hash": pa.array([draws.getrandbits(62) for _ in ids], pa.int64()),
            "_sequence": pa.array(range(len(ids)), pa.int64()),
        }
    )
    attach_staging(database)
    database.execute("CREATE SCHEMA _staging.chat_staging")
    database.register("rows", rows)
    database.execute(f"CREATE TABLE {MESSAGES.staged} AS FROM rows")
    database.unregister("rows")


def write(path: Path, ids: list[int], seed: int) -> None:
    """What a sync does to the file: rows into staging, then the transaction."""
    with open_database(path) as database:
        stage(database, ids, seed)
        drop_earlier_versions(database, MESSAGES)
        with transaction(database, is_last=True):
            database.execute("CREATE SCHEMA IF NOT EXISTS chat")
            create_table(database, MESSAGES, TYPES)
            write_rows(database, MESSAGES, TYPES)


@pytest.fixture(autouse=True)
def _little_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In files as small as these."""
    monkeypatch.setattr(compaction, "WORTH_BYTES", 2**20)


@pytest.fixture
def warehouse(location: WarehouseLocation) -> WarehouseLocation:
    """A file in which each row was edited once, twice as large as it need be."""
    location.prepare()
    write(location.database, list(range(ROWS)), seed=1)
    write(location.database, list(range(ROWS)), seed=0)
    return location


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, in their order."""
    with open_database(path, read_only=True) as database:
        tables = database.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
        return {table: database.execute(f"FROM {table}").fetchall() for (table,) in tables}


def catalogue(path: Path) -> set[tuple[object, ...]]:
    with open_database(path, read_only=True) as database:
        return compaction._content(database, CATALOG)


def leftovers(location: WarehouseLocation) -> list[str]:
    """What lies beside the file, or in the working folder, that no lock and no setting put there."""
    beside = [
        p.name for p in location.database.parent.iterdir() if p not in (location.database, location.work)
    ]
    return beside + [path.name for path in (location.work / "compaction").glob("**/*")]


def test_everything_is_in_the_new_file(warehouse: WarehouseLocation) -> None:
    with open_database(warehouse.database) as database:
        database.execute(OF_OTHERS)
    before = content(warehouse.database), catalogue(warehouse.database)
    kinds = {row[0] for row in before[1]}
    assert kinds == {
        *("schema", "table", "column", "constraint", "view", "index", "sequence", "type", "macro", "rows")
    }
    done = compact(warehouse)
    assert (content(warehouse.database), catalogue(warehouse.database)) == before
    assert done.bytes_after == warehouse.database.stat().st_size < 0.7 * done.bytes_before
    assert stat.S_IMODE(warehouse.database.stat().st_mode) == 0o600
    assert leftovers(warehouse) == []


def test_rows_stay_in_the_order_in_which_they_were_written(warehouse: WarehouseLocation) -> None:
    """Several row groups, which threads could write in any order."""
    with open_database(warehouse.database) as database:
        database.execute(
            "CREATE TABLE main.written AS "
            "SELECT n, repeat(md5(n::VARCHAR), 3) AS x FROM range(1000000) AS t(n)"
        )
    compact(warehouse)
    with open_database(warehouse.database, read_only=True) as database:
        query = "FROM (SELECT n, lag(n) OVER (ORDER BY rowid) AS before FROM main.written) WHERE before > n"
        assert database.execute(query).fetchall() == []


def test_a_synced_file_goes_on_being_synced(platform: Platform) -> None:
    platform.sync("messages")
    before = platform.rows("messages"), platform.query("FROM chat._sync_ledger")
    compact(platform.location)
    assert (platform.rows("messages"), platform.query("FROM chat._sync_ledger")) == before
    platform.sandbox.edit("messages", platform.sandbox.ids("messages")[3], name="edited")
    result = platform.sync("messages", mode="reconcile")
    assert (result.new, result.changed, result.deleted) == (0, 1, 0)


def test_a_hundred_syncs_with_one_row_in_a_hundred_changed(warehouse: WarehouseLocation) -> None:
    compact(warehouse)
    fresh = warehouse.database.stat().st_size
    draws = random.Random(1)
    compactions, largest = 0, 0
    for seed in range(1, 101):
        write(warehouse.database, sorted(draws.sample(range(ROWS), ROWS // 100)), seed)
        compactions += compact_if_worth(warehouse, holding="chat") is not None
        largest = max(largest, warehouse.database.stat().st_size)
    assert largest <= 1.6 * fresh
    # It is no matter of every sync.
    assert 0 < compactions < 10
    with open_database(warehouse.database, read_only=True) as database:
        assert database.execute("SELECT count(*), count(DISTINCT id) FROM chat.messages").fetchall() == [
            (ROWS, ROWS)
        ]


def test_what_is_compact_or_small_is_left_alone(warehouse: WarehouseLocation, tmp_path: Path) -> None:
    assert compact_if_worth(warehouse, holding="chat") is not None
    assert compact_if_worth(warehouse, holding="chat") is None
    small = WarehouseLocation(tmp_path / "small.duckdb")
    small.prepare()
    write(small.database, list(range(100)), seed=0)
    assert compact_if_worth(small, holding="chat") is None
    assert compact_if_worth(WarehouseLocation(tmp_path / "missing.duckdb"), holding="chat") is None
    with pytest.raises(WarehouseMissingError):
        compact(WarehouseLocation(tmp_path / "missing.duckdb"))


def test_a_disk_without_room_for_another_file_is_spared(
    warehouse: WarehouseLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(warehouse.work)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    assert compact_if_worth(warehouse, holding="chat") is None


# Interrupted


def compacts_until(location: WarehouseLocation, step: str, pipe: Any) -> None:
    """Compact, and say so before this step is done for the last time; there it stays."""
    left = 2 if step == "_write_through" else 1
    done = getattr(compaction, step)

    def stops(*values: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            pipe.send("ready")
            pipe.recv()
        return done(*values)

    setattr(compaction, step, stops)
    compact(location)


@pytest.mark.parametrize(
    ("step", "is_done"), [("_content", False), ("_has_log", False), ("_write_through", True)]
)
def test_killed_in_the_middle(warehouse: WarehouseLocation, step: str, is_done: bool) -> None:
    before, size = content(warehouse.database), warehouse.database.stat().st_size
    with elsewhere(compacts_until, warehouse, step) as (process, _):
        process.kill()
        process.join()
    assert (warehouse.database.stat().st_size < size) is is_done
    assert content(warehouse.database) == before
    compact(warehouse)
    assert content(warehouse.database) == before
    assert warehouse.database.stat().st_size < 0.7 * size
    assert leftovers(warehouse) == []


def compacts_on_a_small_disk(location: WarehouseLocation, largest_file: int, pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    tried = compact_if_worth(location, holding="chat")
    try:
        compact(location)
    except WarehouseError as error:
        pipe.send("ready")
        pipe.send((tried, type(error), str(error)))


def test_a_full_disk_leaves_the_old_file(warehouse: WarehouseLocation) -> None:
    before = warehouse.database.read_bytes()
    with elsewhere(compacts_on_a_small_disk, warehouse, len(before) // 4) as (_, pipe):
        tried, kind, text = pipe.recv()
    assert (tried, kind) == (None, WarehouseUnusableError)
    assert "the disk is full" in text
    assert warehouse.database.read_bytes() == before
    assert leftovers(warehouse) == []


def test_a_copy_that_differs_is_thrown_away(
    warehouse: WarehouseLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if DuckDB came to leave comments out."""
    with open_database(warehouse.database) as database:
        database.execute("COMMENT ON TABLE chat.messages IS 'What people wrote'")
    tell = compaction._content

    def forgetful(database: duckdb.DuckDBPyConnection, catalog: str) -> set[tuple[object, ...]]:
        if catalog != CATALOG:
            database.execute(f"COMMENT ON TABLE {catalog}.chat.messages IS NULL")
        return tell(database, catalog)

    before = warehouse.database.read_bytes()
    monkeypatch.setattr(compaction, "_content", forgetful)
    with pytest.raises(WarehouseError, match="without loss"):
        compact(warehouse)
    assert warehouse.database.read_bytes() == before
    assert leftovers(warehouse) == []


# Others at work


def test_whoever_writes_to_the_file_is_waited_for_and_named(warehouse: WarehouseLocation) -> None:
    with elsewhere(hold_database, warehouse.database) as (process, _):
        assert compact_if_worth(warehouse, holding="chat") is None
        with pytest.raises(WarehouseBusyError, match=f"process {process.pid}"):
            compact(warehouse, timeout=0.1)


def test_a_sync_under_way_is_waited_for_and_named(warehouse: WarehouseLocation) -> None:
    with elsewhere(hold_lock, warehouse, "chat") as (process, pipe):
        assert compact_if_worth(warehouse, holding="other") is None
        with pytest.raises(WarehouseBusyError, match=f"process {process.pid}"):
            compact(warehouse, timeout=0.1)
        # Its own lock is none of the caller's concern.
        assert compact_if_worth(warehouse, holding="chat") is not None
        pipe.send("let go")
        assert pipe.recv() == "released"


def reads(path: Path, pipe: Any) -> None:
    """Read the file, before and after it is exchanged."""
    with duckdb.connect(str(path), read_only=True) as database:
        pipe.send("ready")
        pipe.recv()
        pipe.send(database.execute("SELECT count(*), sum(length(text)) FROM chat.messages").fetchall())


def test_whoever_reads_goes_on_reading_what_was_there(location: WarehouseLocation) -> None:
    # The file's name is not the schema's: a client without our precautions takes it for a catalog.
    location = WarehouseLocation(location.database.with_name("warehouse.duckdb"))
    location.prepare()
    write(location.database, list(range(ROWS)), seed=0)
    with elsewhere(reads, location.database) as (_, pipe):
        compact(location, timeout=0.1)
        write(location.database, list(range(ROWS, 2 * ROWS)), seed=1)
        pipe.send("go on")
        assert pipe.recv() == [(ROWS, ROWS * TEXT_BYTES)]


def leaves_a_log(path: Path, pipe: Any) -> None:
    """Commit without writing the log back, as a process that is killed does."""
    database = duckdb.connect()
    database.execute(f"ATTACH '{path}' AS held; INSERT INTO held.chat.messages (id) VALUES (-1)")
    pipe.send("ready")
    pipe.recv()


def test_the_log_of_a_killed_process_is_written_back_first(warehouse: WarehouseLocation) -> None:
    with elsewhere(leaves_a_log, warehouse.database) as (process, _):
        process.kill()
        process.join()
    assert [name for name in leftovers(warehouse) if name.endswith(".wal")]
    compact(warehouse)
    assert leftovers(warehouse) == []
    with open_database(warehouse.database, read_only=True) as database:
        found = database.execute("SELECT count(*) FROM chat.messages WHERE id = -1").fetchall()
    assert found == [(1,)]


def test_a_file_exchanged_while_it_is_opened_is_opened_again(
    warehouse: WarehouseLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to the old one would be lost."""
    attached = database_module._attached
    copy = warehouse.database.with_name("copy")
    shutil.copy(warehouse.database, copy)

    def exchanged_meanwhile(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        connection = attached(path, read_only=read_only)
        if copy.exists():
            copy.replace(path)
        return connection

    monkeypatch.setattr(database_module, "_attached", exchanged_meanwhile)
    with open_database(warehouse.database) as database:
        database.execute("INSERT INTO chat.messages (id) VALUES (-1)")
    with open_database(warehouse.database, read_only=True) as database:
        assert database.execute("SELECT id FROM chat.messages WHERE id = -1").fetchall() == [(-1,)]
