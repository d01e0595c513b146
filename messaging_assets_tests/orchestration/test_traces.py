"""What runs of Dagster leave: message content in the warehouse file alone, and secrets nowhere.

All of it is searched: Dagster's storage of events, runs and logs, what the steps printed, dlt's and the
platform's working folders, the home and the temporary folder.
"""

import re
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging_assets.sandbox import Broken, Faults, Sandbox
from messaging_assets_tests.installation import ROOT, Installation
from messaging_assets_tests.warehouse.test_traces import tokens

pytestmark = pytest.mark.dagster

CONTENT = "Confidential-Ahoy"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A project with Dagster's history in it; every message holds what must not be found elsewhere."""
    with Sandbox(users=20, channels=4, messages=60) as sandbox:
        sandbox.reshape("messages", lambda row: {**row, "text": CONTENT + row["text"], "more": [CONTENT]})
        made = Installation(tmp_path / "project", sandbox).prepare("users", "messages")
        (made.folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        yield made


def test_runs_leave_no_content_and_no_secret(installation: Installation) -> None:
    sandbox = installation.sandbox
    said = [finished(installation, succeeds=True)]
    # A record that can't be stored, rows that vanish, a type that changes: all of them are told.
    sandbox.raw_row("messages", {"id": 7, "text": CONTENT})
    sandbox.delete("messages", *sandbox.ids("messages")[:20])
    sandbox.edit("messages", sandbox.ids("messages")[5], text={"now": CONTENT})
    said.append(finished(installation, succeeds=False))
    sandbox.order(Faults(broken=[Broken("malformed", "messages", position=20)]))
    said.append(finished(installation, succeeds=False))

    # The warehouse and the copy of it that is there to be read.
    for file in installation.database.parent.glob("*messaging.duckdb"):
        assert CONTENT.encode() in file.read_bytes()
        file.unlink()
    words = [CONTENT.encode(), sandbox.client_secret.encode(), *tokens(sandbox)]
    pieces = {"what the runs said": "".join(said).encode(), **left_behind(installation.folder)}
    assert any(name.endswith(".err") for name in pieces), "the steps have no logs"
    assert any(name.endswith("runs.db: run_body") for name in pieces), "there is no history"
    found = [(name, word) for name, piece in pieces.items() for word in words if word in piece]
    assert found == []


def finished(installation: Installation, *, succeeds: bool) -> str:
    """Run the sync job to its end; what it printed."""
    process = installation.job()
    said, _ = process.communicate(timeout=60)
    assert (process.returncode == 0) is succeeds, said
    return said


def left_behind(folder: Path) -> dict[str, bytes]:
    """All files of a folder, and what stands in databases, unpacked where it is packed."""
    pieces = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        pieces[str(path)] = path.read_bytes()
        if path.suffix == ".db":
            for column, values in columns(path).items():
                pieces[f"{path}: {column}"] = b"\n".join(map(unpacked, values))
    return pieces


def columns(file: Path) -> dict[str, list[object]]:
    """The values of each column of an SQLite file."""
    with sqlite3.connect(file) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        found: dict[str, list[object]] = {}
        for (table,) in tables:
            rows = database.execute(f'SELECT * FROM "{table}"')
            names = [column[0] for column in rows.description]
            for row in rows:
                for name, value in zip(names, row, strict=True):
                    found.setdefault(name, []).append(value)
    return found


def unpacked(value: object) -> bytes:
    """A value as text; Dagster packs its snapshots."""
    if isinstance(value, bytes):
        return zlib.decompress(value) if re.match(rb"\x78[\x01\x5e\x9c\xda]", value) else value
    return str(value).encode()
