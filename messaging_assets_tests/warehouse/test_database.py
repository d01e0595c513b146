"""Opening the file: waiting for other processes, naming them, and saying what is wrong with it."""

import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from messaging_assets.warehouse.database import explained, open_database, when_unlocked
from messaging_assets.warehouse.errors import (
    WarehouseBusyError,
    WarehouseError,
    WarehouseMissingError,
    WarehouseUnusableError,
)
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.processes import elsewhere, hold_database


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "chat.duckdb"


@pytest.mark.parametrize("read_only", [True, False])
def test_who_holds_the_file_is_waited_for_and_then_named(file: Path, read_only: bool) -> None:
    with elsewhere(hold_database, file) as (process, _):
        started = time.monotonic()
        with (
            pytest.raises(
                WarehouseBusyError, match=rf"for over 0 s: process {process.pid}, \S*python"
            ) as caught,
            open_database(file, timeout=0.2, read_only=read_only),
        ):
            pass
        assert 0.2 <= time.monotonic() - started < 2
        assert caught.value.where == str(file)


def test_it_is_opened_as_soon_as_it_is_free(file: Path) -> None:
    with elsewhere(hold_database, file) as (_, pipe):
        pipe.send(0.2)
        started = time.monotonic()
        with open_database(file, timeout=10) as database:
            assert database.execute("FROM held").fetchall() == []
        assert time.monotonic() - started < 3


def test_whoever_waits_for_the_file_is_told_once_for_whom(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging_assets.warehouse.database.QUIET_SECONDS", 0.05)
    with elsewhere(hold_database, file) as (process, pipe):
        told: list[str] = []

        def waiting(words: str) -> None:
            told.append(words)
            pipe.send(0.5)

        with open_database(file, timeout=20, waiting=waiting):
            pass
    assert len(told) == 1
    assert told[0].startswith(f"waiting up to 20 s for the DuckDB file, held by process {process.pid}, ")


def test_a_file_that_is_free_is_not_waited_for(file: Path) -> None:
    with open_database(file, timeout=20, waiting=pytest.fail):
        pass


def test_this_process_itself_is_waited_for_too(file: Path) -> None:
    with (
        open_database(file),
        pytest.raises(WarehouseBusyError, match="this process itself"),
        open_database(file, timeout=0, read_only=True),
    ):
        pass


def test_a_sync_waits_for_the_file_and_then_names_the_process(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.sync("users")
    monkeypatch.setenv("MESSAGING__LOCK_TIMEOUT_SECONDS", "0.2")
    with elsewhere(hold_database, platform.location.database) as (process, pipe):
        started = time.monotonic()
        with pytest.raises(WarehouseBusyError, match=f"process {process.pid}"):
            platform.sync("users")
        assert time.monotonic() - started < 2
        monkeypatch.setenv("MESSAGING__LOCK_TIMEOUT_SECONDS", "10")
        pipe.send(0.2)
        assert platform.sync("users").unchanged == 45


@pytest.fixture
def taken_meanwhile(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[float], object]]:
    """Progress for a sync, at which another process takes the file for so many seconds."""
    monkeypatch.setattr("messaging_assets.warehouse.progress.SECONDS_BETWEEN_LINES", 0.0)
    with ExitStack() as stack:

        def take(seconds: float) -> Callable[[object], None]:
            taken: list[object] = []

            def progress(_: object) -> None:
                if not taken:
                    holder = elsewhere(hold_database, platform.location.database)
                    taken.append(stack.enter_context(holder)[1].send(seconds))

            return progress

        yield take


def test_a_file_taken_between_reading_and_loading_is_waited_for(
    platform: Platform, taken_meanwhile: Callable[[float], object]
) -> None:
    assert platform.sync("users", progress=taken_meanwhile(0.3)).new == 45


def test_a_file_held_all_the_time_while_rows_wait_for_loading(
    platform: Platform, taken_meanwhile: Callable[[float], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESSAGING__LOCK_TIMEOUT_SECONDS", "0.2")
    with pytest.raises(WarehouseBusyError, match=r"process \d+, \S*python"):
        platform.sync("users", progress=taken_meanwhile(20))


def test_a_missing_file_is_not_made_for_reading(file: Path) -> None:
    with pytest.raises(WarehouseMissingError, match="run a sync first"), open_database(file, read_only=True):
        pass
    assert not file.exists()


def test_a_file_that_is_no_database_is_left_as_it_is(platform: Platform) -> None:
    platform.location.prepare()
    platform.location.database.write_bytes(b"no database" * 1000)
    with pytest.raises(WarehouseUnusableError, match="damaged or is no DuckDB database"):
        platform.sync("users")
    assert platform.location.database.read_bytes() == b"no database" * 1000


def test_a_damaged_file_is_told(platform: Platform) -> None:
    platform.sync("messages")
    content = bytearray(platform.location.database.read_bytes())
    for place in range(12288, len(content), 512):
        content[place] ^= 0x5A
    platform.location.database.write_bytes(content)
    with pytest.raises(WarehouseUnusableError, match="damaged or is no DuckDB database"):
        platform.sync("messages")


@pytest.mark.parametrize("is_edited", [False, True])
def test_damage_at_any_place_is_told_or_does_no_harm(platform: Platform, is_edited: bool) -> None:
    file = platform.location.database
    platform.sync("messages")
    rows = platform.rows("messages")
    whole = file.read_bytes()
    if is_edited:
        platform.sandbox.reshape("messages", lambda row: {**row, "text": "edited"})
    told = 0
    for block in range(12288, len(whole), 262144):
        damaged = bytearray(whole)
        damaged[block + 20] ^= 0x5A
        file.write_bytes(damaged)
        try:
            platform.sync("messages", mode="reconcile")
        except WarehouseUnusableError as error:
            assert "damaged or is no DuckDB database" in str(error)
            told += 1
            # Where nothing was staged yet, nothing was written, not even to the ledger.
            assert is_edited or file.read_bytes() == damaged
        else:
            assert {row["text"] for row in platform.rows("messages").values()} == (
                {"edited"} if is_edited else {row["text"] for row in rows.values()}
            )
        file.with_name(f"{file.name}.wal").unlink(missing_ok=True)
    assert told


def test_a_folder_is_no_file(platform: Platform) -> None:
    platform.location.database.mkdir(parents=True)
    with pytest.raises(WarehouseUnusableError, match="can't be read or written"):
        platform.sync("users")


def test_the_time_zone_is_utc(file: Path) -> None:
    with open_database(file) as database:
        assert database.execute("SELECT current_setting('TimeZone')").fetchall() == [("UTC",)]


def test_what_does_not_fit_into_memory_goes_beside_the_file(file: Path, project: Project) -> None:
    work = file.with_name(f"{file.name}.work")
    left_over = work / "spill" / "of a killed process"
    left_over.mkdir(parents=True)
    with open_database(file) as database:
        assert not left_over.exists()
        database.execute("SET memory_limit = '40MB'; SET threads = 1")
        database.execute(
            "CREATE TEMP TABLE t AS SELECT i, repeat('x', 200) AS s FROM range(300_000) AS r (i)"
        )
        (spilled,) = (work / "spill").iterdir()
        assert stat.S_IMODE(spilled.stat().st_mode) == 0o700
    assert list((work / "spill").iterdir()) == []
    assert {path.name for path in file.parent.iterdir()} == {"home", file.name, work.name}


def test_values_in_texts_of_duckdb_are_not_passed_on(file: Path) -> None:
    with open_database(file) as database, pytest.raises(duckdb.Error) as caught:
        database.execute("SELECT 'a secret text'::INTEGER")
    assert "a secret text" in str(caught.value)
    error = explained(caught.value, file)
    assert type(error) is WarehouseError
    assert "secret" not in str(error)
    assert "ConversionException" in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IO Error: Could not write file: No space left on device", "the disk is full"),
        ("IO Error: File too large", "the disk is full"),
        ("IO Error: Corrupt database file: computed checksum 1", "damaged"),
        ("IO Error: Could not read enough bytes from file: attempted to read 9 bytes", "damaged"),
        ('IO Error: Failure while replaying WAL file "a.wal": WAL does not match', "the log beside the file"),
    ],
)
def test_what_the_disk_says_is_said_plainly(file: Path, text: str, message: str) -> None:
    assert message in str(explained(duckdb.IOException(text), file))


def test_other_errors_are_not_waited_for(file: Path) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise ValueError

    with pytest.raises(ValueError):
        when_unlocked(fail, file, timeout=5)
    assert calls == [1]


def test_the_file_and_its_log_are_the_owners_alone(file: Path, project: Project) -> None:
    with open_database(file) as database:
        database.execute("CREATE TABLE t AS SELECT 1")
        for path in (file, file.with_name(f"{file.name}.wal")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def groups_of(database: duckdb.DuckDBPyConnection, table: str) -> list[int]:
    """How many rows each row group of a table holds."""
    return [
        count
        for (count,) in database.execute(
            "SELECT sum(count) FROM pragma_storage_info(?) WHERE column_id = 0 AND segment_type = 'BIGINT' "
            "GROUP BY row_group_id ORDER BY row_group_id",
            [table],
        ).fetchall()
    ]


def test_rows_are_written_in_smaller_groups_than_duckdb_s_own(file: Path) -> None:
    with open_database(file) as database:
        database.execute("CREATE TABLE numbers AS SELECT range FROM range(100_000)")
        database.execute("CHECKPOINT")
        assert groups_of(database, "numbers") == [61_440, 38_560]


def test_a_table_in_larger_groups_is_added_to(file: Path) -> None:
    with duckdb.connect(file) as database:
        database.execute("CREATE TABLE numbers AS SELECT range FROM range(200_000)")
    with open_database(file) as database:
        database.execute("DELETE FROM numbers WHERE range % 2 = 1")
        database.execute("INSERT INTO numbers SELECT range FROM range(200_000) WHERE range % 2 = 1")
    with open_database(file, read_only=True) as database:
        assert database.execute("SELECT count(*), sum(range) FROM numbers").fetchall() == [
            (200_000, 199_999 * 100_000)
        ]
    with duckdb.connect(file, read_only=True) as database:
        assert database.execute("SELECT count(DISTINCT range) FROM numbers").fetchall() == [(200_000,)]
