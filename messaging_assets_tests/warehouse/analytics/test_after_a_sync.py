"""The analytics over tables as real syncs leave them: over HTTP, through dlt, from the sandbox."""

from datetime import date

from messaging_assets.sandbox import Sandbox
from messaging_assets.warehouse.analytics.model import model_named, read_models
from messaging_assets.warehouse.analytics.quality import grain_duplicates, unknown_references
from messaging_assets.warehouse.analytics.refresh import Days, RefreshResult, refresh_model, refresh_models
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.conftest import Platform


def sync_and_refresh(platform: Platform) -> dict[str, RefreshResult]:
    for resource in ("users", "channels", "messages"):
        platform.sync(resource)
    results = refresh_models(platform.location.database, platform.connection)
    return {result.model: result for result in results}


def test_every_model_is_refreshed_after_a_sync_and_follows_the_next_one(platform: Platform) -> None:
    first = sync_and_refresh(platform)
    assert {name: result.skipped for name, result in first.items() if result.skipped} == {}
    assert (first["messages_enriched"].rows, first["user_activity"].rows) == (60, 45)
    assert first["response_times"].rows > 0
    assert platform.query("SELECT sum(messages) FROM chat_analytics.daily_channel_activity") == [(60,)]
    platform.sandbox.delete("messages", platform.sandbox.rows("messages")[3]["id"])
    platform.sandbox.insert("messages")
    second = sync_and_refresh(platform)
    assert second["messages_enriched"].written == 2
    assert 1 <= len(second["daily_channel_activity"].days) <= 2
    third = sync_and_refresh(platform)
    assert [result.model for result in third.values() if result.changed] == []
    with open_database(platform.location.database, read_only=True) as database:
        assert [found.messages for found in unknown_references(database, platform.connection)] == [0, 0]
        for model in read_models():
            assert grain_duplicates(database, platform.connection, model).count == 0


def test_an_empty_workspace_has_empty_tables(project: Project, location: WarehouseLocation) -> None:
    with Sandbox(users=0, channels=0, messages=0) as sandbox:
        results = sync_and_refresh(Platform(sandbox, location))
    assert {name: (result.skipped, result.rows) for name, result in results.items()} == {
        model.name: (None, 0) for model in read_models()
    }


def test_where_no_sync_has_changed_a_table_nothing_is_computed(platform: Platform) -> None:
    """What somebody has changed by hand comes back with the next change, or when its days are asked for."""
    platform.sandbox.insert("messages", created_at="2024-03-04T10:00:00Z")
    first = sync_and_refresh(platform)["daily_channel_activity"].days
    database, connection = platform.location.database, platform.connection
    platform.execute("DELETE FROM chat_analytics.daily_channel_activity")

    def refreshed(days: Days | None = None) -> list[date]:
        refresh_model(database, connection, model_named("daily_channel_activity"), days=days)
        query = "SELECT DISTINCT day FROM chat_analytics.daily_channel_activity ORDER BY day"
        return [day for (day,) in platform.query(query)]

    assert len(first) > 1
    assert platform.sync("messages").new == 0
    assert refreshed() == []
    assert refreshed(Days(first[0], first[0])) == [first[0]]
    assert refreshed() == [first[0]]
    platform.sandbox.delete("users", platform.living("users")[0])
    assert platform.sync("users").deleted == 1
    assert refreshed() == list(first)
