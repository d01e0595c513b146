"""When the analytics run by themselves: what has to have happened, and the sensor that looks.

The jobs of a connection refresh its models after the tables. The conditions here are for whatever else
changes a table (a button, for instance), for models that a failing check held back, and for the report; what
a job has done is not done again. Data versions decide: a sync that changed nothing sets nothing in motion.
"""

from typing import Any

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    DefaultSensorStatus,
)

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.analytics_checks import COLUMNS_FOUND
from messaging_assets.orchestration.names import CONNECTION_TAG, analytics_group, automation_sensor_name

#: When the page for the morning is made, whatever happened, in the connection's time zone.
MORNING = "0 6 * * *"


def follows_tables(model: AssetKey) -> AutomationCondition[Any]:
    """Refresh a model when a table that it reads has changed and the blocking checks of all of them passed.

    A model that was skipped is left to the jobs until its definition changes: new rows bring it no columns.

    Args:
        model: The model's key.
    """
    changed = AutomationCondition.any_deps_match(AutomationCondition.data_version_changed())
    edited = AutomationCondition.code_version_changed()
    due = _unhandled(AutomationCondition.newly_missing() | changed | edited)
    skipped = AutomationCondition.any_checks_match(AutomationCondition.check_failed()).allow(
        AssetSelection.checks(AssetCheckKey(model, COLUMNS_FOUND))
    )
    condition: AutomationCondition[Any] = (
        due.with_label("due: missing, changed tables or another definition")
        & (~skipped | _unhandled(edited)).with_label("not skipped for a missing column")
        & ~AutomationCondition.any_deps_in_progress()
        & ~AutomationCondition.in_progress()
        & AutomationCondition.all_deps_blocking_checks_passed()
    ).with_label("follows its tables")
    return condition


def follows_everything(time_zone: str) -> AutomationCondition[Any]:
    """Make the report every morning, and soon after models, or the tables behind them, changed or failed.

    It does not wait for checks to pass, nor for models that are skipped: it tells about them.

    Args:
        time_zone: The time zone of the connection's analytics.
    """
    with_it = AutomationCondition.executed_with_root_target()
    changed = AutomationCondition.data_version_changed() & ~with_it
    failed = AutomationCondition.execution_failed().newly_true()
    something = _any_behind(changed | failed)
    # What changes while a report is asked for and made may have come too late for it, so it counts once more.
    news = something.since(_handled() & ~something)
    morning = _unhandled(AutomationCondition.cron_tick_passed(MORNING, time_zone))
    missing = _unhandled(AutomationCondition.newly_missing())
    condition: AutomationCondition[Any] = (
        (missing | morning | news).with_label("due: missing, morning, or something changed or failed")
        & _any_behind(~AutomationCondition.missing())
        # In a run of its own: Dagster leaves it out of one in which a model is skipped or fails.
        & ~AutomationCondition.any_deps_match(AutomationCondition.will_be_requested())
        & ~AutomationCondition.any_deps_in_progress()
        & ~AutomationCondition.in_progress()
    ).with_label("follows everything")
    return condition


def _any_behind(condition: Any) -> Any:
    """True where the condition is, of what the asset depends on or of what that depends on."""
    return AutomationCondition.any_deps_match(condition | AutomationCondition.any_deps_match(condition))


def _unhandled(condition: Any) -> Any:
    """True from when the condition is, until the asset is asked for or made, by whomever.

    Dagster's own `since_last_handled` forgets what is so at the first look: an asset that is missing then
    stays missing. Untyped, since Dagster types conditions on assets alone and on checks as well apart.
    """
    return condition.since(_handled())


def _handled() -> Any:
    return AutomationCondition.newly_requested() | AutomationCondition.newly_updated()


def automation_sensor(connection: Connection) -> AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions of a connection's analytics."""
    return AutomationConditionSensorDefinition(
        name=automation_sensor_name(connection.name),
        target=AssetSelection.groups(analytics_group(connection.name)),
        default_status=DefaultSensorStatus.RUNNING,
        description=(
            f"Refreshes the analytics of {connection.name} when a table changed outside of its jobs and its "
            "blocking checks passed, and makes the report: each morning, and soon after a change or failure."
        ),
        run_tags={CONNECTION_TAG: connection.name},
    )
