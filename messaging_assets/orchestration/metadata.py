"""What a materialisation carries: the facts of a sync as Dagster metadata.

Translating belongs here, and the words that explain columns; nothing is counted or measured here.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableSchema

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.orchestration.column_lineage import table_lineage
from messaging_assets.warehouse.sync import SyncResult

#: What columns mean in every table that has them.
COLUMN_DESCRIPTIONS = {
    "name": "What it is called at the source.",
    "created_at": "When the row was created at the source.",
    "updated_at": "When the row was changed last at the source.",
    "deleted_at": "Since when the row is gone at the source; empty while it lives.",
    "_row_hash": "A digest of the row's content, by which a change is seen.",
}

#: What the columns of a table mean to the analytics, in their words.
ANALYTICS_DESCRIPTIONS = {
    "messages": {
        "channel_id": "The channel in which the message stands.",
        "user_id": "The user who wrote the message.",
        "text": "What was written.",
        "thread_parent_id": "The message that this one replies to; empty, or itself, if it is no reply.",
    }
}


def materialisation_metadata(
    result: SyncResult,
    connection: Connection,
    resource: Resource,
    *,
    fields: Mapping[str, str],
    database: Path,
    sandbox: bool,
    started: datetime,
) -> Mapping[str, MetadataValue]:
    """Everything that the materialisation of a table carries.

    Args:
        result: What the sync did.
        connection: The connection.
        resource: The resource that was synced.
        fields: The column of each of the API's fields.
        database: The file that holds the table.
        sandbox: Whether the bundled sandbox was read instead of a configured API.
        started: When the sync began.

    Returns:
        Metadata by name.
    """
    counts = {
        "dagster/row_count": result.rows,
        "rows_new": result.new,
        "rows_changed": result.changed,
        "rows_unchanged": result.unchanged,
        "rows_deleted": result.deleted,
        "rows_restored": result.restored,
        "rows_rejected": result.rejected,
        "deletions_withheld": result.deletions_withheld,
        "requests": result.requests,
        "retries": result.retries,
        "bytes": result.bytes_received,
    }
    texts = {
        "dagster/table_name": f"{database.stem}.{result.table}",
        "dagster/uri": f"duckdb:///{database}",
        "connection": result.connection,
        "mode": result.mode,
        "verified": result.verified,
        "reason": result.reason,
    }
    return {
        **{name: MetadataValue.int(count) for name, count in counts.items()},
        **{name: MetadataValue.text(text) for name, text in texts.items()},
        "api_total": api_total(result.api_total),
        "seconds": MetadataValue.float(round(result.seconds, 3)),
        "started": MetadataValue.timestamp(started),
        **sandbox_metadata(sandbox=sandbox),
        "dagster/column_schema": MetadataValue.table_schema(column_schema(result, connection, resource)),
        "dagster/column_lineage": MetadataValue.column_lineage(
            table_lineage(connection, resource, fields, [column.name for column in result.columns])
        ),
    }


def observation_metadata(result: SyncResult) -> Mapping[str, MetadataValue]:
    """What the API's side showed of itself during a sync."""
    return {
        "total": api_total(result.api_total),
        "rows_seen": MetadataValue.int(result.seen),
        "requests": MetadataValue.int(result.requests),
        "bytes": MetadataValue.int(result.bytes_received),
    }


def column_schema(result: SyncResult, connection: Connection, resource: Resource) -> TableSchema:
    """The columns of the table as it stands after a sync."""
    alone = resource.primary_key if len(resource.primary_key) == 1 else ()
    return TableSchema(
        columns=[
            TableColumn(
                name=column.name,
                type=column.type,
                description=_described(column.name, connection, resource),
                constraints=TableColumnConstraints(nullable=column.nullable, unique=column.name in alone),
            )
            for column in result.columns
        ]
    )


def _described(column: str, connection: Connection, resource: Resource) -> str:
    if column in resource.primary_key:
        return "Identifies the row at the source." if len(resource.primary_key) == 1 else "A part of the key."
    for word, meaning in ANALYTICS_DESCRIPTIONS.get(resource.table, {}).items():
        if column == connection.analytics.column(resource.table, word):
            return meaning
    return COLUMN_DESCRIPTIONS.get(column, f"`{column}` as the API gives it.")


def sandbox_metadata(*, sandbox: bool) -> dict[str, MetadataValue]:
    """That the data is made up, where it is."""
    told = "The data is made up by the bundled sandbox, since no address of an API is configured."
    return {"sandbox": MetadataValue.text(told)} if sandbox else {}


def api_total(total: int | None) -> MetadataValue:
    """The total of the API, which not every API gives."""
    return MetadataValue.text("the API gives none") if total is None else MetadataValue.int(total)
