"""The contenders: for each the command that runs it against a server, into a folder of its own."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.processes import PROJECT
from benchmarks.server import CLIENT_ID, CLIENT_SECRET

Mode = Literal["sync", "reconcile"]

_CONNECTION = PROJECT / "messaging_assets" / "connections" / "messaging.yaml"
# In dlt's own words, as a user whose API has a filter writes it.
_FILTER = """
      incremental:
        cursor_path: updated_at
        start_param: updated_since
        initial_value: "1970-01-01T00:00:00Z"
"""


@dataclass(frozen=True)
class Place:
    """A folder in which a contender works.

    Args:
        folder: The folder; it exists.
    """

    folder: Path

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.folder / "messaging.duckdb"

    @property
    def database_megabytes(self) -> float | None:
        """Its size, None where there is no file."""
        return self.database.stat().st_size / 1_000_000 if self.database.exists() else None


@dataclass(frozen=True)
class Command:
    """How to run a contender.

    Attributes:
        contender: Its name in the tables.
        words: The program and its arguments.
        settings: Its environment.
    """

    contender: str
    words: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)


def floor(base_url: str, place: Place) -> Command:
    """The hand-written script."""
    return _module("floor", "floor", *_credentials(base_url), str(place.database))


def plain_dlt(base_url: str, place: Place, file_format: str = "") -> Command:
    """Plain dlt with the guide's configuration.

    Args:
        base_url: The server.
        place: Where it works.
        file_format: dlt's `loader_file_format`; empty for its default.
    """
    name = f"plain dlt, {file_format}" if file_format else "plain dlt"
    arguments = [*_credentials(base_url), str(place.database), file_format]
    return _module(name, "plain_dlt", *arguments, settings={"RUNTIME__DLTHUB_TELEMETRY": "false"})


def platform(base_url: str, place: Place, mode: Mode = "sync") -> Command:
    """The platform's sync of all resources, without Dagster."""
    return _module("platform", "synced", mode, settings=_settings(base_url, place))


def analytics(base_url: str, place: Place) -> Command:
    """The refresh of the platform's analytics, without Dagster."""
    return _module("platform", "refreshed", settings=_settings(base_url, place))


def dagster_job(base_url: str, place: Place) -> Command:
    """The platform's sync job, by Dagster's own command line, with a history in the place."""
    words = ["dagster", "job", "execute", "-m", "messaging_assets.definitions", "-j", "messaging_sync"]
    return Command("dagster job execute", words, _dagster_settings(base_url, place))


def sensor_ticks(base_url: str, place: Place) -> Command:
    """The sensor, several ticks in one process, with the history that the job has left in the place."""
    return _module("sensor", "ticks", settings=_dagster_settings(base_url, place))


def client(base_url: str, name: str, pages: int) -> Command:
    """One HTTP client that reads and parses pages of messages, and does nothing with them."""
    return _module(name, "clients", name, *_credentials(base_url), str(pages))


def imports(modules: Sequence[str]) -> Command:
    """Python and what the floor imports, then these modules of dlt, then nothing.

    The process begins and ends as the platform's does, so that the end of one that has imported dlt, which
    takes a tenth of a second and which the platform spares, is not counted as import.
    """
    script = (
        "import importlib, sys\n"
        "from messaging_assets.warehouse.garbage import brief_process\n"
        "with brief_process():\n"
        "    import aiohttp, duckdb, orjson, pyarrow\n"
        "    for name in sys.argv[1:]: importlib.import_module(name)"
    )
    return Command("import dlt" if modules else "no dlt", [sys.executable, "-c", script, *modules])


def declare_filter(place: Place) -> None:
    """Has the platform read messages by the API's filter: the guide's connection file with one word more."""
    lines = _CONNECTION.read_text()
    path = "endpoint: {path: /v1/messages}"
    if path not in lines:
        raise ValueError(f"{_CONNECTION} has no line with {path}")
    declared = lines.replace(path, f"endpoint:\n      path: /v1/messages{_FILTER.rstrip()}")
    folder = place.folder / "connections"
    folder.mkdir()
    (folder / _CONNECTION.name).write_text(declared)


def _module(
    contender: str, module: str, *arguments: str, settings: Mapping[str, str] | None = None
) -> Command:
    return Command(contender, [sys.executable, "-m", f"benchmarks.{module}", *arguments], settings or {})


def _credentials(base_url: str) -> tuple[str, str, str]:
    return base_url, CLIENT_ID, CLIENT_SECRET


def _settings(base_url: str, place: Place) -> dict[str, str]:
    settings = {
        "SOURCES__MESSAGING__BASE_URL": base_url,
        "SOURCES__MESSAGING__CLIENT_ID": CLIENT_ID,
        "SOURCES__MESSAGING__CLIENT_SECRET": CLIENT_SECRET,
        "DESTINATION__DUCKDB__CREDENTIALS": str(place.database),
    }
    connections = place.folder / "connections"
    return settings | ({"MESSAGING__CONNECTIONS": str(connections)} if connections.exists() else {})


def _dagster_settings(base_url: str, place: Place) -> dict[str, str]:
    home = place.folder / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    return _settings(base_url, place) | {"DAGSTER_HOME": str(home)}
