"""The structure of the repository: the rings, what lies at the top level, what the requirements files pin.

What the code of the rings does is tested in the folder of each ring.
"""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import TickStatus
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "messaging_assets"

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "dagster.yaml",
    "messaging_assets",
    "messaging_assets_tests",
    "pyproject.toml",
    "requirements-embedded-elt.txt",
    "requirements-test.txt",
    "requirements.txt",
    "workspace.yaml",
}
REQUIREMENTS = sorted(ROOT.glob("requirements*.txt"))

ENVIRONMENT = [
    "import os\nos.environ",
    "from os import environ",
    "import os\nos.getenv('A')",
    "from os import getenv",
]
DAGSTER = [
    "import dagster",
    "import dagster as dg",
    "from dagster import asset",
    "from dagster._core.errors import DagsterError",
    "from dagster_dlt import DagsterDltResource",
    "from dagster_duckdb import DuckDBResource",
    "def late():\n    import dagster",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dagster",
]


def imports_of(*rings: str) -> list[str]:
    """The ways in which code can import these parts of the package."""
    return [
        line
        for ring in rings
        for line in (
            f"import messaging_assets.{ring}",
            f"from messaging_assets import {ring}",
            f"from messaging_assets.{ring} import something",
        )
    ]


BANNED = {
    "api": [
        *imports_of("warehouse", "orchestration", "sandbox", "definitions", "cli"),
        "from messaging_assets.warehouse.locks import sync_lock",
        "import duckdb",
        *DAGSTER,
        *ENVIRONMENT,
    ],
    "warehouse": [
        *imports_of("orchestration", "sandbox", "definitions", "cli"),
        "import aiohttp",
        *DAGSTER,
        *ENVIRONMENT,
    ],
    "orchestration": [
        *imports_of("definitions", "cli"),
        "import aiohttp",
        "import requests",
        "from dagster import EnvVar",
        "import dagster as dg\ndg.EnvVar('A')",
        *ENVIRONMENT,
    ],
    "sandbox": [
        *imports_of("api", "warehouse", "orchestration", "definitions", "cli"),
        "import dlt",
        "from dlt.sources.helpers import requests",
        "import duckdb",
        *DAGSTER,
        *ENVIRONMENT,
    ],
    ".": ["from dagster import EnvVar", *ENVIRONMENT],
}
PERMITTED = {
    "api": [
        *imports_of("api"),
        "import dlt",
        "import aiohttp",
        "import os\nos.replace",
        "import messaging_assets",
    ],
    "warehouse": [*imports_of("api", "warehouse"), "import dlt", "import duckdb"],
    "orchestration": [
        *imports_of("api", "warehouse", "orchestration", "sandbox"),
        "import dagster as dg\ndg.asset",
        "import dlt",
        "import duckdb",
    ],
    "sandbox": [*imports_of("sandbox"), "import starlette", "import uvicorn"],
    ".": [
        *imports_of("api", "warehouse", "orchestration", "sandbox", "definitions"),
        "import dagster",
        "import click",
    ],
}


def repository_files() -> list[Path]:
    """What git keeps, or would keep after `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]


def ruff(*arguments: str, snippet: str = "") -> subprocess.CompletedProcess[str]:
    """Runs ruff, asking for banned imports alone."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--quiet", "--output-format", "concise"]
    return subprocess.run(
        [*command, "--select", "TID251", *arguments], cwd=ROOT, input=snippet, capture_output=True, text=True
    )


def snippet_in(ring: str, snippet: str) -> subprocess.CompletedProcess[str]:
    return ruff("--stdin-filename", f"messaging_assets/{ring}/snippet.py", "-", snippet=snippet)


@pytest.mark.parametrize("ring", BANNED)
def test_ring_bans(ring: str) -> None:
    passed = [snippet for snippet in BANNED[ring] if "TID251" not in snippet_in(ring, snippet).stdout]
    assert passed == []


@pytest.mark.parametrize("ring", PERMITTED)
def test_ring_permits_what_lies_further_in(ring: str) -> None:
    result = snippet_in(ring, "\n".join(PERMITTED[ring]) + "\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_no_comment_lifts_a_ban() -> None:
    result = ruff("--ignore-noqa", "messaging_assets")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def modules_of(ring: str) -> list[str]:
    files = sorted((PACKAGE / ring).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith(".__main__")]


def loaded_by(modules: list[str], folder: Path) -> set[str]:
    """The modules in memory after these are imported in a new process, which works in the folder."""
    script = (
        "import importlib, sys, threading\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", script, *modules]
    environment = {"HOME": str(folder), "PYTHONPATH": str(ROOT), "PATH": "/nowhere"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("ring", "unwanted"),
    [
        (
            "api",
            {
                "dagster",
                "messaging_assets.warehouse",
                "messaging_assets.orchestration",
                "messaging_assets.sandbox",
            },
        ),
        ("warehouse", {"dagster", "messaging_assets.orchestration", "messaging_assets.sandbox"}),
        ("orchestration", {"messaging_assets.definitions", "messaging_assets.cli"}),
        ("sandbox", {"dagster", "dlt", "duckdb", "messaging_assets.api", "messaging_assets.warehouse"}),
    ],
)
def test_importing_a_ring_loads_nothing_further_out_and_does_nothing(
    ring: str, unwanted: set[str], tmp_path: Path
) -> None:
    loaded = loaded_by(modules_of(ring), tmp_path)
    assert f"messaging_assets.{ring}" in loaded
    assert loaded & unwanted == set()
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_loads_no_library(tmp_path: Path) -> None:
    loaded = loaded_by(["messaging_assets"], tmp_path)
    assert loaded & {"dlt", "dagster", "duckdb", "pyarrow", "requests", "aiohttp"} == set()


def test_the_top_level_holds_only_what_tools_require() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in repository_files()} <= TOP_LEVEL


def test_no_file_names_a_package_registry() -> None:
    hosts = rb"(?i)\b(pypi|pythonhosted|npmjs|crates|debian|conda|anaconda)\.(org|com|io|net)\b"
    naming = {file.name: re.findall(hosts, file.read_bytes()) for file in repository_files()}
    assert {name: found for name, found in naming.items() if found} == {}


def pins_of(file: Path) -> dict[str, set[str]]:
    """Name to pinned versions; a package can be pinned differently for different versions of Python."""
    pins: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=\S)", file.read_text()):
        if block.startswith("#"):
            continue
        requirement, *hashes = [line.strip() for line in block.rstrip().split("\\\n")]
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), requirement
        name, version = re.match(r"([a-z0-9-]+)(?:\[[a-z,-]+\])?==([^ ;]+)", requirement).groups()  # type: ignore[union-attr]
        pins.setdefault(name, set()).add(version)
    return pins


@pytest.mark.dagster
def test_dagster_keeps_its_history_in_the_project_and_reports_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reference = InstanceRef.from_dir(str(tmp_path / "home"), config_dir=str(ROOT))
    with DagsterInstance.from_ref(reference) as instance:
        instance.run_storage.get_runs()
        assert instance.root_directory == ".dagster"
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds > 3600
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries > 0
        assert not instance.run_retries_retry_on_asset_or_op_failure
        skipped = instance.get_tick_retention_settings(InstigatorType.SENSOR)[TickStatus.SKIPPED]
        assert 0 < skipped <= 7
    assert {file.name for file in tmp_path.iterdir()} == {".dagster"}


def test_there_are_three_requirements_files() -> None:
    assert [file.name for file in REQUIREMENTS] == [
        "requirements-embedded-elt.txt",
        "requirements-test.txt",
        "requirements.txt",
    ]


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_requirements_are_pinned_as_pyproject_bounds_them(file: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["build"]]
    wanted += optional["test"] if file.name != "requirements.txt" else []
    wanted += optional["embedded-elt"] if "embedded-elt" in file.name else []
    pins = pins_of(file)
    for requirement in map(Requirement, wanted):
        pinned = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in pinned), (requirement, pinned)


def test_tests_run_on_what_users_get() -> None:
    runtime, test = pins_of(ROOT / "requirements.txt"), pins_of(ROOT / "requirements-test.txt")
    assert {name: test.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_packages_of_dagster_are_of_one_release(file: Path) -> None:
    pins = {name: version for name, versions in pins_of(file).items() for version in versions}
    patch = Version(pins["dagster"]).micro
    dagster = {name: version for name, version in pins.items() if name.startswith("dagster")}
    assert {name: version for name, version in dagster.items() if Version(version).micro != patch} == {}


def test_what_the_package_imports_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    distributions = packages_distributions()
    undeclared = {
        f"{file.relative_to(ROOT)}: {module}"
        for file in PACKAGE.rglob("*.py")
        for module in top_level_imports(file) - sys.stdlib_module_names - {"messaging_assets"}
        if not declared & {canonicalize_name(name) for name in distributions.get(module, ())}
    }
    assert undeclared == set()


def top_level_imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    members = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    return {name.partition(".")[0] for name in plain | members}
