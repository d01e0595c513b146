"""Memory stays bounded: DuckDB's by its settings, the rest by buffers of fixed size and few bytes a row."""

import os
import random
import resource
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from dlt.extract.source import DltSource
from dlt.pipeline.pipeline import Pipeline

from messaging_assets.api import row_index
from messaging_assets.sandbox import Sandbox
from messaging_assets.warehouse import memory, resume, spool
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.memory import MAX_THREADS, with_enough_memory
from messaging_assets.warehouse.staging import stage_with_dlt
from messaging_assets.warehouse.sync import Mode
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse import conftest
from messaging_assets_tests.warehouse.conftest import Platform, resource_words
from messaging_assets_tests.warehouse.processes import Address, elsewhere

SETTINGS = (
    "SELECT current_setting('memory_limit'), current_setting('threads'), current_setting('temp_directory')"
)
# Rows of 2 KB: 20 MB and 60 MB of them, both enough to fill each buffer.
FEW, MANY, TEXT_BYTES = 10_000, 30_000, 2_000
# Arrow tables that are kept take twice this for the rows in between, as does DuckDB without a limit.
MOST_BYTES_MORE = (MANY - FEW) * TEXT_BYTES // 2


def test_duckdb_has_limits_and_spills_beside_the_file(location: WarehouseLocation) -> None:
    location.prepare()
    with open_database(location.database, memory="64MB") as database:
        limit, threads, spill = database.execute(SETTINGS).fetchall()[0]
    assert (limit, 1 <= threads <= MAX_THREADS) == ("61.0 MiB", True)
    assert Path(spill).parent == location.work / "spill"


def test_dlts_own_connection_has_the_same(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMORY_LIMIT", "64MB")
    found: list[tuple[Any, ...]] = []

    def stage(source: DltSource, pipeline: Pipeline) -> None:
        stage_with_dlt(source, pipeline)
        with pipeline.sql_client() as client, client.execute_query(SETTINGS) as cursor:
            found.extend(cursor.fetchall())

    platform.sync("users", stage=stage)
    ((limit, threads, spill),) = found
    assert (limit, 1 <= threads <= MAX_THREADS) == ("61.0 MiB", True)
    assert Path(spill).parent == platform.location.work / "spill"


def test_rows_too_large_for_the_limit_are_loaded_without_one(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB works on 2,048 rows at once, here of 10 KB."""
    monkeypatch.setattr(memory, "MEMORY_LIMIT", "24MB")
    monkeypatch.setattr(conftest, "PAGE", 500)
    limits: list[str | None] = []
    configured = memory.duckdb_settings

    def noted(path: Path, limit: str | None) -> dict[str, Any]:
        limits.append(limit)
        return configured(path, limit)

    monkeypatch.setattr("messaging_assets.warehouse.database.duckdb_settings", noted)
    draws = random.Random(1)
    rows = [{"id": i, "text": draws.randbytes(5_000).hex()} for i in range(2_100)]
    platform.things(*rows)
    result = platform.sync()
    assert (result.new, result.verified) == (2_100, "full")
    assert limits == ["24MB", None]
    assert {row["text"] for row in platform.rows().values()} == {row["text"] for row in rows}


def test_each_table_of_the_spool_is_written_at_once(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are of bounded size; dlt by itself collects 5,000 rows, of whatever size."""
    monkeypatch.setattr(spool, "CHUNK_ROWS", 10)
    written: list[int] = []

    def stage(source: DltSource, pipeline: Pipeline) -> None:
        pipeline.extract(source)
        pipeline.normalize()
        (file,) = Path(pipeline.working_dir).rglob("users.*.parquet")
        metadata = pq.read_metadata(file)
        written.extend(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        pipeline.load().raise_on_failed_jobs()

    assert platform.sync("users", stage=stage).new == 45
    # Each page but the first has a row of the one before.
    assert written == [20, 19, 6]


def test_other_errors_are_not_tried_again() -> None:
    tries: list[str | None] = []

    def fails(limit: str | None) -> None:
        tries.append(limit)
        raise duckdb.ConstraintException

    with pytest.raises(duckdb.ConstraintException):
        with_enough_memory(fails)
    assert tries == [memory.MEMORY_LIMIT]


def syncs_with_small_buffers(
    address: Address, location: WarehouseLocation, folder: Path, mode: Mode, pipe: Any
) -> None:
    """A sync with buffers so small that few rows fill them all; what it took at most."""
    pipe.send("ready")
    os.chdir(folder)
    spool.CHUNK_ROWS = row_index.RECENT_ROWS = resume.ROWS_BETWEEN_CHECKPOINTS = 500
    memory.MEMORY_LIMIT = "24MB"
    conftest.PAGE = 100
    platform = Platform(address, location, (resource_words("things"),))  # type: ignore[arg-type]
    result = platform.sync(mode=mode)
    pipe.send((result.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def peaks(count: int, folder: Path) -> list[int]:
    """The most memory that a first sync takes, and a reconcile with nothing changed."""
    folder.mkdir()
    location = WarehouseLocation(folder / "chat.duckdb")
    draws = random.Random(1)
    rows = [{"id": i, "text": draws.randbytes(TEXT_BYTES // 2).hex()} for i in range(count)]
    found = []
    with Sandbox(users=1, channels=1, messages=1) as sandbox:
        sandbox.add_resource("things", rows)
        address = Address(sandbox.base_url, sandbox.client_id, sandbox.client_secret)
        modes: tuple[Mode, ...] = ("sync", "reconcile")
        for mode in modes:
            with elsewhere(syncs_with_small_buffers, address, location, folder, mode) as (_, pipe):
                held, peak = pipe.recv()
            assert held == count
            found.append(peak)
    return found


def test_memory_hardly_grows_with_rows(project: Project) -> None:
    """What it grows by, 17 bytes a row, is held to in `api.test_row_index`."""
    few, many = peaks(FEW, project.path / "few"), peaks(MANY, project.path / "many")
    for of_few, of_many in zip(few, many, strict=True):
        assert of_many - of_few < MOST_BYTES_MORE
