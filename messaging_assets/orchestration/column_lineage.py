"""Where every column comes from: the API's fields, the raw columns made of them, the analytics made of these.

What a model's columns are made of is read from its SQL, in `messaging_assets.warehouse.analytics.model`;
here it is said in Dagster's words, and as a table for people, since the UI shows Dagster's as JSON.
"""

from collections.abc import Iterable, Mapping

from dagster import TableColumnDep, TableColumnLineage

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.orchestration.names import api_key, raw_key
from messaging_assets.warehouse.analytics.model import Model, RawColumn
from messaging_assets.warehouse.analytics.sources import OWN_COLUMNS, api_field, warehouse_column

#: The column of each field that syncs have met, by table.
Fields = Mapping[str, Mapping[str, str]]


def table_lineage(
    connection: Connection, resource: Resource, fields: Mapping[str, str], columns: Iterable[str]
) -> TableColumnLineage:
    """The API's field behind each column of a table; what the sync itself writes has none.

    Args:
        connection: The connection.
        resource: The resource.
        fields: The column of each field that syncs have met.
        columns: The columns of the table.
    """
    there = set(columns)
    source = api_key(connection.name, resource.table)
    return TableColumnLineage(
        {
            column: [TableColumnDep(asset_key=source, column_name=field)]
            for field, column in fields.items()
            if column in there
        }
    )


def model_lineage(connection: Connection, model: Model) -> TableColumnLineage:
    """The raw columns behind each column of a model."""
    return TableColumnLineage(
        {
            column.name: [
                TableColumnDep(
                    asset_key=raw_key(connection.name, raw.table),
                    column_name=_column(connection, raw),
                )
                for raw in column.upstream
            ]
            for column in model.columns
        }
    )


def lineage_as_table(connection: Connection, model: Model, fields: Fields) -> str:
    """The lineage of a model from the API's fields to its columns, as a Markdown table."""
    lines = ["| column | is made of | which the API calls |", "| --- | --- | --- |"]
    for column in model.columns:
        raw = [f"`{origin.table}.{_column(connection, origin)}`" for origin in column.upstream]
        api = [_field(connection, origin, fields) for origin in column.upstream]
        lines.append(f"| `{column.name}` | {_listed(raw)} | {_listed(api)} |")
    return "\n".join(lines)


def _column(connection: Connection, raw: RawColumn) -> str:
    return raw.column if raw.column in OWN_COLUMNS else warehouse_column(connection, raw)


def _field(connection: Connection, raw: RawColumn, fields: Fields) -> str:
    field = api_field(connection, raw, fields.get(raw.table))
    return "*written by the sync*" if field is None else f"`{raw.table}: {field}`"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words)) or "*no column*"
