"""A project folder as a user has it: the command line runs in it, in processes of its own.

Here stand the folder, its environment and what its warehouse holds, next to what the API holds. What is
done to the processes belongs to the tests.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import duckdb

from messaging_assets.sandbox import At, Faults, Sandbox
from messaging_assets_tests.kill_points import KillPoint
from messaging_assets_tests.warehouse.processes import Command

ROOT = Path(__file__).parents[1]
PAGE = 20
# The packaged connection with pages of few rows and no patience.
CONNECTION = f"""
client:
  auth: {{type: oauth2, client_id: "${{secret:client_id}}", client_secret: "${{secret:client_secret}}"}}
resource_defaults:
  primary_key: id
  write_disposition: merge
  endpoint:
    data_selector: data
    paginator: {{type: offset, limit: {PAGE}}}
    error_handler: {{max_retries: 0}}
resources:
"""
# What a table holds: the content of each living row, None for a row that is marked as deleted.
State = dict[Any, dict[str, Any] | None]


@dataclass(frozen=True)
class Installation:
    """A folder in which `messaging` is used, and the API that it is configured for.

    Args:
        folder: The project.
        sandbox: The API.
    """

    folder: Path
    sandbox: Sandbox

    @property
    def environment(self) -> dict[str, str]:
        """All that a process is given."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "MESSAGING__CONNECTIONS": "connections",
            "SOURCES__MESSAGING__BASE_URL": self.sandbox.base_url,
            "SOURCES__MESSAGING__CLIENT_ID": self.sandbox.client_id,
            "SOURCES__MESSAGING__CLIENT_SECRET": self.sandbox.client_secret,
        }

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.folder / ".warehouse" / "messaging.duckdb"

    @property
    def work(self) -> Path:
        """The working folder beside it."""
        return self.database.with_name("messaging.duckdb.work")

    def prepare(self, *resources: str) -> "Installation":
        """Make the folder, with a connection that reads these resources; the messages by default."""
        for name in ("home", "tmp", "connections"):
            (self.folder / name).mkdir(parents=True)
        lines = [
            f"  - {{name: {name}, endpoint: {{path: /v1/{name}}}}}" for name in resources or ["messages"]
        ]
        (self.folder / "connections" / "messaging.yaml").write_text(CONNECTION + "\n".join(lines))
        return self

    def start(self, *arguments: str, settings: Mapping[str, str] = {}, **more: Any) -> ForkServerProcess:
        """Start `messaging` in a process that has imported everything already.

        Args:
            arguments: Such as `sync`.
            settings: Further environment variables.
            more: Further fields of `Command`.
        """
        return Command(arguments, self.folder, {**self.environment, **settings}, **more).start()

    def run(self, *arguments: str, **more: Any) -> int:
        """Run it to its end; the exit code, a negative signal where one has ended it."""
        process = self.start(*arguments, **more)
        process.join(60)
        assert process.exitcode is not None
        return process.exitcode

    def run_until_page(self, page: int, **more: Any) -> int:
        """Read everything, and have the API kill the process when it asks for a page."""
        process: Future[int] = Future()
        self.sandbox.order(Faults(script=[At(page, lambda _: os.kill(process.result(10), signal.SIGKILL))]))
        started = self.start("sync", "--reconcile", **more)
        assert started.pid is not None
        process.set_result(started.pid)
        started.join(60)
        self.sandbox.order()
        assert started.exitcode is not None
        return started.exitcode

    def console_script(self, *arguments: str, point: KillPoint | None = None) -> "subprocess.Popen[str]":
        """Start the console script itself."""
        armed = self.folder / "home" / "armed"
        armed.mkdir(exist_ok=True)
        lines = [f"from {KillPoint.__module__} import KillPoint", f"{point!r}.arm()"] if point else []
        (armed / "sitecustomize.py").write_text("\n".join(lines))
        return self._popen(Path(sys.executable).with_name("messaging"), *arguments, path=armed)

    def job(self, output: Path | None = None) -> "subprocess.Popen[str]":
        """Start the sync job by Dagster's own command line."""
        job = ("job", "execute", "-m", "messaging_assets.definitions", "-j", "messaging_sync")
        return self._popen(sys.executable, "-m", "dagster", *job, output=output)

    def _popen(
        self, *command: str | Path, path: Path = ROOT, output: Path | None = None
    ) -> "subprocess.Popen[str]":
        with ExitStack() as closing:
            target: Any = closing.enter_context(output.open("w")) if output else subprocess.PIPE
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"},
                stdout=target,
                stderr=subprocess.STDOUT,
                text=True,
            )

    @property
    def output(self) -> str:
        """What the last process said that `start` or `run` has started."""
        return (self.folder / "output").read_text()

    def held(self, resource: str = "messages") -> State:
        """What the table holds, as a client of DuckDB sees it; nothing where there is none yet."""
        if not self.database.exists():
            return {}
        with duckdb.connect(self.database, read_only=True) as database:
            try:
                found = database.sql(f"SELECT * EXCLUDE (_row_hash) FROM messaging.messaging.{resource}")
            except duckdb.CatalogException:
                return {}
            kinds = [str(kind) for kind in found.types]
            rows = [
                dict(zip(found.columns, map(_plain, row, kinds), strict=True)) for row in found.fetchall()
            ]
        states = {row["id"]: None if row.pop("deleted_at") else row for row in rows}
        assert len(states) == len(rows)
        return states

    def truth(self, resource: str = "messages", *, gone: Iterable[Any] = ()) -> State:
        """What the table must hold: the rows that the API has, and the marks of those that are gone."""
        return {**dict.fromkeys(gone), **{row["id"]: row for row in self.sandbox.rows(resource)}}

    def schemas(self) -> set[str]:
        """The schemas in the warehouse."""
        with duckdb.connect(self.database, read_only=True) as database:
            found = database.sql("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal").fetchall()
        return {name for (name,) in found} - {"main"}

    def work_files(self) -> set[str]:
        """The files of the working folder."""
        return {path.name for path in self.work.rglob("*") if path.is_file()}

    def assert_tidy(self) -> None:
        """Nothing is left but the tables, the lock, who held it last, and what is remembered of pages."""
        assert not [name for name in self.schemas() if "staging" in name]
        pages = {path.name for path in (self.work / "pages" / "messaging").glob("*.parquet")}
        assert self.work_files() == {"messaging.lock", "messaging.holder"} | pages, self.work_files()


def _plain(value: Any, kind: str) -> Any:
    """A value as the API writes it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return json.loads(value) if kind == "JSON" and value is not None else value
