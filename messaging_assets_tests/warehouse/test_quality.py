"""Facts about tables, on hand-made rows."""

from datetime import UTC, datetime

import duckdb
import pytest

from messaging_assets.api.connection import Resource
from messaging_assets.warehouse.quality import CreationFacts, Offending, TableFacts, table_facts

NONE = Offending(0)


@pytest.fixture
def database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create schema chat")
    return connection


def messages(*key: str) -> Resource:
    return Resource(name="messages", definition={}, endpoint={}, primary_key=key or ("id",))


def facts(
    database: duckdb.DuckDBPyConnection, rows: str, *key: str, created: str = "timestamptz"
) -> TableFacts:
    database.execute(
        f"create table chat.messages (id varchar, part varchar, created_at {created}, deleted_at timestamptz)"
    )
    database.execute(f"insert into chat.messages values {rows}")
    return table_facts(database, "chat", messages(*key))


def test_sound_rows_offend_nothing(database: duckdb.DuckDBPyConnection) -> None:
    found = facts(
        database, "('a', 'x', '2024-03-01 10:00:00+00', null), ('b', 'x', '2024-03-02 10:00:00+00', null)"
    )
    assert found.duplicates == NONE
    assert found.without_key == 0
    assert found.creation == CreationFacts(NONE, NONE, datetime(2024, 3, 2, 10, tzinfo=UTC))


def test_an_empty_table_has_no_newest_row(database: duckdb.DuckDBPyConnection) -> None:
    database.execute(
        "create table chat.messages (id varchar, created_at timestamptz, deleted_at timestamptz)"
    )
    found = table_facts(database, "chat", messages())
    assert found == TableFacts(NONE, 0, CreationFacts(NONE, NONE, None))


def test_double_keys_are_counted_and_named(database: duckdb.DuckDBPyConnection) -> None:
    rows = ", ".join(f"('{n % 7}', 'x', null, null)" for n in range(14))
    found = facts(database, rows)
    assert found.duplicates == Offending(7, ("0", "1", "2", "3", "4"))


def test_all_columns_of_a_key_count(database: duckdb.DuckDBPyConnection) -> None:
    rows = "('a', 'x', null, null), ('a', 'y', null, null), ('b', 'x', null, null), ('b', 'x', null, null)"
    assert facts(database, rows, "id", "part").duplicates == Offending(1, ("b/x",))


def test_missing_keys_are_counted_once_and_are_no_duplicates(database: duckdb.DuckDBPyConnection) -> None:
    found = facts(database, "(null, 'x', null, null), (null, 'x', null, null), ('a', 'x', null, null)")
    assert found.without_key == 2
    assert found.duplicates == NONE


def test_dates_that_cannot_be_are_found_on_rows_alive(database: duckdb.DuckDBPyConnection) -> None:
    creation = facts(
        database,
        "('none', 'x', null, null), ('gone', 'x', null, now()), "
        "('later', 'x', now() + interval 1 hour, null), ('soon', 'x', now() + interval 1 minute, null), "
        "('past', 'x', now() - interval 1 day, null)",
    ).creation
    assert creation is not None
    assert creation.missing == Offending(1, ("none",))
    assert creation.in_future == Offending(1, ("later",))
    assert creation.newest is not None


def test_a_text_that_is_no_date_counts_as_missing(database: duckdb.DuckDBPyConnection) -> None:
    creation = facts(
        database, "('a', 'x', 'once', null), ('b', 'x', '2024-03-01T10:00Z', null)", created="varchar"
    ).creation
    assert creation == CreationFacts(Offending(1, ("a",)), NONE, datetime(2024, 3, 1, 10, tzinfo=UTC))


def test_a_table_without_created_at_has_no_creation_facts(database: duckdb.DuckDBPyConnection) -> None:
    database.execute("create table chat.messages (message_id bigint, deleted_at timestamptz)")
    database.execute("insert into chat.messages values (1, null), (1, null)")
    found = table_facts(database, "chat", messages("messageId"))
    assert found == TableFacts(Offending(1, ("1",)), 0, None)
