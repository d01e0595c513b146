"""What a refresh writes: the rows that differ, on the days that were touched, and nothing else."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from messaging_assets.warehouse import memory
from messaging_assets.warehouse.analytics.model import model_named, read_model
from messaging_assets.warehouse.analytics.refresh import RefreshResult, refresh_model, refresh_models
from messaging_assets.warehouse.database import CATALOG, open_database
from messaging_assets.warehouse.errors import WarehouseBusyError, WarehouseError, WarehouseMissingError
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.analytics.workspace import (
    Workspace,
    connection,
    dates,
    days,
    message,
    named,
    reply,
)

DAILY = "daily_channel_activity"
ENRICHED = "messages_enriched"


@pytest.fixture
def written(chat: Workspace) -> Workspace:
    """A workspace with messages on three days, refreshed."""
    chat.put(
        "messages",
        message("m1", "2024-03-04T10:00:00Z"),
        message("m2", "2024-03-05T10:00:00Z", user_id="ben"),
        message("m3", "2024-03-12T10:00:00Z"),
        reply("r1", "m1", "2024-03-04T10:05:00Z", "ben"),
    )
    chat.refresh()
    return chat


def touched(results: dict[str, RefreshResult]) -> dict[str, tuple[int, int]]:
    """The models that changed, with the rows written and removed."""
    return {name: (found.written, found.removed) for name, found in results.items() if found.changed}


def assert_as_made_anew(workspace: Workspace) -> None:
    """What is stored is what the models say about the raw tables."""
    stored = workspace.tables_now()
    workspace.execute(f"DROP SCHEMA {workspace.connection.name}_analytics CASCADE")
    workspace.refresh()
    assert stored == workspace.tables_now()


# ---- nothing changed -----------------------------------------------------------------------------


def test_the_first_refresh_makes_every_table(chat: Workspace) -> None:
    chat.put("messages", message("m1"))
    results = chat.refresh()
    assert [result.rebuilt for result in results.values()] == ["it was not there"] * 7
    enriched = results[ENRICHED]
    assert (enriched.table, enriched.rows, enriched.written, enriched.removed) == (
        "chat_analytics.messages_enriched", 1, 1, 0,
    )  # fmt: skip
    assert enriched.days == dates("2024-03-04")
    assert enriched.content_version
    assert [(column.name, column.type) for column in enriched.columns] == [
        (column.name, column.type) for column in model_named(ENRICHED).columns
    ]
    assert enriched.line().startswith(
        "chat_analytics.messages_enriched is made anew (it was not there): 1 rows, 1 written, 0 removed on 1"
    )


def test_where_nothing_changed_nothing_is_written(written: Workspace) -> None:
    before = written.path.read_bytes()
    versions = {name: result.content_version for name, result in written.refresh().items()}
    results = written.refresh()
    assert touched(results) == {}
    assert [result.days for result in results.values()] == [()] * 7
    assert {name: result.content_version for name, result in results.items()} == versions
    assert "is up to date: 4 rows, nothing written" in results[ENRICHED].line()
    assert written.path.read_bytes() == before


def test_the_content_version_changes_with_the_content_alone(written: Workspace) -> None:
    before = {name: result.content_version for name, result in written.refresh().items()}
    written.put("messages", message("m9", "2024-03-12T10:00:00Z", channel_id="random"))
    after = {name: result.content_version for name, result in written.refresh().items()}
    assert {name for name in before if before[name] == after[name]} == {"response_times"}
    again = {name: result.content_version for name, result in written.refresh().items()}
    assert again == after


# ---- what was touched ----------------------------------------------------------------------------


def test_a_late_message_touches_its_own_day(written: Workspace) -> None:
    written.put("messages", message("late", "2024-03-05T23:00:00Z", user_id="cat"))
    results = written.refresh()
    assert touched(results)[ENRICHED] == (1, 0)
    assert results[ENRICHED].days == results[DAILY].days == dates("2024-03-05")
    assert touched(results)[DAILY] == (1, 0)
    # Seven days of it, and all days up to the last one, are within 28 days.
    assert results["daily_workspace_activity"].days[0] == dates("2024-03-05")[0]
    assert results["daily_workspace_activity"].days[-1] == dates("2024-03-12")[0]
    assert "response_times" not in touched(results)
    assert_as_made_anew(written)


def test_an_edit_touches_the_day_on_which_the_message_was_written(written: Workspace) -> None:
    written.put("messages", message("m1", "2024-03-04T10:00:00Z", updated_at="2024-03-12T11:00:00Z"))
    results = written.refresh()
    assert touched(results) == {ENRICHED: (1, 0), DAILY: (1, 0)}
    assert results[DAILY].days == dates("2024-03-04")
    assert written.rows(DAILY, "day", "edits")[0] == (dates("2024-03-04")[0], 1)
    assert_as_made_anew(written)


def test_a_deletion_touches_the_day_of_the_message_and_a_restored_one_too(written: Workspace) -> None:
    before = written.tables_now()
    written.delete("messages", "m2")
    results = written.refresh()
    assert results[ENRICHED].days == results[DAILY].days == dates("2024-03-05")
    assert dict(written.rows(ENRICHED, "id", "is_deleted"))["m2"] is True
    assert written.rows(DAILY, "messages", "deletions")[1] == (0, 1)
    assert touched(results)["hourly_heatmap"] == (1, 0)
    written.put("messages", message("m2", "2024-03-05T10:00:00Z", user_id="ben"))
    assert written.refresh()[DAILY].days == dates("2024-03-05")
    assert written.tables_now() == before


def test_a_message_that_moves_touches_both_days(written: Workspace) -> None:
    written.put("messages", message("m3", "2024-03-20T10:00:00Z"))
    results = written.refresh()
    assert results[ENRICHED].days == results[DAILY].days == dates("2024-03-12", "2024-03-20")
    assert touched(results)[DAILY] == (1, 1)
    assert_as_made_anew(written)


def test_a_row_that_is_removed_from_the_raw_table_goes(written: Workspace) -> None:
    """As the sync of a resource with write_disposition `replace` does it."""
    written.execute("DELETE FROM chat.messages WHERE id = 'm3'")
    results = written.refresh()
    assert touched(results)[ENRICHED] == (0, 1)
    assert results[ENRICHED].days == results[DAILY].days == dates("2024-03-12")
    assert_as_made_anew(written)


def test_a_renamed_user_reaches_what_shows_the_name(written: Workspace) -> None:
    written.put("users", named("ben", "Benjamin"))
    results = written.refresh()
    assert touched(results) == {ENRICHED: (2, 0), "user_activity": (1, 0)}
    assert results[ENRICHED].days == dates("2024-03-04", "2024-03-05")
    assert_as_made_anew(written)


def test_an_unknown_channel_that_comes_to_be_known_gets_its_name(written: Workspace) -> None:
    written.put("messages", message("m9", "2024-03-12T10:00:00Z", channel_id="late"))
    written.refresh()
    written.put("channels", named("late", "Late"))
    assert written.refresh()[DAILY].days == dates("2024-03-12")
    assert written.rows(DAILY, "channel_name")[-1] == ("Late",)
    assert_as_made_anew(written)


def test_rows_without_an_id_of_channel_or_user_are_refreshed_like_others(chat: Workspace) -> None:
    chat.put("messages", message("m1", channel_id=None, user_id=None))
    chat.refresh()
    assert touched(chat.refresh()) == {}
    chat.put("messages", message("m2", channel_id=None, user_id=None))
    assert touched(chat.refresh())["user_activity"] == (1, 0)
    assert chat.rows(DAILY, "channel_id", "messages") == [(None, 2)]
    assert_as_made_anew(chat)


# ---- what makes a table anew ---------------------------------------------------------------------


def test_a_changed_model_is_made_anew_and_the_others_are_not(written: Workspace, tmp_path: Path) -> None:
    changed = tmp_path / "hourly_heatmap.sql"
    changed.write_text(
        model_named("hourly_heatmap").sql.replace("count(messages.id)", "2 * count(messages.id)")
    )
    models = [model_named(DAILY), read_model(changed)]
    daily, heatmap = refresh_models(written.path, written.connection, models)
    assert not daily.changed
    assert heatmap.rebuilt == "the model, the time zone or the names of columns changed"
    assert written.rows("hourly_heatmap", "messages") == [(4,), (4,)]


def test_another_time_zone_makes_all_tables_anew(written: Workspace) -> None:
    written.put("messages", message("m4", "2024-03-12T23:30:00Z"))
    written.refresh()
    written.connection = connection("Europe/Zurich")
    results = written.refresh()
    assert all(result.rebuilt for result in results.values())
    assert dates("2024-03-13")[0] in results[ENRICHED].days
    assert dict(written.rows(ENRICHED, "id", "day"))["m4"] == dates("2024-03-13")[0]


def test_a_table_with_other_columns_is_made_anew(written: Workspace) -> None:
    written.execute(f"ALTER TABLE chat_analytics.{DAILY} DROP COLUMN edits")
    result = written.refresh()[DAILY]
    assert result.rebuilt == "its columns were not those of the model"
    assert_as_made_anew(written)


@pytest.mark.parametrize("lost", ["TABLE chat_analytics._models", f"TABLE chat_analytics.{ENRICHED}"])
def test_what_is_lost_is_made_again(written: Workspace, lost: str) -> None:
    written.execute(f"DROP {lost}")
    written.put("messages", message("m4", "2024-03-12T23:30:00Z"))
    written.refresh()
    assert_as_made_anew(written)


def test_descriptions_are_in_the_file(written: Workspace) -> None:
    (comment,) = written.execute("SELECT comment FROM duckdb_tables() WHERE table_name = 'hourly_heatmap'")[0]
    assert comment == model_named("hourly_heatmap").description
    found = dict(
        written.execute(
            "SELECT column_name, comment FROM duckdb_columns() "
            f"WHERE schema_name = 'chat_analytics' AND table_name = '{DAILY}'"
        )
    )
    assert found == {column.name: column.description for column in model_named(DAILY).columns}


# ---- a range of days -----------------------------------------------------------------------------


def test_a_range_is_recomputed_whatever_was_touched(written: Workspace) -> None:
    """Also where somebody else has written into the table, which the digests of the raw rows don't show."""
    before = written.rows(ENRICHED)
    written.execute(f"UPDATE chat_analytics.{ENRICHED} SET length = 99")
    assert not written.refresh(ENRICHED)[ENRICHED].changed
    result = written.refresh(ENRICHED, days=days("2024-03-04", "2024-03-05"))[ENRICHED]
    assert (result.written, result.days) == (3, dates("2024-03-04", "2024-03-05"))
    assert [row[9] for row in written.rows(ENRICHED)] == [5, 5, 99, 5]
    written.refresh(ENRICHED, days=days("2024-03-12", "2024-03-12"))
    assert written.rows(ENRICHED) == before


def test_days_outside_of_the_range_stay_as_they_are(written: Workspace) -> None:
    written.put("messages", message("a", "2024-03-04T11:00:00Z"), message("b", "2024-03-12T11:00:00Z"))
    results = written.refresh(DAILY, ENRICHED, days=days("2024-03-04", "2024-03-05"))
    assert [result.days for result in results.values()] == [dates("2024-03-04")] * 2
    assert written.rows(DAILY, "messages") == [(3,), (1,), (1,)]
    assert written.refresh(DAILY)[DAILY].days == dates("2024-03-12")


def test_a_message_that_leaves_the_range_is_moved_and_not_lost(written: Workspace) -> None:
    written.put("messages", message("m1", "2024-03-20T11:00:00Z"), message("m3", "2024-03-05T11:00:00Z"))
    written.refresh(ENRICHED, days=days("2024-03-04", "2024-03-05"))
    assert dict(written.rows(ENRICHED, "id", "day")) == {
        "m1": dates("2024-03-20")[0],
        "m2": dates("2024-03-05")[0],
        "m3": dates("2024-03-05")[0],
        "r1": dates("2024-03-04")[0],
    }


def test_a_range_takes_the_weeks_that_it_touches_and_tables_without_days_as_a_whole(
    written: Workspace,
) -> None:
    written.put("messages", reply("r0", "m1", "2024-03-04T10:00:30Z", "cat"))
    results = written.refresh("response_times", "user_activity", days=days("2024-03-11", "2024-03-12"))
    assert not results["response_times"].changed
    assert results["user_activity"].written == 1
    results = written.refresh("response_times", days=days("2024-03-06", "2024-03-06"))
    assert results["response_times"].days == dates("2024-03-04")
    assert written.rows("response_times", "median_seconds") == [(30.0,)]


# ---- one at a time, all or nothing ---------------------------------------------------------------


def test_without_a_warehouse_there_is_nothing_to_refresh(project: Project, tmp_path: Path) -> None:
    with pytest.raises(WarehouseMissingError):
        refresh_models(tmp_path / "none.duckdb", connection())
    assert not (tmp_path / "none.duckdb").exists()


def test_a_refresh_has_the_file_for_itself(written: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it never runs in the middle of the transaction in which a sync publishes."""
    monkeypatch.setenv("MESSAGING__LOCK_TIMEOUT_SECONDS", "0")
    with open_database(written.path) as publishing:
        publishing.execute("BEGIN TRANSACTION")
        publishing.execute("DELETE FROM chat.messages WHERE id = 'm1'")
        with pytest.raises(WarehouseBusyError):
            refresh_model(written.path, written.connection, model_named(ENRICHED))
        publishing.execute("COMMIT")
    assert refresh_model(written.path, written.connection, model_named(ENRICHED)).removed == 1


def test_a_refresh_that_fails_half_way_leaves_the_table_as_it_was(written: Workspace) -> None:
    """Rows are deleted already when the text of one is found to be no number; and no text is told."""
    numbers = replace(
        model_named(ENRICHED),
        sql=model_named(ENRICHED).sql.replace("length(messages.text)", "CAST(messages.text AS BIGINT)"),
    )
    written.put("messages", *(message(identity, text="1") for identity in ("m1", "m2", "m3", "r1")))
    refresh_model(written.path, written.connection, numbers)
    before = written.rows(ENRICHED)
    written.put("messages", message("m1", text="2"), message("m2", text="secret"))
    with pytest.raises(WarehouseError) as caught:
        refresh_models(written.path, written.connection, [model_named(DAILY), numbers])
    assert "secret" not in str(caught.value)
    assert written.rows(ENRICHED) == before
    assert written.rows(DAILY, "messages") == [(4,)]


def test_the_session_of_an_analyst_sees_the_tables_in_the_file(written: Workspace) -> None:
    with duckdb.connect() as session:
        session.execute(f"ATTACH '{written.path}' AS {CATALOG} (READ_ONLY)")
        found = session.execute(f"SELECT count(*) FROM {CATALOG}.chat_analytics.{ENRICHED}").fetchall()
    assert found == [(4,)]


@pytest.mark.parametrize("limit", ["1MB", "8MB"])
def test_what_needs_more_memory_than_the_limit_goes_on_without_one(
    chat: Workspace, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Whether the first model needs more or a later one: those before are not refreshed again."""
    chat.execute(
        "INSERT INTO chat.messages (id, channel_id, user_id, thread_parent_id, created_at, _row_hash) "
        "SELECT 'm' || n, 'c' || n % 7, 'u' || n, 'm' || n + 1, to_timestamp(60 * n), n "
        "FROM range(20000) AS t(n)"
    )
    monkeypatch.setattr(memory, "MEMORY_LIMIT", limit)
    results = chat.refresh()
    assert [result.rebuilt for result in results.values()] == ["it was not there"] * 7
    assert (results["messages_enriched"].rows, results["user_activity"].rows) == (20_000, 20_002)
