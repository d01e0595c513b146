"""A sync that was cut off is gone on from: over real HTTP, from the files that it left."""

import json
import stat
import time
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from messaging_assets.api.errors import MessagingError
from messaging_assets.sandbox.faults import At, Broken
from messaging_assets.warehouse import resume
from messaging_assets.warehouse.errors import WarehouseBusyError
from messaging_assets_tests.warehouse.conftest import PAGE, Platform
from messaging_assets_tests.warehouse.processes import Errand, elsewhere, hold_database
from messaging_assets_tests.warehouse.test_sync import counts, ledger

ROWS = 200


@pytest.fixture
def large(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform with a resource of ten pages, and a checkpoint after each of them."""
    monkeypatch.setenv("MESSAGING__CHECKPOINT_SECONDS", "0")
    platform.things(*({"id": f"T{i:03}", "name": f"thing {i}", "size": i} for i in range(ROWS)))
    return platform


def spooled(platform: Platform) -> list[Path]:
    folder = platform.location.spool("chat", "things")
    return sorted(folder.iterdir()) if folder.exists() else []


def cut_off(platform: Platform, *, at: int = 110) -> None:
    """A sync that fails at the page with the row at this place."""
    platform.sandbox.order(broken=[Broken("status", resource="things", position=at)])
    with pytest.raises(MessagingError):
        platform.sync()
    platform.sandbox.order()


def assert_exact(platform: Platform) -> None:
    held = platform.rows()
    living = {identity: row for identity, row in held.items() if row.pop("deleted_at") is None}
    fields = {name for row in living.values() for name in row}
    assert living == {row["id"]: {**dict.fromkeys(fields), **row} for row in platform.sandbox.rows("things")}


def test_the_next_run_goes_on_from_the_last_anchor(large: Platform) -> None:
    cut_off(large)
    assert [path.name for path in spooled(large) if path.suffix == ".json"][-1] == "state.json"
    result = large.sync()
    assert counts(result) == {"new": ROWS}
    assert result.requests < ROWS / (PAGE - 1) / 2 + 3
    assert (result.verified, "96 of the rows were read by an earlier run" in result.reason) == ("full", True)
    assert_exact(large)
    assert spooled(large) == []
    assert counts(large.sync()) == {"unchanged": ROWS}


def test_what_is_left_is_readable_by_its_owner_alone(large: Platform) -> None:
    cut_off(large)
    folder = large.location.spool("chat", "things")
    assert {stat.S_IMODE(path.stat().st_mode) for path in spooled(large)} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.suffix for path in spooled(large)} == {".parquet", ".json"}


def test_a_sync_can_be_cut_off_again_and_again(large: Platform) -> None:
    for place in (50, 70, 120, 160):
        cut_off(large, at=place)
    result = large.sync()
    assert result.requests <= 5
    assert_exact(large)


def test_a_resumed_sync_marks_no_deletion_and_the_next_one_does(large: Platform) -> None:
    large.sync()
    cut_off(large)
    large.sandbox.delete("things", "T010", "T190")
    result = large.sync()
    assert counts(result) == {"unchanged": 199}
    assert "no deletion was marked: the sweep was resumed" in result.reason
    assert large.living() == sorted(f"T{i:03}" for i in range(ROWS))
    assert counts(large.sync()) == {"unchanged": 198, "deleted": 2}
    assert_exact(large)


def test_rows_may_come_go_and_change_between_the_runs(large: Platform) -> None:
    cut_off(large)
    large.sandbox.delete("things", *(f"T{i:03}" for i in range(10, 30)))
    large.sandbox.raw_row("things", {"id": "first", "name": "thing", "size": 0}, "head")
    large.sandbox.raw_row("things", {"id": "last", "name": "thing", "size": 0}, "tail")
    large.change("T150", size=-1)
    large.sync()
    truth = {row["id"] for row in large.sandbox.rows("things")}
    assert truth <= set(large.living()) | {"first"}
    large.sync()
    assert_exact(large)


def test_rejected_records_of_the_earlier_run_are_kept(large: Platform) -> None:
    large.sandbox.raw_row("things", {"id": "bad", "created_at": "soon"}, "head")
    large.sandbox.raw_row("things", "no object", "head")
    cut_off(large)
    assert large.sync().rejected == 2
    assert large.rejects() == [
        ("bad", "created_at is not a point in time"),
        (None, "it is not an object"),
    ]


def test_a_killed_sync_is_gone_on_from(platform: Platform, tmp_path: Path) -> None:
    state = platform.location.spool("chat", "messages") / resume.STATE
    platform.sandbox.order(broken=[Broken("hang", resource="messages", position=50)])
    settings = {"MESSAGING__CHECKPOINT_SECONDS": "0"}
    process = Errand.of(platform, tmp_path, "messages", settings=settings).start()
    deadline = time.monotonic() + 60
    while len(json.loads(state.read_text())["seen"] if state.exists() else []) < 2:
        process.join(0.01)
        assert process.is_alive() and time.monotonic() < deadline
    process.kill()
    process.join()
    platform.sandbox.order()
    result = platform.sync("messages")
    assert "39 of the rows were read by an earlier run that was cut off" in result.reason
    assert (result.verified, counts(result)) == ("full", {"new": 60})
    assert result.requests <= 4
    assert {row["id"]: row["text"] for row in platform.sandbox.rows("messages")} == {
        identity: row["text"] for identity, row in platform.rows("messages").items()
    }
    assert not state.parent.exists()


def test_a_held_file_costs_no_page_twice(large: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    large.sync()
    for i in range(0, ROWS, 2):
        large.change(f"T{i:03}", size=-i - 1)
    monkeypatch.setenv("MESSAGING__LOCK_TIMEOUT_SECONDS", "0.2")
    with ExitStack() as held:
        hold = At(
            5, lambda _: held.enter_context(elsewhere(hold_database, large.location.database)), "things"
        )
        large.sandbox.order(script=[hold])
        with pytest.raises(WarehouseBusyError):
            large.sync()
    large.sandbox.order()
    result = large.sync()
    assert counts(result) == {"changed": 100, "unchanged": 100}
    assert result.requests <= 4
    assert_exact(large)


@pytest.mark.parametrize("reason", ["other configuration", "other table", "old", "cut short", "garbage"])
def test_what_can_not_be_gone_on_from_is_read_again(
    large: Platform, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large.sync()
    large.change("T000", size="changed")
    cut_off(large)
    state = large.location.spool("chat", "things") / resume.STATE
    if reason == "other configuration":
        large.resources = ({**large.resources[0], "columns": {"size": {"data_type": "text"}}},)
    elif reason == "other table":
        with duckdb.connect() as database:
            database.execute(f"ATTACH '{large.location.database}' AS file")
            database.execute("DELETE FROM file.chat.things WHERE id = 'T001'")
    elif reason == "old":
        monkeypatch.setattr(resume, "KEPT_SECONDS", 0)
    elif reason == "cut short":
        parquet = next(path for path in spooled(large) if path.suffix == ".parquet")
        parquet.write_bytes(parquet.read_bytes()[:-10])
    else:
        state.write_text("{")
    result = large.sync()
    assert "earlier run" not in result.reason
    assert result.seen == ROWS
    assert {row["id"] for row in large.sandbox.rows("things")} == set(large.living())


def test_a_short_sync_leaves_nothing(large: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """To read ten pages again costs less than what a resumed sweep can't say about deletions."""
    monkeypatch.delenv("MESSAGING__CHECKPOINT_SECONDS")
    cut_off(large)
    assert spooled(large) == []
    assert "earlier run" not in large.sync().reason


def test_many_rows_are_a_reason_for_a_checkpoint(large: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESSAGING__CHECKPOINT_SECONDS")
    monkeypatch.setattr(resume, "ROWS_BETWEEN_CHECKPOINTS", 50)
    cut_off(large)
    assert "96 of the rows" in large.sync().reason
    assert_exact(large)


def test_a_failed_sync_stands_in_the_ledger_and_keeps_what_was_held(large: Platform) -> None:
    large.sync()
    before = large.rows()
    cut_off(large)
    assert large.rows() == before
    assert ledger(large)[0].error is not None


def test_a_mistake_in_the_setting_is_told_before_anything_is_read(
    large: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    large.sync(mode="sync")
    monkeypatch.setenv("MESSAGING__CHECKPOINT_SECONDS", "soon")
    large.sandbox.reset_counters()
    with pytest.raises(MessagingError, match="checkpoint_seconds has to be a number of seconds"):
        large.sync(mode="sync")
    assert large.sandbox.count("/v1/things") == 0
