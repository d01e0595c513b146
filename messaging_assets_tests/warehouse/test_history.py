"""Whatever happens at the source, between syncs and during them, the table ends as what the source is."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from messaging_assets.sandbox import At, Change, Delete, Edit, Faults, Insert, Move, Sandbox, Workspace
from messaging_assets.sandbox.workspace import Order
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.truth import Table, compare
from messaging_assets_tests.warehouse.conftest import PAGE, Platform
from messaging_assets_tests.warehouse.test_sync import counts

# Syncs of a list that changes meanwhile, and how many of them follow each other into the same table.
HISTORIES, SYNCS = 54, 6

changes = st.one_of(
    st.tuples(st.just("insert"), st.sampled_from(["head", "middle", "tail"]), st.none()),
    st.tuples(
        st.just("edit"), st.integers(0, 60), st.one_of(st.integers(), st.text(max_size=3), st.booleans())
    ),
    st.tuples(st.just("delete"), st.integers(0, 60), st.none()),
    st.tuples(st.just("return"), st.integers(0, 60), st.none()),
)
histories = st.lists(st.lists(changes, max_size=6), min_size=1, max_size=3)


class Model:
    """What the table has to hold, by the source's word alone."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.living: dict[str, Any] = {}
        self.gone: set[str] = set()
        self.originals = list(platform.sandbox.ids("messages"))

    def happen(self, kind: str, where: Any, value: Any) -> None:
        sandbox = self.platform.sandbox
        ids = sandbox.ids("messages")
        if kind == "insert":
            sandbox.insert("messages", where)
        elif kind == "return":
            lost = [identity for identity in self.originals if identity not in ids]
            if lost:
                sandbox.restore("messages", lost[where % len(lost)])
        elif ids and kind == "edit":
            sandbox.edit("messages", ids[where % len(ids)], mood=value)
        elif ids:
            sandbox.delete("messages", ids[where % len(ids)])

    def sync(self) -> None:
        before, gone = self.living, self.gone
        now = {row["id"]: row for row in self.platform.sandbox.rows("messages")}
        kinds = Counter(
            "restored"
            if identity in gone
            else "new"
            if identity not in before
            else "unchanged"
            if row == before[identity]
            else "changed"
            for identity, row in now.items()
        )
        kinds["deleted"] = len(before.keys() - now.keys())
        result = self.platform.sync("messages", accept_deletions=True)
        assert (result.verified, counts(result)) == ("full", +kinds)
        self.gone = (gone | before.keys()) - now.keys()
        self.living = now
        held = self.platform.rows("messages")
        assert {identity for identity, row in held.items() if row["deleted_at"] is None} == now.keys()
        assert {identity for identity, row in held.items() if row["deleted_at"] is not None} == self.gone
        assert {identity: row["text"] for identity, row in held.items() if identity in now} == {
            identity: row["text"] for identity, row in now.items()
        }


@settings(
    deadline=timedelta(seconds=20),
    max_examples=5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    histories,
    st.sampled_from(["ascending", "descending", "updated", "none"]),
    st.sampled_from([None, 7]),
    st.sampled_from(["right", "absent"]),
)
def test_a_random_history_ends_exact(
    project: Project,
    tmp_path_factory: pytest.TempPathFactory,
    history: list[list[tuple[str, Any, Any]]],
    order: Order,
    page_cap: int | None,
    total: Any,
) -> None:
    folder: Path = tmp_path_factory.mktemp("history")
    faults = Faults(order=order, page_cap=page_cap, total=total)
    with Sandbox(users=3, channels=2, messages=30, faults=faults) as sandbox:
        model = Model(Platform(sandbox, WarehouseLocation(folder / "chat.duckdb")))
        model.sync()
        for happenings in history:
            for happening in happenings:
                model.happen(*happening)
            model.sync()


happenings = st.builds(
    lambda kind, **words: kind("messages", **words),
    st.sampled_from([Insert, Delete, Edit]),
    count=st.sampled_from([1, 1, 3, PAGE + 5]),
    where=st.sampled_from(["head", "middle", "tail", "random"]),
)
moves = st.builds(
    Move,
    count=st.sampled_from([1, 3]),
    where=st.sampled_from(["head", "middle", "tail"]),
    to=st.sampled_from(["head", "middle", "tail"]),
)


@st.composite
def servers(draw: st.DrawFn) -> Faults:
    """Ways in which a server pages, orders and counts."""
    return Faults(
        order=draw(st.sampled_from(["ascending", "descending", "updated", "updated_ascending", "none"])),
        page_cap=draw(st.sampled_from([None, 7, 13])),
        extra_rows=draw(st.sampled_from([0, 0, 3])),
        total=draw(st.sampled_from(["right", "right", "absent", "null", "text", "wrong"])),
        total_error=draw(st.sampled_from([7, -7])),
        latency_jitter=draw(st.sampled_from([0.0, 0.0, 0.002])),
    )


def while_read(order: Order) -> st.SearchStrategy[list[tuple[int, Change]]]:
    """What happens before which page; where the order is by what does not change, no row moves."""
    changes = happenings if "ascending" in order else st.one_of(happenings, happenings, moves)
    return st.lists(st.tuples(st.integers(1, 8), changes), max_size=4)


@pytest.mark.timeout(300)
@settings(
    deadline=None,
    max_examples=HISTORIES // SYNCS,
    derandomize=True,
    # What shrinks a failing history takes minutes; the seed says which one it was.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_syncs_of_a_list_that_changes_while_it_is_read_end_exact(
    project: Project, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    location = WarehouseLocation(tmp_path_factory.mktemp("history") / "chat.duckdb")
    before = Table()
    with Sandbox(users=3, channels=2, messages=3 * PAGE) as sandbox:
        platform = Platform(sandbox, location)
        for _ in range(SYNCS):
            server = data.draw(servers())
            for happening in data.draw(st.lists(happenings, max_size=3)):
                happening.apply(sandbox.workspace)
            sandbox.order(order=server.order)
            states = [sandbox.rows("messages")]
            server.script = [
                At(page, noted(change, states)) for page, change in data.draw(while_read(server.order))
            ]
            sandbox.order(server)
            platform.client = {"in_flight": data.draw(st.integers(1, 8))}
            platform.sync("messages", accept_deletions=True)
            after = Table.read(location.database, "chat", "messages")
            compare(states, before, after)
            before = after
        sandbox.order()
        assert platform.sync("messages", accept_deletions=True).verified == "full"
        assert Table.read(location.database, "chat", "messages").is_exactly(sandbox.rows("messages"))


def noted(change: Change, states: list[list[Any]]) -> Callable[[Workspace], None]:
    """A change after which the state of the source is noted down."""

    def apply(workspace: Workspace) -> None:
        change.apply(workspace)
        states.append(workspace.rows("messages"))

    return apply
