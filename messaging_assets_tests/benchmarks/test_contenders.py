"""The contenders do the same job, and a process is measured with all that belongs to it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from benchmarks import contenders, floor, synced
from benchmarks.clients import CLIENTS
from benchmarks.clients import main as read_pages
from benchmarks.contenders import Place
from benchmarks.processes import ContenderError, memory_of, run, tree_of
from benchmarks.scenarios import storage_of
from benchmarks.server import CHANNELS, CLIENT_ID, CLIENT_SECRET, USERS, ApiServer
from messaging_assets.api.connection import read_connections
from messaging_assets_tests.conftest import Project

MESSAGES = 300


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer(messages=MESSAGES) as server:
        yield server


@pytest.fixture
def place(project: Project, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place for a contender, whose settings are those of this process."""
    place = Place(project.path)
    for name, value in contenders.platform(server.base_url, place).settings.items():
        monkeypatch.setenv(name, value)
    return place


def contents(database: Path, schema: str, table: str) -> list[tuple[object, ...]]:
    columns = "id, name, created_at" if table != "messages" else "id, name, created_at, text, reactions::JSON"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("ATTACH ? AS held (READ_ONLY)", [str(database)])
        return connection.execute(f"SELECT {columns} FROM held.{schema}.{table} ORDER BY id").fetchall()


def test_the_floor_loads_what_the_platform_loads(place: Place, server: ApiServer) -> None:
    file = place.folder / "floor.duckdb"
    asyncio.run(floor.main(server.base_url, CLIENT_ID, CLIENT_SECRET, str(file)))
    told = synced.main("sync")["resources"]
    assert {name: found["rows"] for name, found in told.items()} == {
        "users": USERS,
        "channels": CHANNELS,
        "messages": MESSAGES,
    }
    for table in told:
        rows = contents(file, "main", table)
        assert rows == contents(place.database, "messaging", table)
        assert len(rows) == told[table]["new"]
    before = storage_of(place.database)
    again = synced.main("reconcile")["resources"]
    assert {found["new"] + found["changed"] + found["deleted"] for found in again.values()} == {0}
    assert storage_of(place.database) == before
    server.edit(1)
    assert synced.main("reconcile")["resources"]["messages"]["changed"] == 1
    assert storage_of(place.database) != before


def test_a_declared_filter_is_understood(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    contenders.declare_filter(place)
    for name, value in contenders.platform("http://127.0.0.1:9", place).settings.items():
        monkeypatch.setenv(name, value)
    [connection] = read_connections()
    assert connection.file == place.folder / "connections" / "messaging.yaml"
    messages = connection.resource("messages").endpoint
    assert messages["incremental"]["start_param"] == "updated_since"
    assert messages["path"] == "/v1/messages"


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_reads_every_row(client: str, server: ApiServer) -> None:
    assert read_pages(client, server.base_url, CLIENT_ID, CLIENT_SECRET, "12")["rows"] == MESSAGES


def test_what_a_process_printed_last_is_its_report(tmp_path: Path) -> None:
    script = (
        "import json, os; print('{}'); print(json.dumps(dict(home=os.environ['HOME'], here=os.getcwd())))"
    )
    done = run([sys.executable, "-c", script], folder=tmp_path, settings={})
    assert done.report == {"home": str(tmp_path), "here": str(tmp_path)}
    assert done.seconds > 0
    assert done.cpu_seconds > 0
    assert run([sys.executable, "-c", "print('no JSON')"], folder=tmp_path, settings={}).report == {}


def test_a_process_that_fails_has_no_figures(tmp_path: Path) -> None:
    with pytest.raises(ContenderError, match="no such thing"):
        run([sys.executable, "-c", "import sys; sys.exit('no such thing')"], folder=tmp_path, settings={})


def test_memory_is_that_of_the_whole_tree() -> None:
    holds = "held = bytearray(50_000_000); print('ready', flush=True); input()"
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {holds!r}], stdin=subprocess.PIPE)\n"
        "input(); child.stdin.close(); child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        tree = list(tree_of(process.pid))
        assert len(tree) == 2
        sizes = [memory_of(found) for found in tree]
        process.communicate("\n")
    assert all(size is not None and size[1] >= size[0] > 0 for size in sizes)
    assert sum(size[0] for size in sizes if size is not None) > 50_000_000
    assert memory_of(process.pid) is None
