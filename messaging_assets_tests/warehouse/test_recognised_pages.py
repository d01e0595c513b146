"""Reconciles that recognise pages write nothing, and find what was changed wherever it was changed."""

from pathlib import Path

import pytest

from messaging_assets.api.errors import MessagingError
from messaging_assets.api.sweep import Sweep, SweepProgress
from messaging_assets.sandbox.faults import At, Broken
from messaging_assets.warehouse.sync import SyncResult
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.test_sync import counts
from messaging_assets_tests.warehouse.test_zero_writes import stored

ROWS = 200
PAGES = 12


@pytest.fixture
def large(platform: Platform) -> Platform:
    """A platform with a resource of eleven pages that was synced."""
    platform.things(*({"id": f"T{i:03}", "name": f"thing {i}", "size": i} for i in range(ROWS)))
    assert counts(platform.sync()) == {"new": ROWS}
    assert memory_of(platform).exists()
    return platform


def memory_of(platform: Platform) -> Path:
    return platform.location.pages("chat", "things")


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[SweepProgress]:
    """The accounts of the sweeps of a test."""
    accounts: list[SweepProgress] = []
    make = Sweep.__init__

    def noted(self: Sweep, *arguments: object, **more: object) -> None:
        make(self, *arguments, **more)  # type: ignore[arg-type]
        accounts.append(self.progress)

    monkeypatch.setattr(Sweep, "__init__", noted)
    return accounts


def reconciled(platform: Platform, swept: list[SweepProgress]) -> tuple[SyncResult, int]:
    """Reconciles; how many pages were recognised."""
    result = platform.sync()
    return result, swept[-1].recognised


def assert_exact(platform: Platform) -> None:
    living = {identity: row for identity, row in platform.rows().items() if row.pop("deleted_at") is None}
    truth = {row["id"]: row for row in platform.sandbox.rows("things")}
    assert {identity: (row["name"], row["size"]) for identity, row in living.items()} == {
        identity: (row["name"], row["size"]) for identity, row in truth.items()
    }


def test_where_nothing_changed_nothing_is_parsed_and_nothing_written(
    large: Platform, swept: list[SweepProgress]
) -> None:
    before, memory = stored(large, "things"), memory_of(large).stat()
    result, recognised = reconciled(large, swept)
    assert (counts(result), result.verified, result.seen) == ({"unchanged": ROWS}, "full", ROWS)
    assert recognised == 10
    assert result.pages == PAGES
    assert stored(large, "things") == before
    assert memory_of(large).stat().st_mtime_ns == memory.st_mtime_ns


def test_an_edit_a_deletion_and_a_new_row_are_found(large: Platform, swept: list[SweepProgress]) -> None:
    large.change("T100", size=-1)
    result, recognised = reconciled(large, swept)
    assert counts(result) == {"changed": 1, "unchanged": ROWS - 1}
    assert 0 < recognised < 10
    large.sandbox.delete("things", "T150")
    assert counts(large.sync()) == {"unchanged": ROWS - 1, "deleted": 1}
    large.sandbox.raw_row("things", {"id": "T999", "name": "new", "size": 0}, "tail")
    assert counts(large.sync()) == {"new": 1, "unchanged": ROWS - 1}
    assert_exact(large)
    result, recognised = reconciled(large, swept)
    assert (counts(result), recognised) == ({"unchanged": ROWS}, 10)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM chat.things WHERE id = 'T100'", {"new": 1, "unchanged": ROWS - 1}),
        (
            "UPDATE chat.things SET deleted_at = now() WHERE id = 'T100'",
            {"restored": 1, "unchanged": ROWS - 1},
        ),
        ("UPDATE chat.things SET _row_hash = 7 WHERE id = 'T100'", {"changed": 1, "unchanged": ROWS - 1}),
        ("DROP TABLE chat.things", {"new": ROWS}),
    ],
)
def test_what_was_changed_in_the_table_by_hand_is_mended(
    large: Platform, statement: str, found: dict[str, int]
) -> None:
    large.execute(statement)
    assert counts(large.sync()) == found
    assert_exact(large)
    assert counts(large.sync()) == {"unchanged": ROWS}


def test_another_selector_or_key_makes_the_memory_worthless(
    large: Platform, swept: list[SweepProgress]
) -> None:
    words = {**large.resources[0]}
    words["endpoint"] = {**words["endpoint"], "params": {"view": "all"}}
    large.resources = (words,)
    result, recognised = reconciled(large, swept)
    assert (counts(result), recognised) == ({"unchanged": ROWS}, 0)
    assert reconciled(large, swept)[1] == 10


def test_of_a_list_that_took_two_passes_nothing_is_remembered(
    large: Platform, swept: list[SweepProgress]
) -> None:
    """The pages of the first pass were in no order, those of the second were."""
    wrong = {"id": "A", "name": "out of order", "size": 0}
    large.sandbox.order(
        script=[
            At(3, lambda workspace: workspace.raw_row("things", wrong, "tail"), "things"),
            At(16, lambda workspace: workspace.delete("things", "A"), "things"),
        ]
    )
    result = large.sync()
    assert (result.verified, swept[-1].passes, swept[-1].order) == ("full", 2, "id, ascending")
    assert not memory_of(large).exists()
    large.sandbox.order()
    large.sync()
    assert_exact(large)


def test_a_resumed_reconcile_misses_nothing(
    large: Platform, swept: list[SweepProgress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESSAGING__CHECKPOINT_SECONDS", "0")
    large.change("T030", size=-1)
    large.sandbox.order(broken=[Broken("status", resource="things", position=150)])
    with pytest.raises(MessagingError):
        large.sync()
    assert swept[-1].recognised > 0
    large.sandbox.order()
    large.change("T170", size=-1)
    large.sandbox.delete("things", "T010", "T190")
    memory = memory_of(large).stat()
    result = large.sync()
    assert "of the rows were read by an earlier run" in result.reason
    assert (counts(result), result.verified) == ({"changed": 2, "unchanged": ROWS - 3}, "full")
    assert result.requests < PAGES
    # What was seen of the list is in two runs, so that there is no one sequence to remember.
    assert memory_of(large).stat().st_mtime_ns == memory.st_mtime_ns
    assert counts(large.sync()) == {"unchanged": ROWS - 2, "deleted": 2}
    assert_exact(large)


def test_a_failed_reconcile_leaves_the_memory_as_it_was(large: Platform, swept: list[SweepProgress]) -> None:
    before = memory_of(large).read_bytes()
    large.change("T030", size=-1)
    large.sandbox.order(broken=[Broken("status", resource="things", position=150)])
    with pytest.raises(MessagingError):
        large.sync()
    assert memory_of(large).read_bytes() == before
    assert [path.name for path in memory_of(large).parent.iterdir()] == ["things.parquet"]


@pytest.mark.parametrize("words", [{"write_disposition": "append"}, {"filtered": True}])
def test_of_what_is_appended_or_filtered_nothing_is_remembered(
    platform: Platform, words: dict[str, object]
) -> None:
    rows = [{"id": f"T{i:03}", "updated_at": f"2026-01-01T00:00:{i:02}Z"} for i in range(45)]
    if words.pop("filtered", False):
        words = {
            "endpoint": {
                "path": "/v1/things",
                "incremental": {"cursor_path": "updated_at", "start_param": "since"},
            }
        }
    platform.things(*rows, **words)
    for _ in range(2):
        platform.sync()
    assert not memory_of(platform).exists()
