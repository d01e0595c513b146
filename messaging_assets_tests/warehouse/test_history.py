"""Whatever happens at the source between syncs, the table ends as exactly its living rows and its marks."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging_assets.sandbox import Faults, Sandbox
from messaging_assets.sandbox.workspace import Order
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.test_sync import counts

FIELDS = ("_row_hash", "deleted_at")

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
