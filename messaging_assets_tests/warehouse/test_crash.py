"""A sync that is killed, in a process of its own, at moments spread over its whole length."""

import time
from pathlib import Path

from messaging_assets.warehouse.database import open_database
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.processes import Errand, elsewhere, writes_in_the_middle
from messaging_assets_tests.warehouse.test_sync import counts

KILLS = 7


def edit_all(platform: Platform, edition: int) -> None:
    platform.sandbox.reshape(
        "messages", lambda row: {**row, "text": f"edition {edition}", "extra": [edition]}
    )


def editions(platform: Platform) -> list[tuple[str, int]]:
    return platform.query("SELECT text, count(*) FROM chat.messages WHERE deleted_at IS NULL GROUP BY text")


def work_files(platform: Platform) -> set[str]:
    return {path.name for path in platform.location.work.rglob("*") if path.is_file()}


def test_a_sync_killed_at_any_moment_leaves_a_whole_state_and_the_next_ends_exact(
    platform: Platform, tmp_path: Path
) -> None:
    errand = Errand.of(platform, tmp_path, "messages")
    edit_all(platform, 0)
    errand.run()
    edit_all(platform, 1)
    started = time.monotonic()
    assert "changed=60" in errand.run()
    seconds = time.monotonic() - started

    for kill in range(KILLS):
        before = editions(platform)
        edition = kill + 2
        edit_all(platform, edition)
        process = errand.start()
        process.join(seconds * (kill + 0.5) / KILLS)
        process.kill()
        process.join()
        assert editions(platform) in (before, [(f"edition {edition}", 60)])

    gone = platform.sandbox.ids("messages")[0]
    platform.sandbox.delete("messages", gone)
    edit_all(platform, 99)
    assert counts(platform.sync("messages")) == {"changed": 59, "deleted": 1}
    assert editions(platform) == [("edition 99", 59)]
    assert set(platform.living("messages")) == set(platform.sandbox.ids("messages"))
    assert work_files(platform) == {"chat.lock", "chat.holder"}
    assert platform.query("SELECT count(*) FROM duckdb_schemas() WHERE schema_name = 'chat_staging'") == [
        (0,)
    ]


def test_a_process_killed_within_a_transaction_has_changed_nothing(platform: Platform) -> None:
    platform.sync("users")
    with elsewhere(writes_in_the_middle, platform.location.database):
        pass
    assert len(platform.rows("users")) == 45
    with open_database(platform.location.database) as database:
        assert database.execute("SELECT count(*) FROM chat.users").fetchall() == [(45,)]
