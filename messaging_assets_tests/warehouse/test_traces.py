"""What a sync leaves behind: message content in the warehouse file and nowhere else, secrets nowhere."""

import tempfile
from pathlib import Path

import pytest

from messaging_assets.api.errors import MessagingError
from messaging_assets.sandbox import Faults, Sandbox
from messaging_assets.sandbox.faults import Broken, Kind
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.processes import Errand
from messaging_assets_tests.warehouse.test_sync import counts

CONTENT = "Confidential-Ahoy"
KILOBYTE = 1024


@pytest.fixture
def everything(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Every message holds what must not be found elsewhere; temporary files go below tmp_path too."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    platform.sandbox.reshape(
        "messages", lambda row: {**row, "text": CONTENT + row["text"], "more": [CONTENT]}
    )
    return platform


def traces(platform: Platform, folder: Path) -> list[str]:
    """Files that hold what they must not hold; the warehouse itself may hold content."""
    words = [CONTENT.encode(), platform.sandbox.client_secret.encode(), *tokens(platform.sandbox)]
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            is_warehouse = path.name in ("chat.duckdb", "chat.duckdb.wal")
            found += [f"{path}: {word!r}" for word in words[is_warehouse:] if word in content]
    return found


def tokens(sandbox: Sandbox) -> list[bytes]:
    handed_out = list(sandbox._application.tokens._tokens)
    assert handed_out
    return [str(token).encode() for token in handed_out]


def test_a_sync_leaves_no_content_and_no_secret(
    everything: Platform, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    everything.sync("messages")
    everything.sandbox.edit("messages", everything.sandbox.ids("messages")[0], text="edited")
    everything.sync("messages")
    assert CONTENT.encode() in everything.location.database.read_bytes()
    assert traces(everything, tmp_path) == []
    # No file whose content could be compressed or written otherwise.
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "chat.duckdb",
        "chat.lock",
        "chat.holder",
        # Digests of pages and rows.
        "messages.parquet",
    }
    out, err = capfd.readouterr()
    for said in (out, err, caplog.text):
        assert CONTENT not in said
        assert everything.sandbox.client_secret not in said
    assert not list((tmp_path / "tmp").iterdir())


def test_a_sync_that_fails_while_it_reads_leaves_none_either(
    everything: Platform, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    faults: tuple[Kind, ...] = ("malformed", "cut", "null_data")
    for fault in faults:
        everything.sandbox.order(Faults(broken=[Broken(fault, position=50)]))
        with pytest.raises(MessagingError) as caught:
            everything.sync("messages")
        assert CONTENT not in str(caught.value) + repr(caught.value) + "".join(capfd.readouterr())
    assert traces(everything, tmp_path) == []
    everything.location.database.unlink()
    assert traces(everything, tmp_path) == []


@pytest.mark.parametrize(
    ("largest_file", "what_grows"),
    [(16 * KILOBYTE, "dlt's own files"), (600 * KILOBYTE, "the warehouse")],
)
def test_a_full_disk_loses_nothing_and_leaves_no_content(
    everything: Platform, tmp_path: Path, largest_file: int, what_grows: str
) -> None:
    everything.sync("messages")
    before = everything.query("FROM chat.messages ORDER BY id")
    padding = "".join(chr(33 + (i * 7919) % 90) for i in range(8 * KILOBYTE))
    everything.sandbox.reshape(
        "messages",
        lambda row: {**row, "text": CONTENT + row["id"] + padding, "more": [row["id"], padding[::-1]]},
    )
    child = tmp_path / "child"
    child.mkdir()
    outcome = Errand.of(everything, child, "messages", largest_file=largest_file).run()
    assert "MessagingError" in outcome, outcome
    assert "disk" in outcome, outcome
    assert everything.query("FROM chat.messages ORDER BY id") == before
    assert traces(everything, tmp_path) == []
    assert counts(everything.sync("messages")) == {"changed": 60}
    assert traces(everything, tmp_path) == []
