"""Each row of the fault matrix over real HTTP, through dlt, into a real DuckDB file, reading everything.

The words of the matrix are compared with what is seen here, so that the table can't lie.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dagster import AssetCheckSeverity

from messaging_assets.api.connection import connection_from_dict
from messaging_assets.api.errors import MessagingError
from messaging_assets.api.source import Api
from messaging_assets.cli import main
from messaging_assets.orchestration.checks import columns_stable, complete, records_stored
from messaging_assets.sandbox import Faults, Sandbox
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.sync import SyncResult, sync_resource
from messaging_assets_tests.conftest import FAULT_SEEN, Project
from messaging_assets_tests.fault_matrix import (
    CHANNELS,
    MATRIX,
    MESSAGES,
    PAGE,
    README,
    USERS,
    Fault,
    as_markdown,
    cells,
    in_readme,
)
from messaging_assets_tests.guide import guide, listed
from messaging_assets_tests.truth import Became, Table, compare

pytestmark = pytest.mark.dagster

RESOURCES = ("users", "channels", "messages")


@dataclass
class World:
    """A sandbox, what a connection says of it, and a warehouse."""

    sandbox: Sandbox
    location: WarehouseLocation
    fault: Fault

    @property
    def config(self) -> dict[str, Any]:
        """The guide's dictionary, with little patience."""
        lists = [
            listed(
                name, limit=PAGE, error_handler={"max_retries": 1, "backoff_factor": 0} | self.patience(name)
            )
            for name in RESOURCES
        ]
        made = guide(self.sandbox, *lists, **self.fault.client)
        made["client"]["base_url"] = self.fault.address(self.sandbox.base_url)
        return made

    def patience(self, resource: str) -> dict[str, Any]:
        return dict(self.fault.error_handler) if resource == self.fault.resource else {}

    def open(self) -> Api:
        return Api(self.config, name="messaging")

    def sync(self, api: Api, resource: str, *, accepts: bool = False) -> SyncResult:
        connection = connection_from_dict("messaging", self.config)
        return sync_resource(
            api, connection, resource, location=self.location, mode="reconcile", accept_deletions=accepts
        )

    def command(self) -> Result:
        """The command line, with the same configuration in files and in the environment."""
        words = {name: self.config[name] for name in ("resource_defaults", "resources")}
        Path("connections").mkdir()
        Path("connections/messaging.yaml").write_text(
            json.dumps({"client": {"auth": {"type": "oauth2"}}, **words})
        )
        settings = {
            "MESSAGING__CONNECTIONS": "connections",
            "DESTINATION__DUCKDB__CREDENTIALS": str(self.location.database),
            "SOURCES__MESSAGING__BASE_URL": self.sandbox.base_url,
            "SOURCES__MESSAGING__CLIENT_ID": self.sandbox.client_id,
            "SOURCES__MESSAGING__CLIENT_SECRET": self.sandbox.client_secret,
        }
        return CliRunner().invoke(main, self.fault.command, env=settings, catch_exceptions=False)

    def table(self, resource: str) -> Table:
        return Table.read(self.location.database, "messaging", resource)

    def is_exact(self, resource: str) -> bool:
        return self.table(resource).is_exactly(self.sandbox.rows(resource))


CALM = Fault("nothing", "")


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the warehouse waits that has seen the workspace once; the first test fills it."""
    return tmp_path_factory.mktemp("synced") / "data.duckdb"


@pytest.fixture
def world(project: Project, synced: Path, fault: Fault) -> Iterator[World]:
    with Sandbox(users=USERS, channels=CHANNELS, messages=MESSAGES) as sandbox:
        if not synced.exists():
            first = World(sandbox, WarehouseLocation(synced), CALM)
            with first.open() as api:
                for resource in RESOURCES:
                    first.sync(api, resource)
        location = WarehouseLocation(project.path / "warehouse" / "data.duckdb")
        location.database.parent.mkdir()
        shutil.copy(synced, location.database)
        yield World(sandbox, location, fault)


@pytest.mark.parametrize("area, fault", MATRIX, ids=[f"{area}: {fault.does}" for area, fault in MATRIX])
def test_a_fault(
    world: World, area: str, fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    sees, exact = seen(world)
    record_property(FAULT_SEEN, (area, fault.does, sees, exact))
    assert (sees, exact) == (fault.sees, fault.exact)
    if "rejected" not in exact:
        ends_exact(world)


def seen(world: World) -> tuple[str, str]:
    """What a sync under a fault comes to, in words, after all that can be compared was compared."""
    fault, sandbox = world.fault, world.sandbox
    if fault.earlier is not None:
        fault.earlier(sandbox)
        with world.open() as api:
            world.sync(api, fault.resource)
    before = world.table(fault.resource)
    since_the_last_sync(sandbox, fault)
    sandbox.order(fault.faults)
    begun = sandbox.rows(fault.resource)
    sees = told_by_command(world) if fault.command else told_by_call(world)
    after = world.table(fault.resource)
    assert after.entry is not None
    if after.entry.error is not None:
        assert after == before
        return sees, "kept as before"
    return sees, in_words(compare([begun, sandbox.rows(fault.resource)], before, after))


def in_words(became: Became) -> str:
    if not became.proved:
        return "not promised, nothing marked"
    counts = {"rejected": became.rejected, "not marked": became.unmarked}
    return ", ".join(["yes", *(f"{count} {what}" for what, count in counts.items() if count)])


def since_the_last_sync(sandbox: Sandbox, fault: Fault) -> None:
    """What happens at the source: always some of each, and what belongs to the fault."""
    ids = sandbox.ids("messages")
    sandbox.delete("messages", ids[40])
    sandbox.edit("messages", ids[200], text="edited")
    sandbox.insert("messages", "tail", text="new")
    fault.happens(sandbox)


def told_by_call(world: World) -> str:
    with world.open() as api:
        try:
            return judged(world.sync(api, world.fault.resource))
        except MessagingError as error:
            if world.fault.spares_others:
                assert world.sync(api, "users").verified == "full"
            place = f" ({error.where})" if error.where else ""
            return without_address(f"the sync fails: {error.what}{place}", world)


def told_by_command(world: World) -> str:
    world.sandbox.edit("users", world.sandbox.ids("users")[3], name="Ada")
    result = world.command()
    assert world.is_exact("users")
    failed = [line for line in result.output.splitlines() if line.startswith("FAILED")]
    words = ["exit code 1"] * bool(result.exit_code) + [line.partition(". To do")[0] for line in failed]
    return without_address(": ".join(words) or "exit code 0", world)


def without_address(words: str, world: World) -> str:
    """Words without the address of the sandbox, and without numbers that hang on its contents."""
    address = world.sandbox.base_url
    words = (
        words.replace(address, "")
        .replace(address.partition("//")[2], "the API")
        .replace("127.0.0.1", "the API")
    )
    return re.sub(r"\d+ bytes", "so many bytes", words)


def judged(result: SyncResult) -> str:
    """The outcome of the checks, as Dagster's UI shows it, without what to do."""
    words = []
    for check in (complete(result), records_stored(result), columns_stable(result.column_changes)):
        outcome = (
            "passes" if check.passed else "fails" if check.severity is AssetCheckSeverity.ERROR else "warns"
        )
        if check.check_name == "complete" or not check.passed:
            told = (check.description or "").partition(". To do")[0]
            words.append(f"`{check.check_name}` {outcome}: {told}")
    words += [f"{result.retries} retries"] * bool(result.retries)
    return "; ".join(words)


def ends_exact(world: World) -> None:
    """When the fault is over, the table becomes what the source is, with nothing done by hand."""
    world.sandbox.order(Faults())
    calm = World(world.sandbox, world.location, CALM)
    resource = world.fault.resource
    with calm.open() as api:
        # A sync that goes on where another one broke off marks nothing; the next one does.
        for _ in range(2):
            if not world.is_exact(resource):
                assert calm.sync(api, resource, accepts=True).verified == "full"
    assert world.is_exact(resource)


def test_the_readme_shows_the_matrix() -> None:
    """If not: `python -m messaging_assets_tests.fault_matrix` writes it."""
    shown = in_readme(README.read_text(encoding="utf-8"))
    assert shown == as_markdown(cells())
