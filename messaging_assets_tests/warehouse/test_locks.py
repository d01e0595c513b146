"""One sync of a connection at a time, across processes."""

import threading
import time
from pathlib import Path

import pytest

from messaging_assets.warehouse.errors import WarehouseBusyError, WarehouseUnusableError
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.locks import is_held, sync_lock
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.processes import Errand, elsewhere, hold_lock


def test_nobody_holds_what_was_never_locked(location: WarehouseLocation) -> None:
    assert is_held(location, "chat") is None
    assert not location.work.exists()


def test_the_holder_is_known_while_it_holds(location: WarehouseLocation) -> None:
    with elsewhere(hold_lock, location, "chat") as (process, pipe):
        holder = is_held(location, "chat")
        assert holder is not None
        assert holder.process == process.pid
        assert holder.purpose == "syncing for a test"
        assert f"process {process.pid}, syncing for a test, since 20" in str(holder)
        assert is_held(location, "other") is None
        pipe.send("let go")
        assert pipe.recv() == "released"
        assert is_held(location, "chat") is None
    assert not location.database.exists()


def test_whoever_waits_in_vain_is_told_who_holds_it(location: WarehouseLocation) -> None:
    with elsewhere(hold_lock, location, "chat") as (process, _):
        started = time.monotonic()
        with (
            pytest.raises(WarehouseBusyError, match=f"process {process.pid}, syncing for a test"),
            sync_lock(location, "chat", purpose="waiting", timeout=0.1),
        ):
            pass
        assert time.monotonic() - started < 2


def test_whoever_waits_is_told_once_for_whom(
    location: WarehouseLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging_assets.warehouse.locks.QUIET_SECONDS", 0.05)
    with elsewhere(hold_lock, location, "chat") as (process, pipe):
        told: list[str] = []

        def waiting(words: str) -> None:
            told.append(words)
            pipe.send("let go")

        with sync_lock(location, "chat", purpose="waiting", timeout=20, waiting=waiting):
            pass
    assert len(told) == 1
    assert told[0].startswith(
        f"waiting up to 20 s for another sync of chat: process {process.pid}, syncing for a test, since 20"
    )


def test_who_need_not_wait_or_not_for_long_is_told_nothing(location: WarehouseLocation) -> None:
    with sync_lock(location, "chat", purpose="x", timeout=20, waiting=pytest.fail):
        pass
    with (
        elsewhere(hold_lock, location, "chat"),
        pytest.raises(WarehouseBusyError),
        sync_lock(location, "chat", purpose="x", timeout=0.1, waiting=pytest.fail),
    ):
        pass


def test_other_connections_do_not_wait(location: WarehouseLocation) -> None:
    with elsewhere(hold_lock, location, "chat"), sync_lock(location, "other", purpose="x", timeout=0):
        assert is_held(location, "other") is not None


def test_a_killed_holder_lets_go(location: WarehouseLocation) -> None:
    with elsewhere(hold_lock, location, "chat") as (process, _):
        process.kill()
        process.join()
        assert is_held(location, "chat") is None
        with sync_lock(location, "chat", purpose="the next", timeout=1):
            holder = is_held(location, "chat")
            assert holder is not None
            assert holder.purpose == "the next"


def test_threads_of_one_process_wait_for_each_other(location: WarehouseLocation) -> None:
    order: list[str] = []

    def second() -> None:
        with sync_lock(location, "chat", purpose="second", timeout=5):
            order.append("second")

    with sync_lock(location, "chat", purpose="first", timeout=0):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_asking_does_not_disturb_who_asks_as_well(location: WarehouseLocation) -> None:
    with sync_lock(location, "chat", purpose="to make the file", timeout=0):
        pass
    answers: list[object] = []

    def ask() -> None:
        answers.extend(is_held(location, "chat") for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [None] * 200


def test_an_unreadable_holder_is_unknown(location: WarehouseLocation) -> None:
    with elsewhere(hold_lock, location, "chat"):
        location.lock("chat").with_suffix(".holder").write_text("{")
        assert "unknown" in str(is_held(location, "chat"))


def test_a_lock_that_can_not_be_opened_is_told(location: WarehouseLocation) -> None:
    location.prepare()
    location.lock("chat").mkdir()
    with (
        pytest.raises(WarehouseUnusableError, match="can't be written"),
        sync_lock(location, "chat", purpose="x", timeout=0),
    ):
        pass


def test_a_holder_file_that_can_not_be_written_stops_nobody(location: WarehouseLocation) -> None:
    location.prepare()
    location.lock("chat").with_suffix(".holder").mkdir()
    with sync_lock(location, "chat", purpose="x", timeout=0):
        assert "unknown" in str(is_held(location, "chat"))


def test_two_syncs_at_once_both_end_well(platform: Platform, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    errands = []
    for folder in folders:
        folder.mkdir()
        errands.append(Errand.of(platform, folder, "messages"))
    for process in [errand.start() for errand in errands]:
        process.join(30)
        assert process.exitcode == 0
    outcomes = [(folder / "outcome").read_text() for folder in folders]
    assert sorted("new=60" in outcome for outcome in outcomes) == [False, True]
    assert sorted("unchanged=60" in outcome for outcome in outcomes) == [False, True]
    assert len(platform.living("messages")) == 60
