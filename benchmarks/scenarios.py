"""The scenarios: what is measured, by whom, on how much, and what it has to reach.

Each is a function of the bench (`bench`), which runs contenders and keeps their figures. How a process is
measured stands in `processes`, what a figure means in `figures`.
"""

import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import contenders
from benchmarks.bench import Bench, Held, Racer
from benchmarks.clients import CLIENTS
from benchmarks.figures import Measurement, beyond
from benchmarks.processes import Run
from benchmarks.server import ApiServer

RESOURCES = ("users", "channels", "messages")
PAGE = 100


# --- first syncs


def first_sync(bench: Bench) -> None:
    """A first sync without latency, against the floor and plain dlt."""
    plain: list[Racer] = [partial(contenders.plain_dlt, file_format="parquet"), contenders.plain_dlt]
    for messages, limit, aim, others in ((100_000, 2.0, 1.5, plain), (500_000, 1.6, 1.3, [])):
        size = bench.size(messages)
        racers: list[Racer] = [contenders.floor, contenders.platform, *bench.importers, *others]
        with ApiServer(messages=size) as server:
            found = bench.race("first sync", server, size, racers)
        given = bench.seconds_of_imports(found)
        bench.reach(
            f"first sync of {size:,}, in times of the floor, without the import of dlt ({given:.2f} s)",
            beyond(found["platform"], given, found["floor"]),
            limit,
            aim=aim,
        )
        for name, times in (("plain dlt", 10.0), ("plain dlt, parquet", 3.0)):
            if name in found:
                faster = found[name].median / found["platform"].median
                bench.reach(f"first sync of {size:,}, faster than {name}", faster, times, at_least=True)


def latency(bench: Bench) -> None:
    """A first sync with 20 and with 100 ms of latency in each request, against the floor."""
    size = bench.size(100_000)
    with ApiServer(messages=size) as server:
        for seconds in (0.02, 0.1):
            name = f"first sync with {1000 * seconds:.0f} ms of latency"
            server.wait(seconds)
            found = bench.race(name, server, size, [contenders.floor, contenders.platform, *bench.importers])
            given = bench.seconds_of_imports(found)
            bench.reach(
                f"{name}, in times of the floor, without the import of dlt ({given:.2f} s)",
                beyond(found["platform"], given, found["floor"]),
                1.2,
            )


def compression(bench: Bench) -> None:
    """A first sync without latency from a server that compresses for those who accept it."""
    size = bench.size(100_000)
    with ApiServer(messages=size, compressed=True) as server:
        bench.race("first sync, compressed", server, size, [contenders.floor, contenders.platform])


def growth(bench: Bench) -> None:
    """First sync and reconcile of ten thousand, of a hundred thousand and of a million messages, or more."""
    sizes = (10_000, 100_000, 1_000_000, *((5_000_000,) if bench.large else ()))
    peaks = {messages: _peaks(bench, bench.size(messages)) for messages in sizes}
    for mode in ("first sync", "reconcile"):
        whole, where = peaks[1_000_000][mode], f"memory at {bench.size(1_000_000):,}, {mode}"
        bench.reach(where, whole, 500.0, unit="MB")
        times = f"{where}, in times of that at {bench.size(100_000):,}"
        bench.reach(times, whole / peaks[100_000][mode], 1.3)


def _peaks(bench: Bench, size: int) -> dict[str, float]:
    peaks = {}
    with ApiServer(messages=size) as server:
        held = Held(bench, server, size, bench.place())
        modes: dict[str, contenders.Mode] = {
            "first sync": "sync",
            "reconcile": "reconcile",
            "sync, unchanged": "sync",
        }
        for name, mode in modes.items():
            done, requests = held.sync(f"growth, {name}", mode)
            kept = bench.keep(
                f"growth, {name}",
                "platform",
                size,
                [done],
                requests=requests,
                database_megabytes=held.place.database_megabytes,
            )
            peaks[name] = kept.peak
        shutil.rmtree(held.place.folder)
    return peaks


# --- a million messages held


def unchanged(bench: Bench) -> None:
    """A sync with nothing changed, over limit and offset alone."""
    held = bench.held
    before = storage_of(held.place.database)
    found = [held.sync("sync, unchanged") for _ in range(bench.runs)]
    runs, requests = [done for done, _ in found], found[-1][1]
    _keep_held(bench, "sync, unchanged", held, runs, requests)
    after = storage_of(held.place.database)
    where = f"at {held.messages:,} held, nothing changed"
    for resource in RESOURCES:
        bench.reach(f"requests {where}, {resource}", requests.get(resource, 0), 3, unit="requests")
    bench.reach(f"rows written {where}", written(runs), 0, unit="rows")
    bench.reach(f"blocks of the tables that moved {where}", len(before ^ after), 0, unit="blocks")
    bench.reach(f"beyond process start {where}", _beyond_start(runs), 1.0, unit="s")


def new_messages(bench: Bench) -> None:
    """A sync that finds 150 new messages."""
    held = bench.held
    _, before = held.sync("sync, unchanged")
    held.server.append(150)
    done, requests = held.sync("sync, 150 new")
    _keep_held(bench, "sync, 150 new", held, [done], requests)
    more = requests.get("messages", 0) - before.get("messages", 0)
    where = f"at {held.messages:,} held, 150 new"
    bench.reach(f"requests more than with nothing changed, {where}", more, 3, unit="requests")
    bench.reach(f"new messages found, {where}", found_rows(done, "new"), 150, at_least=True, unit="rows")


def deletions(bench: Bench) -> None:
    """A sync that finds 20 messages deleted."""
    held = bench.held
    held.server.delete(20)
    done, requests = held.sync("sync, 20 deleted")
    _keep_held(bench, "sync, 20 deleted", held, [done], requests)
    where = f"at {held.messages:,} held, 20 deleted"
    bench.reach(f"requests for messages, {where}", requests.get("messages", 0), 500, unit="requests")
    bench.reach(f"deletions found, {where}", found_rows(done, "deleted"), 20, at_least=True, unit="rows")


def reconcile(bench: Bench) -> None:
    """A full reconcile with nothing changed, against fetching and parsing alone."""
    held = bench.held
    before = storage_of(held.place.database)
    pages = held.messages // PAGE
    runs, alone = [], []
    for _ in range(bench.runs):
        alone.append(_client(bench, held.server, "aiohttp", pages, "fetching and parsing alone"))
        done, requests = held.sync("reconcile, unchanged", "reconcile")
        runs.append(done)
    _keep_held(bench, "reconcile, unchanged", held, runs, requests)
    bench.keep("fetching and parsing alone", "aiohttp", held.messages, alone)
    where = f"reconcile of {held.messages:,}, nothing changed"
    bench.reach(f"rows written, {where}", written(runs), 0, unit="rows")
    after = storage_of(held.place.database)
    bench.reach(f"blocks of the tables that moved, {where}", len(before ^ after), 0, unit="blocks")
    bench.reach(
        f"{where}, beyond process start, in times of fetching and parsing alone",
        _beyond_start(runs) / statistics.median(done.report["seconds"] for done in alone),
        2.0,
    )


def dagster_job(bench: Bench) -> None:
    """Dagster's own command line, with nothing changed."""
    held = bench.held
    command = contenders.dagster_job(held.server.base_url, held.place)
    runs = []
    for _ in range(bench.runs):
        held.server.take_counts()
        runs.append(bench.run("sync, unchanged", command, held.place))
    requests = held.server.take_counts()
    kept = _keep_held(bench, "sync, unchanged", held, runs, requests, contender=command.contender)
    bench.reach("dagster job execute, nothing changed, process start included", kept.median, 6.0, unit="s")


def sensor(bench: Bench) -> None:
    """The sensor's tick, with the history of a sync that succeeded."""
    held = bench.held
    bench.run("sync for the sensor", contenders.dagster_job(held.server.base_url, held.place), held.place)
    held.server.take_counts()
    done = bench.run("sensor", contenders.sensor_ticks(held.server.base_url, held.place), held.place)
    # The first tick opens the history and imports; a daemon does so once.
    ticks = done.report["ticks"][1:]
    bench.measurements.append(
        Measurement("sensor's tick", "platform", held.messages, ticks, requests=held.server.take_counts())
    )
    bench.reach("the sensor's tick in a warm process", max(ticks), 0.5, unit="s")


def analytics(bench: Bench) -> None:
    """The refresh of the analytics after one message in a hundred is new."""
    held = bench.held
    command = contenders.analytics(held.server.base_url, held.place)
    bench.run("analytics, built", command, held.place)
    runs = []
    for _ in range(bench.runs):
        held.server.append(held.messages // 100)
        held.sync("sync, 1 % new")
        runs.append(bench.run("analytics, 1 % new", command, held.place))
    _keep_held(bench, "analytics, 1 % new", held, runs, {})
    where = f"refresh of the analytics at {held.messages:,} held, 1 % new"
    least = min(sum(done.report["written"].values()) for done in runs)
    bench.reach(f"{where}, beyond process start", _beyond_start(runs), 2.0, unit="s")
    bench.reach(f"{where}, rows written", least, 1, at_least=True, unit="rows")


def _keep_held(
    bench: Bench,
    scenario: str,
    held: Held,
    runs: Sequence[Run],
    requests: dict[str, int],
    contender: str = "platform",
) -> Measurement:
    size = held.place.database_megabytes
    return bench.keep(scenario, contender, held.messages, runs, requests=requests, database_megabytes=size)


def _beyond_start(runs: Sequence[Run]) -> float:
    """The seconds from the end of the imports to the end of the process."""
    seconds: list[float] = [done.ended - done.report["began"] for done in runs]
    return statistics.median(seconds)


# --- the rest


def declared_filter(bench: Bench) -> None:
    """A sync through the API's filter, declared in the connection file: nothing changed, and 150 new."""
    size = bench.size(100_000)
    with ApiServer(messages=size) as server:
        held = Held(bench, server, size, bench.place())
        contenders.declare_filter(held.place)
        held.sync("loading")
        done, requests = held.sync("sync by filter, unchanged")
        _keep_held(bench, "sync by filter, unchanged", held, [done], requests)
        # The row updated last comes back with each look; it makes a page.
        bench.reach("requests by filter, nothing changed", requests.get("messages", 0), 2, unit="requests")
        server.append(150)
        done, requests = held.sync("sync by filter, 150 new")
        _keep_held(bench, "sync by filter, 150 new", held, [done], requests)
        pages = 1 + 150 // PAGE
        bench.reach("requests by filter, 150 new", requests.get("messages", 0), 1 + pages, unit="requests")
        bench.reach("rows by filter, 150 new", found_rows(done, "new"), 150, at_least=True, unit="rows")


def churn(bench: Bench) -> None:
    """The size of the database after a hundred reconciles with one row in a hundred edited before each."""
    size, times = bench.size(250_000), 5 if bench.quick else 100
    with ApiServer(messages=size) as server:
        held = Held(bench, server, size, bench.place())
        held.sync("loading")
        runs = []
        for _ in range(times):
            server.edit(size // 100)
            done, requests = held.sync("reconcile, 1 % edited", "reconcile")
            runs.append(done)
        kept = _keep_held(bench, "reconcile, 1 % edited", held, runs, requests)
        fresh = Held(bench, server, size, bench.place())
        done, requests = fresh.sync("fresh load")
        loaded = _keep_held(bench, "fresh load", fresh, [done], requests)
    assert kept.database_megabytes
    assert loaded.database_megabytes
    bench.reach(
        f"size of the database after {times} times 1 % edited of {size:,}, in times of a fresh load",
        kept.database_megabytes / loaded.database_megabytes,
        1.6,
    )


def http_clients(bench: Bench) -> None:
    """The HTTP clients that are installed anyway, over a thousand pages."""
    pages = bench.size(100_000) // PAGE
    with ApiServer(messages=pages * PAGE) as server:
        for seconds in (0.0, 0.02):
            server.wait(seconds)
            name = f"HTTP client, {pages:,} pages, {1000 * seconds:.0f} ms of latency"
            found: dict[str, list[Run]] = {}
            for _ in range(bench.runs):
                for client in CLIENTS:
                    found.setdefault(client, []).append(_client(bench, server, client, pages, name))
            for client, runs in found.items():
                bench.measurements.append(
                    Measurement(
                        name,
                        client,
                        pages * PAGE,
                        [done.report["seconds"] for done in runs],
                        [done.report["cpu_seconds"] for done in runs],
                    )
                )


def _client(bench: Bench, server: ApiServer, client: str, pages: int, scenario: str) -> Run:
    place = bench.place()
    return bench.run(scenario, contenders.client(server.base_url, client, pages), place)


# --- what a run did to the tables


def written(runs: Sequence[Run]) -> int:
    """How many rows the runs wrote, by their own account."""
    kinds = ("new", "changed", "deleted", "restored")
    return sum(found_rows(done, kind) for done in runs for kind in kinds)


def found_rows(done: Run, kind: str) -> int:
    """How many rows of a kind a run of the platform found, in all resources."""
    return sum(resource[kind] for resource in done.report["resources"].values())


def storage_of(database: Path) -> frozenset[tuple[Any, ...]]:
    """Where each piece of the three tables lies in the file: the same while nothing is written to them."""
    pieces: set[tuple[Any, ...]] = set()
    with duckdb.connect() as connection:
        # Under a name of its own: the file's name is that of a schema in it.
        connection.execute("ATTACH ? AS held (READ_ONLY)", [str(database)])
        for table in RESOURCES:
            found = connection.execute(
                "SELECT row_group_id, column_id, column_path, segment_id, count, block_id, block_offset "
                "FROM pragma_storage_info(?)",
                [f"held.messaging.{table}"],
            ).fetchall()
            pieces.update((table, *piece) for piece in found)
    return frozenset(pieces)


SCENARIOS: Mapping[str, Callable[[Bench], None]] = {
    "first-sync": first_sync,
    "latency": latency,
    "compression": compression,
    "growth": growth,
    "unchanged": unchanged,
    "reconcile": reconcile,
    "job": dagster_job,
    "sensor": sensor,
    "new-messages": new_messages,
    "deletions": deletions,
    "analytics": analytics,
    "filter": declared_filter,
    "churn": churn,
    "clients": http_clients,
}
