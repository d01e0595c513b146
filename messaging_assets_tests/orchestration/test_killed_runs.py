"""Runs that Dagster's command line started, killed at random moments; the next one ends exact.

The moments are spread over a run that was measured, from its first request to its end. A process may be
killed later than its last step, or end before it is killed: what must hold then is the same.
"""

import random
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from messaging_assets.sandbox import At, Faults, Sandbox
from messaging_assets_tests.installation import Installation, State

pytestmark = pytest.mark.dagster

RESOURCES = ("users", "channels", "messages")
KILLS = 6
PATIENCE = 60


@dataclass(frozen=True)
class Run:
    """A run of the sync job and what it began with.

    Args:
        installation: Where it runs.
        first: What the tables held before.
    """

    installation: Installation
    first: Mapping[str, State]

    @property
    def second(self) -> dict[str, State]:
        """What the tables must hold when it has ended."""
        sandbox = self.installation.sandbox
        return {
            name: self.installation.truth(name, gone=set(self.first[name]) - set(sandbox.ids(name)))
            for name in RESOURCES
        }

    def held(self) -> dict[str, State]:
        """What the tables hold."""
        return {name: self.installation.held(name) for name in RESOURCES}


def new_sandbox() -> Sandbox:
    """The same rows each time."""
    return Sandbox(users=60, channels=8, messages=400)


def change(sandbox: Sandbox, edition: int, held: Mapping[str, State]) -> None:
    """Let rows come and go, and edit those that the tables do not hold."""
    for name in RESOURCES:
        for identity in sandbox.ids(name):
            if identity not in held[name]:
                sandbox.edit(name, identity, name=f"edition {edition}")
        if name != "channels":
            sandbox.delete(name, sandbox.ids(name)[10], sandbox.ids(name)[-1])
        for _ in range(3):
            sandbox.insert(name, name=f"new in edition {edition}")


def job_from_its_first_request(installation: Installation, seconds: float) -> tuple[int, float, str]:
    """Run the job, and kill it so many seconds after its first request.

    Returns:
        The exit code, how long it ran from its first request on, what it said.
    """
    asked = threading.Event()
    script = [At(1, lambda _: asked.set(), resource=name) for name in RESOURCES]
    installation.sandbox.order(Faults(script=script))
    with installation.job(installation.folder / "output") as process:
        assert asked.wait(PATIENCE), installation.output
        began = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
    return process.returncode, time.monotonic() - began, installation.output


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder that was synced once, and how long that took."""
    folder = tmp_path_factory.mktemp("synced") / "project"
    with new_sandbox() as sandbox:
        installation = Installation(folder, sandbox).prepare(*RESOURCES)
        code, seconds, output = job_from_its_first_request(installation, PATIENCE)
    assert code == 0, output
    return folder, seconds


@pytest.mark.timeout(300)
def test_the_run_after_one_that_was_killed_ends_exact(synced: tuple[Path, float], tmp_path: Path) -> None:
    folder, seconds = synced
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    draw = random.Random(seed)
    moments = [seconds * (kill + draw.random()) / KILLS for kill in range(KILLS)]

    def kill_and_go_on(kill: int) -> str:
        with new_sandbox() as sandbox:
            installation = Installation(tmp_path / str(kill), sandbox)
            shutil.copytree(folder, installation.folder)
            return killed(installation, moments[kill])

    # As many as there are cores to run them.
    with ThreadPoolExecutor(2) as pool:
        for outcome in pool.map(kill_and_go_on, range(KILLS)):
            print(outcome)


def killed(installation: Installation, moment: float) -> str:
    run = Run(installation, {name: installation.held(name) for name in RESOURCES})
    change(installation.sandbox, 1, run.first)
    second = run.second
    code, _, output = job_from_its_first_request(installation, moment)
    held = run.held()
    assert all(held[name] in (run.first[name], second[name]) for name in RESOURCES), output

    change(installation.sandbox, 2, held)
    following = Run(installation, held)
    assert installation.run("sync") == 0, installation.output
    assert following.held() == following.second
    installation.assert_tidy()
    done = [name for name in RESOURCES if held[name] == second[name]]
    return f"after {moment:.2f} s: exit code {code}, {', '.join(done) or 'nothing'} published"
