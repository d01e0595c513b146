"""Rows computed from number and clock, and what is changed by hand."""

import json
import tracemalloc
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from messaging_assets.sandbox.workspace import EPOCH, ManualClock, Order, Workspace

ORDERS: tuple[Order, ...] = ("ascending", "descending", "updated", "updated_ascending", "none", "unstable")


def _growing(clock: ManualClock, seed: int = 1) -> Workspace:
    return Workspace(messages=300, growth_per_hour=40, clock=clock, seed=seed)


def _ids(workspace: Workspace, resource: str = "messages") -> list[Any]:
    return [row["id"] for row in workspace.rows(resource)]


def _column(workspace: Workspace, name: str) -> list[Any]:
    return [row[name] for row in workspace.rows("messages")]


def test_without_growth_there_are_as_many_rows_as_ordered_whatever_the_time() -> None:
    clock = ManualClock()
    workspace = Workspace(users=3, channels=2, messages=50, clock=clock)
    before = workspace.rows("messages")
    clock.advance(hours=10_000)
    assert [workspace.total(name) for name in workspace.names()] == [3, 2, 50]
    assert workspace.rows("messages") == before


def test_two_workspaces_started_alike_say_the_same_at_the_same_moment() -> None:
    first_clock, second_clock = ManualClock(), ManualClock(EPOCH + timedelta(hours=30))
    first, second = _growing(first_clock), _growing(second_clock)
    first.rows("messages")
    first_clock.advance(hours=30)
    for name in first.names():
        assert first.rows(name) == second.rows(name)
    assert first.rows("messages") != _growing(second_clock, seed=2).rows("messages")


def test_a_workspace_grows_edits_and_deletes_as_time_passes() -> None:
    clock = ManualClock()
    workspace = _growing(clock)
    before = {row["id"]: row for row in workspace.rows("messages")}
    seen = dict(before)
    edited: set[str] = set()
    reacted: set[str] = set()
    deleted: set[str] = set()
    for _ in range(24):
        clock.advance(hours=1)
        after = {row["id"]: row for row in workspace.rows("messages")}
        deleted |= seen.keys() - after.keys()
        for key in seen.keys() & after.keys():
            if after[key] != seen[key]:
                assert after[key]["updated_at"] > seen[key]["updated_at"]
                (edited if after[key]["text"] != seen[key]["text"] else reacted).add(key)
        seen |= after
    assert before.keys() <= after.keys()
    assert len(seen) == 300 + 24 * 40
    assert len(deleted) > 10
    assert len(edited) > 20
    assert len(reacted) > 40
    assert workspace.total("users") == 100 + 24 * 40 // 200


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_holds_every_row_once_page_by_page(order: Order) -> None:
    clock = ManualClock()
    workspace = _growing(clock)
    for hours in (0, 1, 5, 50):
        clock.advance(hours=hours)
        workspace.delete_at("messages", "random", 3)
        workspace.insert("messages", "random")
        workspace.edit_at("messages", "random", 2)
        workspace.arrange("ascending")
        truth = Counter(_ids(workspace))
        workspace.arrange(order)
        total = workspace.total("messages")
        paged = [key for offset in range(0, total, 7) for key in workspace.keys("messages", offset, 7)]
        assert paged == workspace.keys("messages")
        assert Counter(_ids(workspace)) == truth
        assert set(truth.values()) == {1}


def test_the_orders_are_what_they_are_called() -> None:
    clock = ManualClock()
    workspace = _growing(clock)
    clock.advance(hours=40)
    created = _column(workspace, "created_at")
    assert created == sorted(created)
    workspace.arrange("descending")
    assert _column(workspace, "created_at") == created[::-1]
    workspace.arrange("updated")
    updated = _column(workspace, "updated_at")
    assert updated == sorted(updated, reverse=True)
    workspace.arrange("updated_ascending")
    assert _column(workspace, "updated_at") == updated[::-1]
    workspace.arrange("none")
    shuffled = _column(workspace, "created_at")
    assert sorted(shuffled) == created
    assert shuffled not in (created, created[::-1])
    assert _column(workspace, "created_at") == shuffled


def test_an_edited_row_moves_to_the_head_of_a_list_by_update() -> None:
    workspace = Workspace(messages=20)
    workspace.arrange("updated")
    workspace.edit("messages", "M000000005", text="new")
    workspace.edit("messages", "M000000011", text="newer")
    inserted = workspace.insert("messages")
    workspace.move("messages", "M000000001")
    expected = ["M000000001", inserted, "M000000011", "M000000005", "M000000020", "M000000019"]
    assert _ids(workspace)[:6] == expected
    assert workspace.total("messages") == 21


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("where", ["head", "tail", "middle", "random", 0, 7, 20, 999])
def test_an_inserted_row_keeps_the_list_in_order(order: Order, where: Any) -> None:
    workspace = Workspace(messages=20)
    workspace.arrange(order)
    inserted = [workspace.insert("messages", where, text=str(place)) for place in range(3)]
    created = _column(workspace, "created_at")
    assert created == sorted(set(created), reverse=order == "descending")
    places = [_ids(workspace).index(identity) for identity in inserted]
    expected = {"head": [2, 1, 0], "tail": [20, 21, 22], 0: [2, 1, 0], 7: [9, 8, 7], 20: [22, 21, 20]}
    if where in expected:
        assert places == expected[where]
    assert workspace.total("messages") == 23


def test_rows_are_deleted_restored_edited_and_moved_by_their_ids() -> None:
    workspace = Workspace(users=5)
    ids = _ids(workspace, "users")
    workspace.delete("users", "U000002", "U000004")
    assert _ids(workspace, "users") == ["U000001", "U000003", "U000005"]
    workspace.restore("users", "U000002")
    workspace.restore("users", "U000004")
    assert _ids(workspace, "users") == ids
    workspace.move("users", "U000005", "head")
    workspace.move("users", "U000001", "tail")
    assert _ids(workspace, "users") == ["U000005", "U000002", "U000003", "U000004", "U000001"]
    before = workspace.rows("users")[1]
    workspace.edit("users", "U000002", name="Ada", id="U2", extra={"a": 1})
    after = workspace.rows("users")[1]
    assert after == {
        **before,
        "name": "Ada",
        "id": "U2",
        "extra": {"a": 1},
        "updated_at": after["updated_at"],
    }
    assert after["updated_at"] > before["updated_at"]
    assert workspace.find("users", "U000002") is None
    workspace.delete("users", "U2")
    assert _ids(workspace, "users") == ["U000005", "U000003", "U000004", "U000001"]


@pytest.mark.parametrize("identity", ["U000009", "nobody", "U1", None, 3, "M000000001"])
def test_a_row_that_is_not_there_can_be_neither_edited_nor_deleted(identity: object) -> None:
    workspace = Workspace(users=5)
    with pytest.raises(KeyError):
        workspace.edit("users", identity, name="x")
    with pytest.raises(KeyError):
        workspace.delete("users", identity)


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "17",
        '"x"',
        "[]",
        '{"id": "\\ud800"}',
        '{"n": 1267650600228229401496703205376}',
        '{"id": 1, "id": 2}',
    ],
)
def test_any_json_text_can_be_a_row(text: str) -> None:
    workspace = Workspace(messages=3)
    workspace.raw_text("messages", text, 1)
    workspace.raw_row("messages", json.loads(text))
    body = workspace.written_array("messages", workspace.keys("messages"))
    assert text.encode() in body
    assert [row for row in json.loads(body) if row == json.loads(text)] == [json.loads(text)] * 2
    assert workspace.rows("messages")[1] == json.loads(text)
    assert workspace.rows("messages")[4] == json.loads(text)


@pytest.mark.parametrize("value", ["\ud800", 1 << 100, "null\0byte", "x" * 100_000])
def test_nasty_values_can_be_inserted_edited_and_replaced(value: Any) -> None:
    workspace = Workspace(messages=3)
    identity = workspace.insert("messages", text=value)
    workspace.edit("messages", "M000000002", text=value)
    workspace.edit("messages", identity, name=value)
    workspace.replace("messages", "M000000003", {"id": "M000000003", "text": value})
    workspace.reshape("messages", lambda row: {**row, "more": value})
    rows = json.loads(workspace.written_array("messages", workspace.keys("messages")))
    assert [row["text"] == value for row in rows] == [False, True, True, True]
    assert rows[3]["name"] == value
    assert workspace.rows("messages") == rows


def test_a_resource_of_any_name_has_the_rows_given() -> None:
    workspace = Workspace()
    workspace.add_resource("emoji", [{"id": 1}, {"id": "1"}, 5])
    inserted = workspace.insert("emoji", 1, image="x.png")
    assert [workspace.find("emoji", identity) is not None for identity in (1, "1", inserted, 5)] == [
        True, True, True, False,
    ]  # fmt: skip
    assert [row if isinstance(row, int) else row["id"] for row in workspace.rows("emoji")] == [
        1,
        inserted,
        "1",
        5,
    ]
    with pytest.raises(ValueError, match="already"):
        workspace.add_resource("users")


def test_rows_updated_since_a_moment() -> None:
    workspace = Workspace(messages=50)
    rows = workspace.rows("messages")
    moment = datetime.fromisoformat(rows[30]["updated_at"])
    since = int(moment.timestamp()) * 1_000_000 + moment.microsecond
    assert _since(workspace, since) == [row["id"] for row in rows[30:]]
    workspace.edit("messages", "M000000003", text="late")
    assert _since(workspace, since) == ["M000000003", *[row["id"] for row in rows[30:]]]
    assert workspace.count_since("messages", since) == 21


def _since(workspace: Workspace, since: int) -> list[str]:
    return [row["id"] for row in workspace.rows("messages", workspace.keys("messages", since=since))]


def test_a_million_messages_cost_no_memory() -> None:
    tracemalloc.start()
    try:
        workspace = Workspace(messages=1_000_000, growth_per_hour=1_000_000, clock=ManualClock())
        for order in ORDERS:
            workspace.arrange(order)
            for offset in (0, 500_000, 999_990):
                workspace.rows("messages", workspace.keys("messages", offset, 100))
        workspace.delete("messages", "M000500000")
        workspace.insert("messages", 300_000)
        assert workspace.total("messages") == 1_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_page_that_is_kept_is_not_served_when_its_rows_have_changed() -> None:
    clock = ManualClock()
    kept = Workspace(messages=300, growth_per_hour=40, clock=clock, cache_megabytes=1)
    plain = Workspace(messages=300, growth_per_hour=40, clock=clock)
    for step in range(6):
        for workspace in (kept, plain):
            workspace.edit_at("messages", "head", text=f"changed {step}")
        # Every other time the rows change by themselves as well.
        clock.advance(hours=step % 2)
        for _ in range(2):
            keys = kept.keys("messages", 0, 400)
            assert kept.written_array("messages", keys) == plain.written_array("messages", keys)


def test_references_hold() -> None:
    workspace = Workspace(users=20, channels=5, messages=500)
    users, channels = set(_ids(workspace, "users")), set(_ids(workspace, "channels"))
    rows = {row["id"]: row for row in workspace.rows("messages")}
    replies = [row for row in rows.values() if row["thread_parent_id"] is not None]
    assert {row["user_id"] for row in rows.values()} <= users
    assert {row["channel_id"] for row in rows.values()} <= channels
    assert len(replies) > 100
    assert all(rows[row["thread_parent_id"]]["thread_parent_id"] is None for row in replies)
    assert all(rows[row["thread_parent_id"]]["created_at"] < row["created_at"] for row in replies)
    assert any(row["reactions"] for row in rows.values())


def test_an_empty_workspace_is_empty() -> None:
    workspace = Workspace(users=0, channels=0, messages=0)
    for order in ORDERS:
        workspace.arrange(order)
        assert [workspace.rows(name) for name in workspace.names()] == [[], [], []]
    assert workspace.insert("messages", "head") in _ids(workspace)


def test_changing_many_rows_at_an_empty_place_changes_what_is_there() -> None:
    workspace = Workspace(messages=3)
    workspace.edit_at("messages", "head", 2)
    assert [row["text"].startswith("Edited") for row in workspace.rows("messages")] == [True, True, False]
    workspace.move_at("messages", "tail", 2, "head")
    assert _ids(workspace) == ["M000000003", "M000000002", "M000000001"]
    workspace.delete_at("messages", "middle", 99)
    assert _ids(workspace) == []
