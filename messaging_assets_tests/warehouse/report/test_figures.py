"""The numbers of the report, against what can be counted by hand."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from messaging_assets.api.connection import Analytics
from messaging_assets.warehouse.analytics.refresh import analytics_schema
from messaging_assets.warehouse.errors import WarehouseMissingError
from messaging_assets.warehouse.report.figures import (
    MOST_SYNCS,
    SHOWN_DAYS,
    Activity,
    Channels,
    ChannelWeek,
    Day,
    Figures,
    Missing,
    Origin,
    TableState,
    Wait,
    Waits,
    read_figures,
)
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.analytics.workspace import Workspace, connection, message
from messaging_assets_tests.warehouse.report.conftest import NOW, SCRIPT, figures_of, fill, synced


def activity_of(figures: Figures) -> Activity:
    assert isinstance(figures.activity, Activity)
    return figures.activity


def table_of(figures: Figures, name: str) -> TableState:
    return next(table for table in figures.tables if table.table == name)


def test_the_week_is_the_last_seven_whole_days(week: Workspace) -> None:
    activity = activity_of(figures_of(week))
    assert len(activity.days) == SHOWN_DAYS
    assert activity.days[0].day == date(2024, 2, 13)
    assert [d.day for d in (activity.week[0], activity.week[-1])] == [date(2024, 3, 5), date(2024, 3, 11)]
    assert [d.messages for d in activity.week] == [4, 0, 0, 2, 0, 0, 1]
    assert [d.messages for d in activity.week_before] == [1, 0, 0, 0, 0, 0, 1]
    assert [d.active_users for d in activity.week] == [2, 0, 0, 2, 0, 0, 1]
    assert activity.week[1] == Day(date(2024, 3, 6), messages=0, active_users=0, new_users=1)
    assert activity.today == Day(date(2024, 3, 12), messages=2, active_users=1)
    assert activity.people == (3, 1)


def test_days_are_those_of_the_connections_time_zone(empty: Workspace) -> None:
    empty.connection = connection("America/New_York")
    fill(empty)
    empty.refresh()
    activity = activity_of(figures_of(empty))
    # What was written at midnight in UTC was written on the day before in New York.
    assert [d.messages for d in activity.week] == [2, 0, 0, 2, 0, 0, 2]
    assert activity.today.messages == 1
    # At three in the morning in UTC it is still Monday there.
    assert figures_of(empty, NOW.replace(hour=3)).now.isoformat() == "2024-03-11T23:00:00-04:00"
    assert activity_of(figures_of(empty, NOW.replace(hour=3))).today.day == date(2024, 3, 11)


def test_the_busiest_channels_come_first_with_the_week_before(week: Workspace) -> None:
    channels = figures_of(week).channels
    assert isinstance(channels, Channels)
    assert channels.busiest == (ChannelWeek("general", 4, 1), ChannelWeek(SCRIPT, 3, 1))
    assert channels.active == 2
    assert channels.health == {"busy": 0, "quiet": 3, "dead": 0}


def test_the_hours_are_counted_over_the_whole_time(week: Workspace) -> None:
    heatmap = figures_of(week).heatmap
    assert not isinstance(heatmap, Missing)
    assert heatmap[(2, 0)] == 4
    assert heatmap[(5, 10)] == 2
    assert sum(heatmap.values()) == 11


def test_the_waits_are_those_of_the_last_whole_week(week: Workspace) -> None:
    # One answer after 60 seconds, one after 600.
    assert figures_of(week).waits == Waits(date(2024, 3, 4), (Wait("general", 2, 330.0, 546.0),))
    # A week later the next one is whole.
    later = figures_of(week, NOW + timedelta(days=7)).waits
    assert later == Waits(date(2024, 3, 11), (Wait(SCRIPT, 1, 3600.0, 3600.0),))
    # A week without any answer does not hide the one before.
    assert figures_of(week, NOW + timedelta(days=70)).waits == later


def test_an_empty_workspace_has_nothing_to_show(empty: Workspace) -> None:
    figures = figures_of(empty)
    assert figures.activity == Missing("nothing has happened in this workspace yet")
    assert figures.channels == Missing("nobody has written in a channel yet")
    assert figures.heatmap == Missing("nobody has written anything yet")
    assert figures.waits == Missing("nobody has answered anybody yet")
    assert [table.rows for table in figures.tables] == [0, 0, 0]


def test_a_quiet_week_is_shown_as_it_is(week: Workspace) -> None:
    figures = figures_of(week, NOW + timedelta(days=100))
    assert {d.messages for d in activity_of(figures).days} == {0}
    assert activity_of(figures).people == (0, 0)
    assert figures.channels == Missing("nobody has written in a channel in the last 7 days")


def test_before_the_first_refresh_the_page_says_so(week: Workspace) -> None:
    week.execute(f"DROP SCHEMA {analytics_schema('chat')} CASCADE")
    figures = figures_of(week)
    assert figures.activity == figures.waits == Missing("the analytics were not refreshed yet")
    assert [state.rows for state in figures.models] == [None] * 7


def test_a_model_that_is_skipped_says_why_and_the_others_are_there(week: Workspace) -> None:
    week.execute("ALTER TABLE chat.messages DROP COLUMN thread_parent_id")
    week.execute(f"DROP TABLE {analytics_schema('chat')}.response_times")
    week.refresh()
    figures = figures_of(week)
    assert isinstance(figures.waits, Missing)
    assert "chat.messages has no column `thread_parent_id`" in figures.waits.reason
    states = {state.model.name: state for state in figures.models}
    assert states["response_times"].rows is None
    assert states["response_times"].skipped == figures.waits.reason
    assert states["hourly_heatmap"].skipped is None
    assert not isinstance(figures.heatmap, Missing)


def test_without_the_authors_nobody_says_how_many_people_there_were(week: Workspace) -> None:
    week.execute(f"DROP TABLE {analytics_schema('chat')}.messages_enriched")
    assert activity_of(figures_of(week)).people is None


def test_the_origins_lead_back_to_the_apis_fields(empty: Workspace) -> None:
    empty.connection = replace(
        empty.connection, analytics=Analytics(columns={"messages": {"channel_id": "room"}})
    )
    empty.seen("messages", {"roomId": "room", "id": "id"})
    states = {state.model.name: state for state in figures_of(empty).models}
    assert states["messages_enriched"].origins["channel_id"] == (Origin("messages", "room", "roomId"),)
    assert Origin("messages", "deleted_at", None) in states["messages_enriched"].origins["is_deleted"]


def test_a_table_shows_its_last_syncs(week: Workspace) -> None:
    synced(week, "messages", ago=timedelta(days=31), rows_alive=1)
    synced(week, "messages", ago=timedelta(days=2), rows_alive=5)
    synced(week, "messages", ago=timedelta(days=1), rows_alive=8)
    table = table_of(figures_of(week), "messages")
    assert table.history[:2] == ((NOW - timedelta(days=2), 5), (NOW - timedelta(days=1), 8))
    assert (table.rows, table.deleted, table.rejected, table.failed) == (11, 1, 0, None)
    assert table.last is not None
    assert table.last.ended_at == NOW
    synced(week, "messages", ago=-timedelta(minutes=1), error="the API refuses this")
    failed = table_of(figures_of(week), "messages")
    assert (failed.failed, failed.last) == ("the API refuses this", table.last)
    assert failed.history == table.history


def test_of_many_syncs_the_last_of_each_hour_is_shown(week: Workspace) -> None:
    started = datetime(2024, 3, 1, tzinfo=UTC)
    week.execute(
        "INSERT INTO chat._sync_ledger BY NAME "
        "SELECT 'users' AS resource, 'sync' AS mode, '' AS run_id, 'full' AS verified, "
        "'2024-03-01 00:00Z'::TIMESTAMPTZ + to_minutes(number) AS started_at, started_at AS ended_at, "
        f"number AS rows_alive FROM range({MOST_SYNCS + 1}) AS numbers (number)"
    )
    history = table_of(figures_of(week), "users").history
    assert history[:2] == ((started + timedelta(minutes=59), 59), (started + timedelta(minutes=119), 119))
    assert len(history) == MOST_SYNCS // 60 + 2


def test_a_table_that_was_never_synced_is_listed(project: Project) -> None:
    workspace = Workspace(project.path / "chat.duckdb")
    workspace.execute("DROP TABLE chat.users")
    table = table_of(figures_of(workspace), "users")
    assert (table.exists, table.last, table.facts) == (False, None, None)


def test_unknown_users_and_the_volume_are_counted(week: Workspace) -> None:
    week.put("messages", message("x", "2024-03-11T10:00:00Z", user_id="nobody"))
    figures = figures_of(week)
    channels, users = figures.references
    assert (channels.messages, users.messages, users.ids) == (0, 1, ("nobody",))
    assert figures.volume.day == date(2024, 3, 11)
    assert figures.volume.messages == 2


def test_without_a_warehouse_there_is_no_report(project: Project) -> None:
    with pytest.raises(WarehouseMissingError):
        read_figures(project.path / "none.duckdb", connection(), as_of=NOW)
