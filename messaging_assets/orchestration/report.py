"""The page for the morning as an asset: made, shown at a glance on its materialisation, and told in numbers.

What it shows, and how it is drawn, is the warehouse's; when it is made stands in `automation`.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    MaterializeResult,
    MetadataValue,
    multi_asset,
)

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.analytics import models_of
from messaging_assets.orchestration.automation import follows_everything
from messaging_assets.orchestration.failures import explained
from messaging_assets.orchestration.lineage import owners, references_to, tags
from messaging_assets.orchestration.metadata import sandbox_metadata
from messaging_assets.orchestration.names import (
    REPORT,
    analytics_group,
    analytics_key,
    analytics_op_name,
    raw_key,
)
from messaging_assets.orchestration.resources import WarehouseResource, uses_sandbox
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.report.write import Report, report_folder, write_report


def report_assets(connection: Connection) -> list[AssetsDefinition]:
    """The report of a connection; none where there are no models to report on."""
    return [_report_asset(connection)] if models_of(connection) else []


def report_spec(connection: Connection) -> AssetSpec:
    """What the report looks like in the catalogue."""
    name = connection.name
    return AssetSpec(
        key=analytics_key(name, REPORT),
        deps=_upstream(connection),
        group_name=analytics_group(name),
        description=(
            f"One page for the morning about {name}: the week's activity, the busiest channels, the hours, "
            "the response times, and whether the data is complete, fresh and right. An HTML file that stands "
            "alone, and a PNG picture of each chart; where they lie stands in the metadata of each "
            "materialisation, with a preview.\n\nIt is made each morning at 6 "
            f"({connection.analytics.time_zone}), and by itself within a minute or two after a sync that "
            "changed something or failed; until then Dagster shows it as unsynced."
        ),
        kinds={"html", "matplotlib"},
        owners=owners(connection),
        tags=tags(connection),
        automation_condition=follows_everything(connection.analytics.time_zone),
        metadata=references_to([(Path(__file__), 1, "the code that makes it")]),
    )


def _upstream(connection: Connection) -> list[AssetKey]:
    """The models, with the tables behind them, and the tables that no model reads."""
    models = models_of(connection)
    behind = {table for model in models for table in model.reads}
    tables = {resource.table for resource in connection.resources if resource.selected}
    return [
        *(analytics_key(connection.name, model.name) for model in models),
        *(raw_key(connection.name, table) for table in sorted(tables - behind)),
    ]


def _report_asset(connection: Connection) -> AssetsDefinition:
    @multi_asset(
        name=analytics_op_name(connection.name, REPORT),
        description=f"Reads the warehouse of {connection.name}, draws the charts and writes the page.",
        specs=[report_spec(connection)],
    )
    def make(context: AssetExecutionContext, warehouse: WarehouseResource) -> MaterializeResult[None]:
        with explained(f"making the report of {connection.name}"):
            clock = time.monotonic()
            location = WarehouseLocation(warehouse.of(connection).path)
            report = write_report(
                location,
                connection,
                report_folder(location, connection.name),
                as_of=datetime.now(UTC),
                sandbox=uses_sandbox(connection),
            )
            seconds = time.monotonic() - clock
        context.log.info(f"the report is in {report.page}")
        return MaterializeResult(metadata=_metadata(connection, report, seconds))

    return make


def _metadata(connection: Connection, report: Report, seconds: float) -> Mapping[str, MetadataValue]:
    rows = {f"rows_{table.table}": table.rows for table in report.figures.tables}
    counts = {
        "problems": len(report.findings.of("bad")),
        "things_to_look_at": len(report.findings.of("look")),
        **rows,
    }
    return {
        "preview": MetadataValue.md(report.markdown()),
        "page": MetadataValue.path(report.page),
        "pictures_beside_it": MetadataValue.text(", ".join(file.name for file in report.pictures.values())),
        "connection": MetadataValue.text(connection.name),
        **sandbox_metadata(sandbox=uses_sandbox(connection)),
        **{name: MetadataValue.int(count) for name, count in counts.items()},
        "seconds": MetadataValue.float(round(seconds, 3)),
    }
