"""On random workspaces: the models add up to the raw tables, and a refresh ends where a fresh start does.

What is expected is counted here in plain Python, with Python's own time zones.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.analytics.workspace import SCHEMA, Row, Workspace, connection

ZONES = ("UTC", "Europe/Zurich", "America/St_Johns", "Pacific/Apia")
# Midnights, weeks and both changes of the clock in Europe fall into these hours of 2024.
FIRST = datetime(2024, 3, 29, tzinfo=UTC)
MOMENTS = st.one_of(
    st.integers(0, 8 * 24 * 4).map(lambda quarters: FIRST + timedelta(minutes=15 * quarters)),
    st.integers(0, 4 * 24 * 4).map(
        lambda quarters: datetime(2024, 10, 25, tzinfo=UTC) + timedelta(minutes=15 * quarters)
    ),
)
PEOPLE = st.sampled_from(["ann", "ben", "ghost", None])
PLACES = st.sampled_from(["general", "random", "lost", None])
IDS = st.sampled_from([f"m{number}" for number in range(12)])


def text_of(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


@st.composite
def messages(draw: st.DrawFn) -> Row:
    written = draw(st.one_of(st.none(), MOMENTS, MOMENTS, MOMENTS))
    edited = draw(st.sampled_from([None, timedelta(0), timedelta(0), timedelta(minutes=5)]))
    return {
        "id": draw(IDS),
        "channel_id": draw(PLACES),
        "user_id": draw(PEOPLE),
        "text": draw(st.sampled_from([None, "", "hello"])),
        "thread_parent_id": draw(st.one_of(st.none(), IDS)),
        "created_at": text_of(written),
        "updated_at": text_of(written + edited) if written and edited is not None else None,
    }


def people(ids: Sequence[str]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {
            "id": st.sampled_from(ids),
            "name": st.sampled_from([None, "One", "Two"]),
            "created_at": st.one_of(st.none(), MOMENTS).map(text_of),
        }
    )


PUT = st.one_of(
    st.tuples(st.just("messages"), messages()),
    st.tuples(st.just("messages"), messages()),
    st.tuples(st.just("users"), people(["ann", "ben", "cat"])),
    st.tuples(st.just("channels"), people(["general", "random"])),
)
DELETE = st.tuples(st.just("delete"), IDS)
STEPS = st.lists(st.one_of(PUT, PUT, PUT, DELETE), max_size=25)


@dataclass
class Told:
    """What the raw tables hold, kept in Python beside the workspace."""

    tables: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: {"users": {}, "channels": {}, "messages": {}}
    )

    def apply(self, workspace: Workspace, steps: Iterable[tuple[str, Any]]) -> None:
        rows: dict[str, dict[str, Row]] = {}
        deleted: set[str] = set()
        for table, value in steps:
            if table == "delete":
                deleted.add(value)
                continue
            deleted.discard(value["id"])
            rows.setdefault(table, {})[value["id"]] = value
            self.tables[table][value["id"]] = {**value, "deleted": False}
        for table, found in rows.items():
            workspace.put(table, *found.values())
        if deleted:
            workspace.delete("messages", *deleted)
        for identity in deleted & self.tables["messages"].keys():
            self.tables["messages"][identity]["deleted"] = True

    @property
    def written(self) -> list[dict[str, Any]]:
        return list(self.tables["messages"].values())

    @property
    def living(self) -> list[dict[str, Any]]:
        return [message for message in self.written if not message["deleted"]]


@dataclass(frozen=True)
class Local:
    """Times as people in a time zone call them."""

    zone: str

    def time(self, row: Mapping[str, Any]) -> datetime:
        return datetime.fromisoformat(row["created_at"]).astimezone(ZoneInfo(self.zone))

    def day(self, row: Mapping[str, Any]) -> date:
        return self.time(row).date()


def is_reply(message: Mapping[str, Any]) -> bool:
    return message["thread_parent_id"] not in (None, message["id"])


def dated(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["created_at"]]


def sums(rows: Iterable[tuple[Any, ...]], *positions: int) -> tuple[int, ...]:
    rows = list(rows)
    return tuple(sum(row[position] for row in rows) for position in positions)


# ---- what is expected ----------------------------------------------------------------------------


def by_channel_and_day(told: Told, local: Local) -> Mapping[tuple[date, str | None], tuple[int, ...]]:
    groups: dict[tuple[date, str | None], list[dict[str, Any]]] = {}
    for message in dated(told.written):
        groups.setdefault((local.day(message), message["channel_id"]), []).append(message)
    expected = {}
    for key, found in groups.items():
        living = [message for message in found if not message["deleted"]]
        expected[key] = (
            len(living),
            sum(map(is_reply, living)),
            len({message["user_id"] for message in living} - {None}),
            sum(message["updated_at"] not in (None, message["created_at"]) for message in living),
            len(found) - len(living),
        )
    return expected


def by_day(told: Told, local: Local) -> dict[date, tuple[int, ...]]:
    living = dated(told.living)
    writing = {(local.day(message), message["user_id"]) for message in living if message["user_id"]}
    number = Counter(map(local.day, living))
    users = Counter(map(local.day, dated(told.tables["users"].values())))
    channels = Counter(map(local.day, dated(told.tables["channels"].values())))
    eventful = sorted(number.keys() | users.keys() | channels.keys())
    listed = (
        [eventful[0] + timedelta(days=n) for n in range((eventful[-1] - eventful[0]).days + 1)]
        if eventful
        else []
    )

    def active(day: date, length: int) -> int:
        return len({user for other, user in writing if timedelta(0) <= day - other < timedelta(days=length)})

    return {
        day: (*(active(day, length) for length in (1, 7, 28)), number[day], users[day], channels[day])
        for day in listed
    }


def by_user(told: Told, local: Local) -> dict[str | None, tuple[Any, ...]]:
    living = told.living
    expected = {}
    for user in {*told.tables["users"], *(message["user_id"] for message in living)}:
        own = [message for message in living if message["user_id"] == user]
        times = [local.time(message).astimezone(UTC) for message in dated(own)]
        expected[user] = (
            min(times, default=None),
            max(times, default=None),
            len(own),
            len({message["channel_id"] for message in own} - {None}),
            len(set(map(local.day, dated(own)))),
            sum(map(is_reply, own)) / len(own) if own else None,
        )
    return expected


def by_week(told: Told, local: Local) -> dict[tuple[date, str | None], tuple[int, float]]:
    living = {message["id"]: message for message in dated(told.living)}
    waits: dict[tuple[date, str | None], list[float]] = {}
    for start in living.values():
        replies = [
            (local.time(reply) - local.time(start).astimezone(UTC)).total_seconds()
            for reply in living.values()
            if reply["thread_parent_id"] == start["id"] and not is_reply(start)
            if None not in (reply["user_id"], start["user_id"]) and reply["user_id"] != start["user_id"]
        ]
        after = [seconds for seconds in replies if seconds >= 0]
        if after:
            day = local.day(start)
            waits.setdefault((day - timedelta(days=day.weekday()), start["channel_id"]), []).append(
                min(after)
            )
    return {key: (len(found), median(found)) for key, found in waits.items()}


# ---- the tests -----------------------------------------------------------------------------------

NUMBERS = count()


@pytest.fixture
def new(project: Project, tmp_path: Path) -> Any:
    """Makes an empty workspace, a new one for each example: from a copy of a file that is made once."""
    template = Workspace(tmp_path / "template.duckdb")

    def make(zone: str) -> Workspace:
        path = tmp_path / f"{next(NUMBERS)}.duckdb"
        shutil.copyfile(template.path, path)
        return Workspace(path, connection(zone))

    return make


CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=20, deadline=None, suppress_health_check=CHECKS)
@given(zone=st.sampled_from(ZONES), steps=STEPS)
def test_the_models_add_up_to_the_raw_tables(new: Any, zone: str, steps: list[tuple[str, Any]]) -> None:
    workspace, told, local = new(zone), Told(), Local(zone)
    told.apply(workspace, steps)
    workspace.refresh()
    found = workspace.tables_now()
    channel_days = {(row[0], row[1]): row[3:] for row in found["daily_channel_activity"]}
    assert channel_days == by_channel_and_day(told, local)
    assert {row[0]: row[1:] for row in found["daily_workspace_activity"]} == by_day(told, local)
    assert {row[0]: row[2:] for row in found["user_activity"]} == by_user(told, local)
    assert {(row[0], row[1]): row[3:5] for row in found["response_times"]} == by_week(told, local)
    hours = Counter((local.time(row).isoweekday(), local.time(row).hour) for row in dated(told.living))
    assert {row[:2]: row[2] for row in found["hourly_heatmap"]} == hours
    # And to each other.
    number = len(dated(told.living))
    assert sums(found["daily_channel_activity"], 3) == sums(found["daily_workspace_activity"], 4) == (number,)
    assert sums(found["daily_channel_activity"], 3, 7) == (number, len(dated(told.written)) - number)
    assert sums(found["user_activity"], 4) == (len(told.living),)
    assert len(found["messages_enriched"]) == len(told.written)


@settings(max_examples=10, deadline=None, suppress_health_check=CHECKS)
@given(zone=st.sampled_from(ZONES), rounds=st.lists(STEPS, min_size=2, max_size=2))
def test_a_refresh_after_changes_ends_where_a_fresh_start_ends(
    new: Any, zone: str, rounds: list[list[tuple[str, Any]]]
) -> None:
    workspace, told = new(zone), Told()
    for steps in rounds:
        told.apply(workspace, steps)
        before = workspace.refresh()
    stored = workspace.tables_now()
    again = workspace.refresh()
    assert not any(result.changed for result in again.values())
    assert {result.content_version for result in again.values()} == {
        result.content_version for result in before.values()
    }
    workspace.execute(f"DROP SCHEMA {SCHEMA}_analytics CASCADE")
    workspace.refresh()
    assert workspace.tables_now() == stored
