"""A sync from the API to the table, over real HTTP and through dlt."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest

from messaging_assets.api.errors import MessagingError, PagingError
from messaging_assets.sandbox import At, Faults, Insert
from messaging_assets.sandbox.faults import Broken
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.ledger import LedgerEntry, last_syncs, write_entry
from messaging_assets.warehouse.staging import stage_with_dlt
from messaging_assets.warehouse.sync import SyncResult
from messaging_assets_tests.warehouse.conftest import Platform


def counts(result: SyncResult) -> dict[str, int]:
    """What a result counts, without what is zero."""
    names = ("new", "changed", "unchanged", "deleted", "restored", "rejected", "deletions_withheld")
    return {name: getattr(result, name) for name in names if getattr(result, name)}


def ledger(platform: Platform, resource: str | None = None) -> list[LedgerEntry]:
    with open_database(platform.location.database, read_only=True) as database:
        return last_syncs(database, "chat", resource=resource)


def refuse_to_stage(*_: Any) -> None:
    raise AssertionError("dlt was called although nothing changed")


def failing_once(function: Callable[..., None]) -> Callable[..., None]:
    """The function as it is when the disk is full, but only the first time."""
    calls: list[None] = []

    def fail(*arguments: Any) -> None:
        calls.append(None)
        if len(calls) == 1:
            raise duckdb.IOException("No space left on device")
        function(*arguments)

    return fail


def people(count: int) -> list[dict[str, Any]]:
    return [{"id": f"P{i:03}", "name": f"Person {i}"} for i in range(count)]


def test_the_first_sync_loads_every_row_as_it_is(platform: Platform) -> None:
    result = platform.sync("users")
    assert counts(result) == {"new": 45}
    assert (result.table, result.rows, result.seen, result.api_total) == ("chat.users", 45, 45, 45)
    assert (result.verified, result.mode) == ("full", "reconcile")
    assert (result.requests, result.pages, result.retries) == (4, 3, 0) or result.pages == result.requests
    held = platform.rows("users")
    for row in platform.sandbox.rows("users"):
        expected = {
            name: datetime.fromisoformat(value) if name.endswith("_at") else value
            for name, value in row.items()
        }
        assert held[row["id"]] == {**expected, "deleted_at": None}
    assert result.newest == max(row["created_at"] for row in held.values())


def test_a_second_sync_without_change_writes_nothing_and_leaves_dlt_alone(platform: Platform) -> None:
    first = platform.sync("users")
    before = platform.query("SELECT rowid, * FROM chat.users")
    second = platform.sync("users", stage=refuse_to_stage)
    assert counts(second) == {"unchanged": 45}
    assert second.content_version == first.content_version != ""
    assert platform.query("SELECT rowid, * FROM chat.users") == before


def test_each_resource_has_a_table_of_its_own(platform: Platform) -> None:
    for resource in ("users", "channels", "messages"):
        platform.sync(resource)
    assert [len(platform.rows(name)) for name in ("users", "channels", "messages")] == [45, 8, 60]
    assert platform.query("SELECT count(*) FROM duckdb_schemas() WHERE schema_name = 'chat_staging'") == [
        (0,)
    ]


def test_edits_insertions_deletions_and_returns(platform: Platform) -> None:
    first = platform.sync("users")
    gone, edited, *_ = platform.sandbox.ids("users")
    platform.sandbox.delete("users", gone)
    platform.sandbox.edit("users", edited, name="Ada")
    added = platform.sandbox.insert("users", "middle", name="Bob")

    second = platform.sync("users")
    assert counts(second) == {"new": 1, "changed": 1, "unchanged": 43, "deleted": 1}
    assert second.content_version != first.content_version
    rows = platform.rows("users")
    assert rows[edited]["name"] == "Ada"
    assert rows[added]["deleted_at"] is None
    assert rows[gone]["deleted_at"].astimezone(UTC) > datetime(2020, 1, 1, tzinfo=UTC)
    assert (second.rows, len(rows)) == (45, 46)

    marked = rows[gone]
    third = platform.sync("users", stage=refuse_to_stage)
    assert counts(third) == {"unchanged": 45}
    assert platform.rows("users")[gone] == marked

    platform.sandbox.restore("users", gone)
    fourth = platform.sync("users")
    assert counts(fourth) == {"unchanged": 45, "restored": 1}
    assert platform.rows("users")[gone] == {**marked, "deleted_at": None}


def test_a_row_that_returns_changed_counts_as_restored_only(platform: Platform) -> None:
    platform.sync("users")
    gone = platform.sandbox.ids("users")[7]
    platform.sandbox.delete("users", gone)
    platform.sync("users")
    platform.sandbox.restore("users", gone)
    platform.sandbox.edit("users", gone, name="Ada")
    assert counts(platform.sync("users")) == {"unchanged": 44, "restored": 1}
    assert platform.rows("users")[gone]["name"] == "Ada"


def test_an_empty_resource_gets_its_table_and_may_have_any_ids_later(platform: Platform) -> None:
    platform.things()
    empty = platform.sync()
    assert (empty.rows, empty.verified) == (0, "full")
    assert platform.types() == {
        "id": "VARCHAR",
        "name": "VARCHAR",
        "created_at": "TIMESTAMP WITH TIME ZONE",
    }
    assert platform.query("SELECT deleted_at FROM chat.things") == []
    platform.sandbox.raw_row("things", {"id": 7, "name": 3})
    assert counts(platform.sync()) == {"new": 1}
    assert platform.types()["id"] == "BIGINT"
    assert counts(platform.sync(stage=refuse_to_stage)) == {"unchanged": 1}


class TestDeletionGuard:
    def test_a_tenth_may_go(self, platform: Platform) -> None:
        platform.things(*people(80))
        platform.sync()
        platform.sandbox.delete("things", *(f"P{i:03}" for i in range(8)))
        assert counts(platform.sync()) == {"unchanged": 72, "deleted": 8}

    def test_more_than_that_marks_nothing_until_it_is_accepted(self, platform: Platform) -> None:
        platform.things(*people(80))
        before = platform.sync()
        platform.sandbox.delete("things", *(f"P{i:03}" for i in range(9)))
        withheld = platform.sync()
        assert counts(withheld) == {"unchanged": 71, "deletions_withheld": 9}
        assert "9 of 80 rows would vanish" in withheld.reason
        assert (withheld.rows, withheld.content_version) == (80, before.content_version)
        assert counts(platform.sync(accept_deletions=True)) == {"unchanged": 71, "deleted": 9}
        assert counts(platform.sync()) == {"unchanged": 71}

    def test_new_rows_do_not_widen_the_share(self, platform: Platform) -> None:
        platform.things(*people(40))
        platform.sync()
        platform.sandbox.delete("things", *(f"P{i:03}" for i in range(6)))
        for i in range(60):
            platform.sandbox.raw_row("things", {"id": f"N{i:03}"})
        assert counts(platform.sync()) == {"new": 60, "unchanged": 34, "deletions_withheld": 6}

    def test_five_rows_may_go_whatever_their_share(self, platform: Platform) -> None:
        platform.things(*people(8))
        platform.sync()
        platform.sandbox.delete("things", *(f"P{i:03}" for i in range(5)))
        assert counts(platform.sync()) == {"unchanged": 3, "deleted": 5}

    def test_but_not_all_of_them_at_once(self, platform: Platform) -> None:
        platform.things(*people(3))
        platform.sync()
        platform.sandbox.delete("things", *(f"P{i:03}" for i in range(3)))
        withheld = platform.sync()
        assert counts(withheld) == {"deletions_withheld": 3}
        assert "returned nothing at all" in withheld.reason
        assert counts(platform.sync(accept_deletions=True)) == {"deleted": 3}

    def test_a_share_of_its_own(self, platform: Platform) -> None:
        platform.max_deleted_share = 0.5
        platform.things(*people(40))
        platform.sync()
        platform.sandbox.delete("things", *(f"P{i:03}" for i in range(20)))
        assert counts(platform.sync()) == {"unchanged": 20, "deleted": 20}

    def test_a_record_without_id_may_be_the_missing_one(self, platform: Platform) -> None:
        platform.things(*people(40))
        platform.sync()
        platform.sandbox.replace("things", "P007", {"name": "Person 7"})
        assert counts(platform.sync(accept_deletions=True)) == {
            "unchanged": 39,
            "rejected": 1,
            "deletions_withheld": 1,
        }
        assert len(platform.living()) == 40

    def test_what_is_not_proved_marks_nothing(self, platform: Platform) -> None:
        platform.things(*people(60))
        platform.sync()
        platform.sandbox.delete("things", "P007")
        # No two passes agree.
        restless = At(1, Insert("things", where="random"), "things", every=1)
        platform.sandbox.order(Faults(order="none", total="absent", script=[restless]))
        result = platform.sync(accept_deletions=True)
        assert (result.verified, result.deleted) == ("no", 0)
        assert "P007" in platform.living()
        platform.sandbox.order()
        assert platform.sync().deleted == 1
        assert platform.living() == sorted(platform.sandbox.ids("things"))


class TestWriteDispositions:
    def test_append_adds_everything_each_time(self, platform: Platform) -> None:
        platform.things(*people(3), write_disposition="append")
        assert counts(platform.sync()) == {"new": 3}
        assert counts(platform.sync()) == {"new": 3}
        platform.sandbox.delete("things", "P000")
        assert platform.sync().rows == 8
        assert platform.query("SELECT count(*), count(deleted_at) FROM chat.things") == [(8, 0)]

    def test_append_to_an_empty_table_of_any_ids(self, platform: Platform) -> None:
        platform.things(write_disposition="append")
        platform.sync()
        platform.sandbox.raw_row("things", {"id": 7})
        assert counts(platform.sync()) == {"new": 1}

    def test_replace_ends_with_exactly_the_rows_of_the_source(self, platform: Platform) -> None:
        platform.things(*people(30), write_disposition="replace")
        first = platform.sync()
        assert counts(platform.sync(stage=refuse_to_stage)) == {"unchanged": 30}
        platform.sandbox.delete("things", "P000", "P001")
        platform.change("P002", name="Ada")
        platform.sandbox.raw_row("things", {"id": "N"})
        last = platform.sync()
        assert counts(last) == {"new": 1, "changed": 1, "unchanged": 27, "deleted": 2}
        assert last.content_version != first.content_version
        assert set(platform.rows()) == set(platform.sandbox.ids("things"))

    def test_replace_never_empties_the_table_on_a_bad_day(self, platform: Platform) -> None:
        platform.things(*people(30), write_disposition="replace")
        platform.sync()
        platform.sandbox.delete("things", *platform.sandbox.ids("things"))
        assert counts(platform.sync()) == {"deletions_withheld": 30}
        assert len(platform.rows()) == 30
        assert platform.sync(accept_deletions=True).rows == 0
        assert platform.rows() == {}


class TestKeys:
    def test_a_key_of_several_fields(self, platform: Platform) -> None:
        # Python's hash of -1 is that of -2, and that of 2**61 - 1 is that of 0.
        keys = [(i, part) for i in (-1, -2, 0, 2**61 - 1) for part in ("a", "b")]
        rows = [{"id": i, "part": part, "n": 0} for i, part in keys]
        platform.things(*rows, {"id": 5, "part": "a", "n": 0}, primary_key=["part", "id"])
        assert counts(platform.sync()) == {"new": 9}
        assert counts(platform.sync(stage=refuse_to_stage)) == {"unchanged": 9}
        platform.sandbox.delete("things", -1)
        platform.change(5, n=1)
        assert counts(platform.sync()) == {"changed": 1, "unchanged": 7, "deleted": 1}
        held = platform.query("SELECT id, part, n FROM chat.things WHERE deleted_at IS NULL")
        assert sorted(held) == sorted(
            (row["id"], row["part"], row["n"]) for row in platform.sandbox.rows("things")
        )

    def test_another_primary_key_than_before_is_told(self, platform: Platform) -> None:
        platform.things({"id": 1, "name": "x"})
        platform.sync()
        platform.resources = ({**platform.resources[0], "primary_key": ["id", "part"]},)
        with pytest.raises(MessagingError, match=r"has no part.*another primary key"):
            platform.sync()

    def test_a_table_that_something_else_made_is_left_alone(self, platform: Platform) -> None:
        platform.location.prepare()
        with open_database(platform.location.database) as database:
            database.execute("CREATE SCHEMA chat; CREATE TABLE chat.users AS SELECT 'x' AS id")
        with pytest.raises(MessagingError, match="made by something else"):
            platform.sync("users")
        assert platform.query("FROM chat.users") == [("x",)]

    def test_the_later_of_two_contents_wins(self, platform: Platform) -> None:
        platform.things({"id": 1, "name": "first"}, {"id": 1, "name": "last"}, {"id": 2})
        platform.sync()
        assert {identity: row["name"] for identity, row in platform.rows().items()} == {1: "last", 2: None}


def test_a_change_that_is_undone_while_it_is_read_writes_nothing(platform: Platform) -> None:
    # The same id twice, first with other content, then as it is held.
    platform.things({"id": 1, "name": "held"}, *({"id": i} for i in range(2, 30)))
    first = platform.sync()
    platform.sandbox.raw_row("things", {"id": 1, "name": "other"}, "head")
    result = platform.sync()
    assert platform.rows()[1]["name"] == "held"
    assert (result.changed, result.content_version) == (0, first.content_version)


class TestThroughDltsOwnPaginators:
    def test_rows_below_a_parent(self, platform: Platform) -> None:
        platform.resources = (
            {
                "name": "members",
                "primary_key": ["_channels_id", "id"],
                "include_from_parent": ["id"],
                "endpoint": {"path": "/v1/channels/{resources.channels.id}/members"},
            },
        )
        result = platform.sync("members")
        assert result.verified == "full"
        held = platform.query("SELECT _channels_id, id FROM chat.members")
        expected = set()
        for channel in platform.sandbox.ids("channels"):
            page = platform.sandbox.workspace.members(channel, 0, 1000)
            assert page is not None
            expected |= {(channel, member["id"]) for member in page[0]}
        assert sorted(held) == sorted(expected)
        assert counts(platform.sync("members", stage=refuse_to_stage)) == {"unchanged": len(expected)}

    def test_errors_of_the_api_come_through_as_they_are(self, platform: Platform) -> None:
        platform.resources = (
            {
                "name": "members",
                "include_from_parent": ["id"],
                "endpoint": {"path": "/v1/channels/{resources.channels.id}/members"},
            },
        )
        platform.sandbox.order(Faults(broken=[Broken("status", status=418, resource="members")]))
        with pytest.raises(MessagingError, match="418"):
            platform.sync("members")


class TestLedger:
    def test_every_sync_leaves_a_row(self, platform: Platform) -> None:
        platform.sync("users", run_id="run-1", mode="reconcile")
        platform.sandbox.delete("users", platform.sandbox.ids("users")[0])
        result = platform.sync("users")
        newer, older = ledger(platform, "users")
        assert (older.run_id, older.mode, older.rows_new, older.verified) == (
            "run-1",
            "reconcile",
            45,
            "full",
        )
        assert (newer.rows_deleted, newer.rows_unchanged, newer.rows_alive) == (1, 44, 44)
        assert (newer.requests, newer.pages, newer.api_total) == (result.requests, result.pages, 44)
        assert newer.columns == result.columns
        assert newer.started_at <= newer.ended_at
        assert newer.error is None

    def test_a_failure_leaves_a_row_and_the_table_as_it_was(self, platform: Platform) -> None:
        first = platform.sync("messages")
        before = platform.query("FROM chat.messages ORDER BY id")
        platform.sandbox.edit("messages", platform.sandbox.ids("messages")[0], text="never loaded")
        platform.sandbox.order(Faults(broken=[Broken("status", status=500, position=50)]))
        with pytest.raises(MessagingError, match="500"):
            platform.sync("messages")
        entry = ledger(platform)[0]
        assert entry.error is not None
        assert "500" in entry.error
        assert (entry.verified, entry.rows_new, entry.content_version) == ("no", 0, "")
        assert entry.requests >= 1
        assert platform.query("FROM chat.messages ORDER BY id") == before
        platform.sandbox.order()
        after = platform.sync("messages")
        assert counts(after) == {"changed": 1, "unchanged": 59}
        assert after.content_version != first.content_version

    def test_rows_marks_rejects_and_the_entry_come_together_or_not_at_all(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        platform.things(*people(30))
        platform.sync()
        before = platform.query("FROM chat.things ORDER BY id")
        platform.change("P001", name="Ada")
        platform.sandbox.delete("things", "P002")
        platform.sandbox.raw_row("things", {"id": "bad", "created_at": "soon"})
        with monkeypatch.context() as patch:
            patch.setattr("messaging_assets.warehouse.sync.write_entry", failing_once(write_entry))
            with pytest.raises(MessagingError, match="disk"):
                platform.sync()
        assert platform.query("FROM chat.things ORDER BY id") == before
        assert platform.rejects() == []
        assert ledger(platform)[0].error is not None
        assert counts(platform.sync()) == {"changed": 1, "deleted": 1, "unchanged": 28, "rejected": 1}
        assert [identity for identity, _ in platform.rejects()] == ["bad"]

    def test_a_failed_first_sync_leaves_a_row_too(self, platform: Platform) -> None:
        platform.sandbox.order(Faults(broken=[Broken("html", resource="users")]))
        with pytest.raises(MessagingError):
            platform.sync("users")
        assert [entry.resource for entry in ledger(platform)] == ["users"]

    def test_pages_that_contradict_each_other_are_told_with_the_address_of_the_list(
        self, platform: Platform
    ) -> None:
        platform.sandbox.order(Faults(ignore_offset=True))
        with pytest.raises(PagingError) as failed:
            platform.sync("messages")
        assert failed.value.where == f"{platform.sandbox.base_url}/v1/messages"

    def test_a_failure_between_does_not_change_the_version_of_the_content(self, platform: Platform) -> None:
        first = platform.sync("users")
        platform.sandbox.order(Faults(broken=[Broken("html")]))
        with pytest.raises(MessagingError):
            platform.sync("users")
        platform.sandbox.order()
        assert platform.sync("users").content_version == first.content_version


def test_a_sync_that_is_stopped_leaves_nothing_staged(platform: Platform) -> None:
    platform.things({"id": 1, "value": 5})

    def stage_and_die(source: Any, pipeline: Any) -> None:
        stage_with_dlt(source, pipeline)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        platform.sync(stage=stage_and_die)
    assert platform.query("SELECT schema_name FROM duckdb_schemas() WHERE schema_name LIKE '%staging'") == []
    platform.change(1, value={"now": "nested"})
    assert counts(platform.sync()) == {"new": 1}
    assert platform.rows()[1]["value"] == '{"now":"nested"}'


def test_progress_is_told_while_it_runs(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("messaging_assets.warehouse.progress.SECONDS_BETWEEN_LINES", 0.0)
    told: list[Any] = []
    platform.sync("messages", progress=told.append)
    assert [progress.rows for progress in told] == sorted(progress.rows for progress in told)
    assert told[-1].rows == told[-1].total == 60
