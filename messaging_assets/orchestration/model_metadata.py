"""What a model of the analytics carries, before and after a refresh, as Dagster metadata.

Translating belongs here; nothing is counted or measured. What a table of a sync carries stands in `metadata`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableSchema

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.column_lineage import Fields, lineage_as_table, model_lineage
from messaging_assets.orchestration.lineage import references_to
from messaging_assets.orchestration.metadata import sandbox_metadata
from messaging_assets.warehouse.analytics.model import Model
from messaging_assets.warehouse.analytics.refresh import RefreshResult


def definition_metadata(connection: Connection, model: Model, code: Path) -> Mapping[str, Any]:
    """What a model carries from the start: its columns, where they come from, and its SQL.

    Args:
        connection: The connection.
        model: The model.
        code: The module that refreshes it.
    """
    return {
        "grain": MetadataValue.text(", ".join(model.grain)),
        "time_zone": MetadataValue.text(connection.analytics.time_zone),
        "sql": MetadataValue.md(f"```sql\n{model.sql.strip()}\n```"),
        **_columns(connection, model, {}),
        **references_to([(model.path, 1, "the SQL"), (code, 1, "the code that refreshes it")]),
    }


def refresh_metadata(
    connection: Connection,
    model: Model,
    result: RefreshResult,
    *,
    fields: Fields,
    database: Path,
    sandbox: bool,
) -> Mapping[str, MetadataValue]:
    """Everything that a refresh tells.

    Args:
        connection: The connection.
        model: The model.
        result: What the refresh did.
        fields: The column of each of the API's fields, by table.
        database: The file that holds the table.
        sandbox: Whether the data is the bundled sandbox's.
    """
    counts = {
        "dagster/row_count": result.rows,
        "rows_written": result.written,
        "rows_removed": result.removed,
        "days_touched": len(result.days),
    }
    texts = {
        "dagster/table_name": f"{database.stem}.{result.table}",
        "dagster/uri": f"duckdb:///{database}",
        "connection": connection.name,
        "made_anew": f"yes: {result.rebuilt}" if result.rebuilt else "no, only what differs was written",
    }
    if result.days:
        texts |= {"first_day_touched": str(result.days[0]), "last_day_touched": str(result.days[-1])}
    return {
        **{name: MetadataValue.int(count) for name, count in counts.items()},
        **{name: MetadataValue.text(text) for name, text in texts.items()},
        "seconds": MetadataValue.float(round(result.seconds, 3)),
        **sandbox_metadata(sandbox=sandbox),
        **_columns(connection, model, fields),
    }


def _columns(connection: Connection, model: Model, fields: Fields) -> dict[str, MetadataValue]:
    return {
        "dagster/column_schema": MetadataValue.table_schema(column_schema(model)),
        "dagster/column_lineage": MetadataValue.column_lineage(model_lineage(connection, model)),
        "column_lineage_table": MetadataValue.md(lineage_as_table(connection, model, fields)),
    }


def column_schema(model: Model) -> TableSchema:
    """The columns of a model."""
    alone = model.grain if len(model.grain) == 1 else ()
    return TableSchema(
        columns=[
            TableColumn(
                name=column.name,
                type=column.type,
                description=column.description,
                constraints=TableColumnConstraints(unique=column.name in alone),
            )
            for column in model.columns
        ]
    )
