"""What the Dagster part of the suite shares: an API, a connection configured for it, an instance."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dagster import (
    AssetKey,
    Config,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    ExecuteInProcessResult,
    RunConfig,
)

from messaging_assets.api.connection import Connection, read_connections
from messaging_assets.orchestration.assets import SyncConfig
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.sandbox import Sandbox
from messaging_assets_tests.conftest import Project


@pytest.fixture(scope="session")
def connection() -> Connection:
    """The packaged connection, which is the guide's configuration."""
    return next(one for one in read_connections() if one.name == "messaging")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small workspace that changes only when a test changes it."""
    with Sandbox(users=30, channels=5, messages=250) as sandbox:
        yield sandbox


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    """A Dagster instance of its own."""
    with DagsterInstance.ephemeral() as instance:
        yield instance


def use_sandbox(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, name: str = "messaging") -> None:
    """Configure a connection for an API that happens to be a sandbox."""
    monkeypatch.setenv(f"SOURCES__{name.upper()}__BASE_URL", sandbox.base_url)
    monkeypatch.setenv(f"SOURCES__{name.upper()}__CLIENT_ID", sandbox.client_id)
    monkeypatch.setenv(f"SOURCES__{name.upper()}__CLIENT_SECRET", sandbox.client_secret)


@dataclass(frozen=True)
class Platform:
    """The definitions at work: runs its jobs in this process and reads what they wrote."""

    defs: Definitions
    instance: DagsterInstance
    file: Path

    def run(
        self, job: str, *assets: str, accept_deletions: bool = False, config: Config | None = None
    ) -> ExecuteInProcessResult:
        """Run a job, or a part of it; the run's failure is not raised.

        Args:
            job: The job.
            assets: The part of it: keys without the connection, such as `users` or `analytics/report`.
            accept_deletions: Mark deletions of messages whatever their share.
            config: The configuration of each of these assets.
        """
        ops: dict[str, Config] = {f"messaging/{name}".replace("/", "__"): config for name in assets if config}
        if accept_deletions:
            ops["messaging__messages"] = SyncConfig(accept_deletions=True)
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config=RunConfig(ops=ops),
            asset_selection=[AssetKey(["messaging", *name.split("/")]) for name in assets] or None,
        )

    def pretend(self, job: str, status: DagsterRunStatus) -> DagsterRun:
        """A run of a job that got as far as this status, and nothing is done about it."""
        return self.instance.create_run_for_job(self.defs.resolve_job_def(job), status=status)

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse."""
        with duckdb.connect(self.file, read_only=True) as database:
            return database.execute(query).fetchall()


@pytest.fixture
def platform(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    sandbox: Sandbox,
    connection: Connection,
    instance: DagsterInstance,
) -> Platform:
    """The platform, configured for the sandbox as for anybody's API."""
    use_sandbox(monkeypatch, sandbox)
    file = project.path / "own.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(file))
    return Platform(build_definitions([connection]), instance, file)


def told(result: ExecuteInProcessResult, resource: str) -> dict[str, object]:
    """The metadata of a resource's materialisation, as plain values."""
    [event] = result.asset_materializations_for_node(f"messaging__{resource}")
    return {name: value.value for name, value in event.metadata.items()}


def checks(result: ExecuteInProcessResult) -> dict[str, bool]:
    """Which checks passed, as `messages: complete`."""
    return {
        f"{check.asset_key.path[-1]}: {check.check_name}": check.passed
        for check in result.get_asset_check_evaluations()
    }


def failures(result: ExecuteInProcessResult) -> dict[str, str]:
    """What the UI shows of each step that failed."""
    return {
        str(event.step_key): str(event.step_failure_data.user_failure_data.description)
        for event in result.all_events
        if event.is_step_failure and event.step_failure_data.user_failure_data
    }
