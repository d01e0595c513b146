"""Fixtures that every folder of the suite uses: a project of its own for each test.

What belongs to one ring alone stands in the conftest.py of that folder.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.run_context import RunContext

SETTING_PREFIXES = ("SOURCES__", "DESTINATION__", "MESSAGING__", "DLT_", "RUNTIME__", "LOAD__", "NORMALIZE__")
BARE_SETTINGS = ("CLIENT_ID", "CLIENT_SECRET", "BASE_URL", "TOKEN_URL")
# A property of a test: what was seen of a fault of the fault matrix, as a row of its table.
FAULT_SEEN = "fault_seen"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the fault matrix as it was seen, where it ran; its tests may have run in several processes."""
    reports = [report for state in ("passed", "failed") for report in terminalreporter.getreports(state)]
    properties = [found for report in reports if report.when == "call" for found in report.user_properties]
    seen = [row for name, row in properties if name == FAULT_SEEN]
    if seen:
        from messaging_assets_tests.fault_matrix import as_text

        terminalreporter.section("fault matrix")
        terminalreporter.write_line(as_text(seen))


class IsolatedRunContext(RunContext):
    """dlt's own run context, without the machine's global folder (/var/dlt, ~/.dlt)."""

    @property
    def global_dir(self) -> str:
        return str(Path(self.run_dir) / "home" / ".dlt")


@dataclass(frozen=True)
class Project:
    """A project folder of its own, which is the working folder and dlt's run directory."""

    path: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file below the project, with its folders."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def config(self, toml: str) -> None:
        """Make this the content of .dlt/config.toml, and let dlt read it."""
        self.write(".dlt/config.toml", toml)
        self.reload()

    def secrets(self, toml: str) -> None:
        """Make this the content of .dlt/secrets.toml, and let dlt read it."""
        self.write(".dlt/secrets.toml", toml)
        self.reload()

    def reload(self) -> None:
        """Let dlt read its configuration files anew, as a new process would."""
        Container()[PluggableRunContext].reload_providers()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project: no setting of the machine, of its user or of another test is seen in it.

    Environment variables are set with monkeypatch.setenv and count at once; toml files are written
    with `project.config(...)` and `project.secrets(...)`.
    """
    home = tmp_path / "home"
    home.mkdir()
    context = Container()[PluggableRunContext]
    cookie = context.push_context()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in list(os.environ):
                if name.startswith(SETTING_PREFIXES) or name in BARE_SETTINGS:
                    patch.delenv(name)
            patch.setenv("HOME", str(home))
            patch.chdir(tmp_path)
            context.reload(IsolatedRunContext(str(tmp_path)))
            yield Project(tmp_path)
    finally:
        # Only now, in the working folder of before: dlt reads that folder's files again.
        context.pop_context(cookie)
