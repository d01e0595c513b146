"""The analytics as Dagster sees them: what is refreshed, told, judged, skipped and left alone."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest
from dagster import (
    AssetKey,
    AssetSpec,
    CodeReferencesMetadataValue,
    ExecuteInProcessResult,
    LocalFileCodeReference,
    TableColumnDep,
)

from messaging_assets.api.connection import Analytics, Connection, connection_from_dict
from messaging_assets.api.errors import ConfigurationError
from messaging_assets.orchestration.analytics import RefreshConfig, model_spec, models_of
from messaging_assets.orchestration.build import build_definitions
from messaging_assets.orchestration.report import report_spec
from messaging_assets.sandbox import Broken, Sandbox
from messaging_assets.warehouse.analytics.model import Model, RawColumn, model_named, read_models
from messaging_assets.warehouse.analytics.refresh import Days
from messaging_assets_tests.orchestration.conftest import Platform, checks, failures, told

pytestmark = pytest.mark.dagster

SYNC, ALL = "messaging_sync", "__ASSET_JOB"
TABLES = ("users", "channels", "messages")
MODELS = {model.name for model in read_models()}
REPORT = AssetKey(["messaging", "analytics", "report"])
ANSWERS = Analytics(columns={"messages": {"thread_parent_id": "answers"}})


def refreshed(result: ExecuteInProcessResult) -> set[str]:
    """The models that were materialised."""
    keys = [event.materialization.asset_key for event in result.get_asset_materialization_events()]
    return {key.path[-1] for key in keys if "analytics" in key.path}


def version(result: ExecuteInProcessResult, model: str) -> str | None:
    [event] = result.asset_materializations_for_node(f"messaging__analytics__{model}")
    return (event.tags or {}).get("dagster/data_version")


def touched(result: ExecuteInProcessResult, model: str) -> tuple[object, ...]:
    """How many rows were written and removed, on how many days, and the first and last of these."""
    carried = told(result, f"analytics__{model}")
    counted = ("rows_written", "rows_removed", "days_touched", "first_day_touched", "last_day_touched")
    return tuple(carried.get(name) for name in counted)


# ---- what the jobs do ------------------------------------------------------------------------------


def test_a_sync_refreshes_the_models_and_one_that_changed_nothing_changes_no_version(
    platform: Platform, sandbox: Sandbox
) -> None:
    first = platform.run(SYNC)
    assert first.success
    assert refreshed(first) == MODELS
    assert platform.read("SELECT count(*) FROM messaging_analytics.messages_enriched") == [(250,)]
    second = platform.run(SYNC)
    for model in MODELS:
        assert touched(second, model) == (0, 0, 0, None, None)
        assert version(first, model) == version(second, model)
    sandbox.insert("users", name="Newcomer", created_at="2024-01-01T00:00:00Z")
    third = platform.run(SYNC)
    changed = {model for model in MODELS if version(third, model) != version(second, model)}
    assert changed == {"user_activity", "daily_workspace_activity"}


def test_late_messages_edits_and_deletions_touch_their_own_days(platform: Platform, sandbox: Sandbox) -> None:
    edited, deleted = (
        sandbox.insert("messages", created_at=at, updated_at=at)
        for at in ("2024-05-02T12:00:00Z", "2024-05-03T12:00:00Z")
    )
    sandbox.insert("messages", created_at="2024-05-07T12:00:00Z")
    assert platform.run(SYNC).success
    sandbox.edit("messages", edited, updated_at="2024-05-09T12:00:00Z")
    sandbox.delete("messages", deleted)
    sandbox.insert("messages", created_at="2024-05-04T12:00:00Z")
    result = platform.run("messaging_reconcile")
    assert touched(result, "daily_channel_activity") == (3, 0, 3, "2024-05-02", "2024-05-04")
    assert touched(result, "messages_enriched") == (3, 0, 3, "2024-05-02", "2024-05-04")
    assert "days_touched" in told(result, "analytics__user_activity")


def test_a_failing_resource_stops_the_models_that_read_it_and_no_others(
    platform: Platform, sandbox: Sandbox
) -> None:
    sandbox.order(broken=[Broken("status", "channels", status=403)])
    result = platform.run(SYNC)
    assert set(failures(result)) == {"messaging__channels"}
    assert refreshed(result) == {model.name for model in read_models() if "channels" not in model.reads}
    # A check that blocks does as much.
    sandbox.order()
    assert platform.run(SYNC).success
    sandbox.delete("users", *sandbox.ids("users")[:20])
    result = platform.run(SYNC)
    assert set(failures(result)) == {"messaging__users"}
    assert refreshed(result) == {model.name for model in read_models() if "users" not in model.reads}


def test_without_a_sync_the_first_thing_to_do_is_named(platform: Platform) -> None:
    result = platform.run(ALL, "analytics/hourly_heatmap", "analytics/report")
    assert set(failures(result)) == {"messaging__analytics__hourly_heatmap"}
    [message] = failures(result).values()
    assert "run a sync first" in message


# ---- a range of days -------------------------------------------------------------------------------


def test_an_operator_can_ask_for_a_range_of_days(platform: Platform, sandbox: Sandbox) -> None:
    for day in range(1, 6):
        sandbox.insert("messages", created_at=f"2024-05-0{day}T12:00:00Z")
    assert platform.run(SYNC).success
    wrong = "SELECT day FROM messaging_analytics.messages_enriched WHERE hour = 99 ORDER BY day"
    with duckdb.connect(str(platform.file)) as database:
        # Not a column by which a refresh finds what differs.
        database.execute(
            "UPDATE messaging_analytics.messages_enriched SET hour = 99 WHERE day >= '2024-05-01'"
        )
        before = {row[0] for row in database.execute(wrong).fetchall()}
    assert len(before) >= 5
    assert platform.run(SYNC).success
    assert {row[0] for row in platform.read(wrong)} == before
    asked = RefreshConfig(first="2024-05-02", last="2024-05-04")
    result = platform.run(ALL, "analytics/messages_enriched", config=asked)
    assert result.success
    assert touched(result, "messages_enriched") == (3, 0, 3, "2024-05-02", "2024-05-04")
    mended = {date(2024, 5, day) for day in (2, 3, 4)}
    assert {row[0] for row in platform.read(wrong)} == before - mended
    assert platform.run(ALL, "analytics/messages_enriched", config=RefreshConfig(last="2024-05-01")).success
    assert {row[0] for row in platform.read(wrong)} == before - mended - {date(2024, 5, 1)}
    assert platform.run(ALL, "analytics/messages_enriched", config=RefreshConfig(first="2024-05-05")).success
    assert platform.read(wrong) == []


def test_a_range_has_one_end_or_two() -> None:
    assert RefreshConfig().days() is None
    assert RefreshConfig(first="2024-05-01").days() == Days(date(2024, 5, 1), date.max)
    assert RefreshConfig(last="2024-05-01").days() == Days(date.min, date(2024, 5, 1))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"first": "yesterday"}, "first: `yesterday` is no day; write it like 2026-03-31"),
        ({"first": "2024-05-01", "last": "2024-02-30"}, "last: `2024-02-30` is no day"),
        ({"first": "2024-05-02", "last": "2024-05-01"}, "last: 2024-05-01 is before 2024-05-02"),
    ],
)
def test_a_range_that_is_none_is_explained(asked: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("`", ".")):
        RefreshConfig(**asked).days()


def test_a_range_that_is_none_fails_the_run_with_these_words(platform: Platform) -> None:
    config = RefreshConfig(first="yesterday")
    [message] = failures(platform.run(ALL, "analytics/user_activity", config=config)).values()
    assert "first: `yesterday` is no day" in message


# ---- models that can't be had ----------------------------------------------------------------------


def test_a_model_whose_column_is_missing_is_skipped_with_the_reason_and_the_others_work(
    platform: Platform, connection: Connection
) -> None:
    lacks = replace(platform, defs=build_definitions([replace(connection, analytics=ANSWERS)]))
    result = lacks.run(SYNC)
    assert result.success
    skipped = {model.name for model in read_models() if "thread_parent_id" in model.reads["messages"]}
    assert "user_activity" in skipped
    assert refreshed(result) == MODELS - skipped
    reason = "messaging.messages has no column `answers`"
    for name in skipped:
        key = AssetKey(["messaging", "analytics", name])
        observation = lacks.instance.fetch_observations(key, limit=1).records[0].asset_observation
        assert observation is not None
        assert reason in str(observation.metadata["skipped"].value)
    found = {
        check.asset_key.path[-1]: check
        for check in result.get_asset_check_evaluations()
        if check.check_name == "columns_found"
    }
    assert {name for name, check in found.items() if not check.passed} == skipped
    assert reason in str(found["user_activity"].description)
    lines = "\n".join(entry.user_message for entry in lacks.instance.all_logs(result.run_id))
    assert f"messaging_analytics.user_activity is skipped: {reason}" in lines


def test_a_skipped_model_leaves_its_older_table_and_the_report_out_of_the_run(
    platform: Platform, connection: Connection
) -> None:
    assert platform.run(SYNC).success
    lacks = replace(platform, defs=build_definitions([replace(connection, analytics=ANSWERS)]))
    everything = lacks.run(ALL)
    assert everything.success
    assert platform.read("SELECT count(*) FROM messaging_analytics.user_activity") == [(30,)]
    assert "report" not in refreshed(everything)
    assert lacks.run(ALL, "analytics/report").success


def test_a_connection_without_messages_has_no_analytics() -> None:
    client = {"base_url": "https://api.example.com"}
    parent = {"name": "messages", "endpoint": "messages", "selected": False}
    alone = connection_from_dict("chat", {"client": client, "resources": ["users", parent]})
    assert models_of(alone) == ()
    groups = {spec.group_name for spec in build_definitions([alone]).resolve_all_asset_specs()}
    assert groups == {"chat", "chat_api"}
    two = connection_from_dict("chat", {"client": client, "resources": ["users", "messages"]})
    assert {model.name for model in models_of(two)} == {
        model.name for model in read_models() if "channels" not in model.reads
    }


# ---- checks ----------------------------------------------------------------------------------------


def test_checks_of_sound_data_pass(platform: Platform) -> None:
    found = checks(platform.run(SYNC))
    assert {name for name, passed in found.items() if not passed} == {"messages: data_fresh"}
    asked = {name: found for name, found in found.items() if name.split(":")[0] in MODELS}
    assert len(asked) == 2 * len(MODELS) + 3


def test_messages_of_unknown_channels_and_users_are_counted_and_named(
    platform: Platform, sandbox: Sandbox
) -> None:
    for number in range(7):
        sandbox.insert("messages", channel_id=f"gone-{number}", user_id="nobody", text="private")
    result = platform.run(SYNC)
    assert result.success
    found = {check.check_name: check for check in result.get_asset_check_evaluations()}
    channels, users = found["channels_known"], found["users_known"]
    assert (channels.passed, users.passed) == (False, False)
    assert channels.severity.value == users.severity.value == "WARN"
    carried = {name: value.value for name, value in channels.metadata.items()}
    assert (carried["messages_affected"], carried["unknown_channels"]) == (7, 7)
    assert carried["unknown_channels_examples"] == "gone-0, gone-1, gone-2, gone-3, gone-4"
    assert users.description == "7 messages name 1 users that are not in users"
    assert "private" not in f"{channels} {users}"


def test_a_grain_that_is_double_stops_the_report(platform: Platform) -> None:
    assert platform.run(SYNC).success
    with duckdb.connect(str(platform.file)) as database:
        table = "messaging_analytics.user_activity"
        database.execute(f"INSERT INTO {table} SELECT * FROM {table} ORDER BY user_id LIMIT 1")
    result = platform.run(ALL)
    assert set(failures(result)) == {"messaging__analytics__user_activity"}
    assert "1 combinations of user_id stand more than once" in str(failures(result))
    assert refreshed(result) == MODELS


# ---- the catalogue ---------------------------------------------------------------------------------


@pytest.fixture(params=read_models(), ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> Model:
    """Each of the models."""
    found: Model = request.param
    return found


def test_a_model_in_the_catalogue(model: Model, connection: Connection) -> None:
    spec = model_spec(connection, model)
    assert spec.key == AssetKey(["messaging", "analytics", model.name])
    assert {dep.asset_key.path[-1] for dep in spec.deps} == set(model.reads)
    assert spec.group_name == "messaging_analytics"
    assert spec.kinds == {"sql", "duckdb"}
    assert spec.owners
    assert spec.tags["messaging/connection"] == "messaging"
    assert spec.freshness_policy is not None
    assert spec.automation_condition is not None
    assert str(spec.description).startswith(model.description)
    assert f"`messaging_analytics.{model.name}`" in str(spec.description)
    assert spec.metadata["sql"].value == f"```sql\n{model.path.read_text().strip()}\n```"
    references = spec.metadata["dagster/code_references"]
    assert isinstance(references, CodeReferencesMetadataValue)
    files = [one.file_path for one in references.code_references if isinstance(one, LocalFileCodeReference)]
    assert files[0] == str(model.path)
    assert all(Path(file).is_file() for file in files)
    assert_columns(spec, model)


def assert_columns(spec: AssetSpec, model: Model) -> None:
    columns = spec.metadata["dagster/column_schema"].value.columns
    assert [(column.name, column.type, column.description) for column in columns] == [
        (column.name, column.type, column.description) for column in model.columns
    ]
    lineage = spec.metadata["dagster/column_lineage"].value.deps_by_column
    assert lineage == {
        column.name: [
            TableColumnDep(asset_key=AssetKey(["messaging", raw.table]), column_name=raw.column)
            for raw in column.upstream
        ]
        for column in model.columns
    }
    shown = spec.metadata["column_lineage_table"].value.splitlines()[2:]
    assert len(shown) == len(model.columns)
    for line, column in zip(shown, model.columns, strict=True):
        assert line.startswith(f"| `{column.name}` |")
        assert all(f"`{raw}`" in line for raw in column.upstream)


def test_the_version_of_the_code_is_that_of_whatever_decides_the_content(connection: Connection) -> None:
    model = read_models()[0]
    others = [
        (connection, replace(model, sql=f"{model.sql}\n-- edited")),
        (replace(connection, analytics=Analytics(time_zone="Europe/Zurich")), model),
        (replace(connection, analytics=ANSWERS), model),
    ]
    versions = {model_spec(*one).code_version for one in [(connection, model), *others]}
    assert len(versions) == 4
    renamed = replace(connection, description="another one")
    assert model_spec(renamed, model).code_version == model_spec(connection, model).code_version


def test_lineage_leads_from_the_fields_of_the_api_through_columns_of_any_name(
    platform: Platform, sandbox: Sandbox, connection: Connection
) -> None:
    sandbox.reshape("messages", lambda row: {**row, "inReplyTo": row.pop("thread_parent_id")})
    mapped = Analytics(columns={"messages": {"thread_parent_id": "in_reply_to"}})
    result = replace(platform, defs=build_definitions([replace(connection, analytics=mapped)])).run(SYNC)
    assert result.success
    raw = told(result, "messages")["dagster/column_lineage"].deps_by_column  # type: ignore[attr-defined]
    api, table = AssetKey(["messaging", "api", "messages"]), AssetKey(["messaging", "messages"])
    assert raw["in_reply_to"] == [TableColumnDep(asset_key=api, column_name="inReplyTo")]
    carried = told(result, "analytics__messages_enriched")
    lineage = carried["dagster/column_lineage"].deps_by_column  # type: ignore[attr-defined]
    assert lineage["thread_parent_id"] == [TableColumnDep(asset_key=table, column_name="in_reply_to")]
    line = "| `thread_parent_id` | `messages.in_reply_to` | `messages: inReplyTo` |"
    assert line in str(carried["column_lineage_table"])


def test_every_column_of_the_lineage_is_a_column_of_the_asset_upstream(platform: Platform) -> None:
    result = platform.run(SYNC)
    columns = {
        name: {column.name for column in told(result, name)["dagster/column_schema"].columns}  # type: ignore[attr-defined]
        for name in TABLES
    }
    for model in read_models():
        for column in model.columns:
            assert all(raw.column in columns[raw.table] for raw in column.upstream)
    assert RawColumn("messages", "text") in model_named("messages_enriched").column("length").upstream


def test_what_a_refresh_carries(platform: Platform) -> None:
    carried = told(platform.run(SYNC), "analytics__user_activity")
    assert carried["dagster/row_count"] == 30
    assert carried["rows_written"] == 30
    assert carried["dagster/table_name"] == "own.messaging_analytics.user_activity"
    assert carried["dagster/uri"] == f"duckdb:///{platform.file}"
    assert carried["made_anew"] == "yes: it was not there"
    assert "sandbox" not in carried
    assert isinstance(carried["seconds"], float)


# ---- the report, and the copy for readers ----------------------------------------------------------


def test_the_report_depends_on_the_models_and_on_tables_that_none_of_them_reads() -> None:
    client = {"base_url": "https://api.example.com"}
    resources = ["users", "channels", "messages", "teams"]
    chat = connection_from_dict("chat", {"client": client, "resources": resources})
    upstream = {"/".join(dep.asset_key.path) for dep in report_spec(chat).deps}
    assert upstream == {"chat/teams", *(f"chat/analytics/{name}" for name in MODELS)}


def test_the_report_is_shown_on_its_materialisation(platform: Platform) -> None:
    assert platform.run(ALL).success
    event = platform.instance.get_latest_materialization_event(REPORT)
    assert event is not None
    assert event.asset_materialization is not None
    carried = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert "](data:image/png;base64," in str(carried["preview"])
    page = Path(str(carried["page"]))
    assert page.read_text().lower().startswith("<!doctype html>")
    pictures = str(carried["pictures_beside_it"]).split(", ")
    assert "preview.png" in pictures
    assert all((page.parent / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert carried["rows_messages"] == 250
    assert isinstance(carried["problems"], int)
    assert isinstance(carried["things_to_look_at"], int)


def test_a_copy_for_readers_follows_whatever_a_run_has_changed(
    platform: Platform, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = platform.file.with_name("read-own.duckdb")
    assert platform.run(SYNC).success
    with duckdb.connect(str(copy), read_only=True) as database:
        count = "SELECT count(*) FROM messaging_analytics.messages_enriched"
        assert database.execute(count).fetchall() == [(250,)]
    made = copy.stat().st_ino
    assert platform.run(SYNC).success
    assert copy.stat().st_ino == made
    # Also where a part of the run failed.
    sandbox.insert("messages")
    sandbox.order(broken=[Broken("status", "channels", status=403)])
    assert not platform.run(SYNC).success
    with duckdb.connect(str(copy), read_only=True) as database:
        assert database.execute("SELECT count(*) FROM messaging.messages").fetchall() == [(251,)]


def test_a_copy_that_can_not_be_made_is_told_and_fails_nothing(platform: Platform) -> None:
    platform.file.with_name("read-own.duckdb").mkdir(parents=True)
    result = platform.run(SYNC)
    assert result.success
    lines = "\n".join(entry.user_message for entry in platform.instance.all_logs(result.run_id))
    assert "the copy for readers is not replaced: " in lines
