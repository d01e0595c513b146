"""The bookkeeping tables: their versions, what they keep, and what they let go."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from messaging_assets.warehouse import ledger
from messaging_assets.warehouse.ledger import (
    KEPT_DAYS,
    LedgerEntry,
    ensure_bookkeeping,
    keep_columns,
    known_columns,
    last_syncs,
    write_entry,
)
from messaging_assets.warehouse.rejects import keep_rejects, release_rejects
from messaging_assets.warehouse.spool import Rejected
from messaging_assets.warehouse.table import Column

NOW = datetime(2026, 3, 29, 12, 0, 0, 123456, tzinfo=UTC)
ENTRY = LedgerEntry(
    resource="users",
    mode="sync",
    run_id="run",
    started_at=NOW,
    ended_at=NOW + timedelta(seconds=1),
    requests=3,
    api_total=45,
    verified="full",
    reason="it held still",
    content_version="v",
    columns=(Column("id", "VARCHAR"), Column("at", "BIGINT", nullable=False)),
    newest_created_at=NOW,
)


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        ensure_bookkeeping(connection, "chat")
        yield connection


def versions(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return dict(database.execute("FROM chat._bookkeeping_versions").fetchall())


def test_an_entry_comes_back_as_it_was(database: duckdb.DuckDBPyConnection) -> None:
    write_entry(database, "chat", ENTRY)
    failed = replace(ENTRY, ended_at=NOW + timedelta(hours=1), error="the disk is full", api_total=None)
    write_entry(database, "chat", failed)
    write_entry(database, "chat", replace(ENTRY, resource="channels"))
    assert last_syncs(database, "chat", resource="users") == [failed, ENTRY]
    assert [entry.resource for entry in last_syncs(database, "chat", limit=2)] == ["users", "channels"]


def test_there_is_nothing_to_tell_before_the_first_sync() -> None:
    with duckdb.connect() as database:
        assert last_syncs(database, "chat") == []
        assert known_columns(database, "chat", "users") == {}


def test_old_entries_go(database: duckdb.DuckDBPyConnection) -> None:
    write_entry(database, "chat", ENTRY)
    later = replace(ENTRY, ended_at=ENTRY.ended_at + timedelta(days=KEPT_DAYS, seconds=1))
    write_entry(database, "chat", later)
    assert last_syncs(database, "chat") == [later]


class TestVersions:
    def test_making_them_again_changes_nothing(self, database: duckdb.DuckDBPyConnection) -> None:
        write_entry(database, "chat", ENTRY)
        before = versions(database)
        ensure_bookkeeping(database, "chat")
        assert versions(database) == before
        assert len(last_syncs(database, "chat")) == 1

    @pytest.mark.parametrize("table", [ledger.LEDGER, ledger.REJECTS])
    def test_an_older_table_is_brought_up_to_date(
        self, database: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, table: str
    ) -> None:
        write_entry(database, "chat", ENTRY)
        keep_rejects(database, "chat", "users", [Rejected("bad", "{}", "a")], NOW)
        migrations = {
            **ledger._MIGRATIONS,
            table: (
                *ledger._MIGRATIONS[table],
                "ALTER TABLE {table} ADD COLUMN weather VARCHAR",
                "UPDATE {table} SET weather = 'sunny'",
            ),
        }
        monkeypatch.setattr(ledger, "_MIGRATIONS", migrations)
        ensure_bookkeeping(database, "chat")
        assert versions(database)[table] == len(migrations[table])
        assert database.execute(f"SELECT weather FROM chat.{table}").fetchall() == [("sunny",)]
        ensure_bookkeeping(database, "chat")
        assert last_syncs(database, "chat") == [ENTRY]

    def test_tables_whose_version_is_lost_are_taken_over(self, database: duckdb.DuckDBPyConnection) -> None:
        write_entry(database, "chat", ENTRY)
        before = versions(database)
        database.execute("DELETE FROM chat._bookkeeping_versions")
        ensure_bookkeeping(database, "chat")
        assert versions(database) == before
        assert last_syncs(database, "chat") == [ENTRY]

    def test_a_later_version_is_left_alone(self, database: duckdb.DuckDBPyConnection) -> None:
        database.execute("ALTER TABLE chat._sync_ledger ADD COLUMN later VARCHAR")
        database.execute("UPDATE chat._bookkeeping_versions SET version = 99")
        ensure_bookkeeping(database, "chat")
        write_entry(database, "chat", ENTRY)
        assert last_syncs(database, "chat") == [ENTRY]
        assert set(versions(database).values()) == {99}


class TestColumns:
    def test_they_come_back_for_their_resource(self, database: duckdb.DuckDBPyConnection) -> None:
        keep_columns(database, "chat", "users", {"id": "id", "userId": "user_id", "имя": "x"})
        keep_columns(database, "chat", "users", {"id": "id", "at": "at"})
        keep_columns(database, "chat", "messages", {"id": "id"})
        assert known_columns(database, "chat", "users") == {
            "id": "id",
            "userId": "user_id",
            "имя": "x",
            "at": "at",
        }
        assert database.execute("SELECT count(*) FROM chat._source_columns").fetchall() == [(5,)]

    def test_a_name_that_no_text_can_hold_is_left_out(self, database: duckdb.DuckDBPyConnection) -> None:
        keep_columns(database, "chat", "users", {"\ud800": "x", "id": "id"})
        assert known_columns(database, "chat", "users") == {"id": "id"}


class TestRejects:
    def rows(self, database: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
        return database.execute(
            "SELECT id, reason, first_seen, last_seen FROM chat._rejected_records ORDER BY id"
        ).fetchall()

    def test_one_row_however_often_it_is_seen(self, database: duckdb.DuckDBPyConnection) -> None:
        later = NOW + timedelta(hours=1)
        keep_rejects(database, "chat", "users", [Rejected("bad", "{}", "a"), Rejected("bad", "[]", "b")], NOW)
        keep_rejects(database, "chat", "users", [Rejected("worse", "{}", "a")], later)
        assert self.rows(database) == [("a", "worse", NOW, later), ("b", "bad", NOW, NOW)]

    def test_resources_are_told_apart(self, database: duckdb.DuckDBPyConnection) -> None:
        for resource in ("users", "messages"):
            keep_rejects(database, "chat", resource, [Rejected("bad", "{}", "a")], NOW)
        assert len(self.rows(database)) == 2

    def test_those_that_were_not_seen_for_long_go(self, database: duckdb.DuckDBPyConnection) -> None:
        seen_again, forgotten = Rejected("bad", "{}", "a"), Rejected("bad", "[]", "b")
        keep_rejects(database, "chat", "users", [seen_again, forgotten], NOW)
        later = NOW + timedelta(days=KEPT_DAYS, seconds=1)
        keep_rejects(database, "chat", "users", [seen_again], later)
        assert self.rows(database) == [("a", "bad", NOW, later)]

    def test_many_are_kept_at_once(self, database: duckdb.DuckDBPyConnection) -> None:
        many = [Rejected("bad", f'{{"id": {i}}}', str(i)) for i in range(5000)]
        for _ in range(2):
            keep_rejects(database, "chat", "users", many, NOW)
        assert len(self.rows(database)) == 5000

    @pytest.mark.parametrize(
        ("payload", "seen", "released"),
        [
            ('{"id": 7}', 7, True),
            ('{"id": 7}', "7", True),
            ('{"id": "7"}', 7, True),
            ('{"id": "a"}', "a", True),
            ('{"id": "a"}', "b", False),
            ('{"id": "\\u0667"}', 7, False),
            ('{"other": 1}', "None", False),
        ],
    )
    def test_a_record_leaves_when_its_id_is_seen_well(
        self, database: duckdb.DuckDBPyConnection, payload: str, seen: int | str, released: bool
    ) -> None:
        keep_rejects(database, "chat", "users", [Rejected("bad", payload, "x")], NOW)
        digest = seen if isinstance(seen, int) else hash(seen)
        release_rejects(
            database,
            "chat",
            "users",
            ["id"],
            seen_among=lambda keys: {digest} & set(keys),
            now=NOW + timedelta(hours=1),
        )
        assert (self.rows(database) == []) is released

    def test_what_this_sync_has_rejected_stays(self, database: duckdb.DuckDBPyConnection) -> None:
        keep_rejects(database, "chat", "users", [Rejected("bad", '{"id": 7}', "7")], NOW)
        release_rejects(database, "chat", "users", ["id"], seen_among=set, now=NOW)
        assert len(self.rows(database)) == 1
