"""What the warehouse holds of a resource before it is read: digests, types, names, and how far it came.

Reading only, in one brief opening of the file. What is made of it belongs to `sync`.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb

from messaging_assets.api.connection import Resource
from messaging_assets.api.filter import Filter, filter_of
from messaging_assets.api.increment import HeldRows
from messaging_assets.api.row_index import RowIndex
from messaging_assets.warehouse.columns import ColumnNames, ColumnType, hinted_types, wider
from messaging_assets.warehouse.ledger import LedgerEntry, known_columns, last_syncs
from messaging_assets.warehouse.order import OrderedTable, ordered_table
from messaging_assets.warehouse.publish import Target, living_rows
from messaging_assets.warehouse.table import (
    Column,
    columns_of,
    held_rows,
    is_empty,
    known_types,
    refuse_foreign_table,
)


@dataclass(frozen=True)
class Held:
    """What a table holds.

    Attributes:
        names: The columns of the fields met so far.
        types: What the columns can hold at least.
        content_version: The version of the content, empty before the first sync.
        page_size: The largest page that the server has returned.
        index: The digests of the rows; of none where the ends of an ordered table may do.
        ordered: The table in the order of the list, if a sync may go by it.
        ends: Its first and last rows.
        filter: The API's filter for what is new, if a sync may go by it.
        cursor: Where it starts.
    """

    names: ColumnNames
    types: dict[str, ColumnType]
    content_version: str = ""
    page_size: int = 0
    index: RowIndex = field(default_factory=RowIndex)
    ordered: OrderedTable | None = None
    ends: tuple[HeldRows, ...] = ()
    filter: Filter | None = None
    cursor: Any = None


def target_of(connection: str, resource: Resource, names: ColumnNames) -> Target:
    """The table of a resource."""
    key = tuple(names.name(field) for field in resource.primary_key)
    return Target(connection, resource.table, key, resource.write_disposition)


def read_held(
    database: duckdb.DuckDBPyConnection, connection: str, resource: Resource, *, whole: bool
) -> Held:
    """Reads what the table of a resource holds.

    Args:
        database: The open database.
        connection: The connection.
        resource: The resource.
        whole: Whether all rows are going to be read; otherwise what a sync of the new ones needs may do.

    Raises:
        WarehouseUnusableError: The table was made by something else.
    """
    names = ColumnNames(known_columns(database, connection, resource.name))
    hints = hinted_types(resource.columns, without=resource.primary_key)
    target = target_of(connection, resource, names)
    columns = columns_of(database, target.schema, target.table)
    if not columns:
        return Held(names, hints)
    refuse_foreign_table(columns, target.schema, target.table, target.key)
    before = last_syncs(database, target.schema, resource=resource.name, limit=100)
    last = next((entry for entry in before if entry.content_version), None)
    types = hints if is_empty(database, target.schema, target.table) else _types(columns, hints)
    held = Held(names, types)
    if last is not None:
        held = replace(held, content_version=last.content_version, page_size=last.page_size or 0)
    narrow = None if whole or last is None else _narrow(database, target, resource, columns, last, held)
    if narrow is not None:
        return narrow
    if target.disposition == "append":
        return held
    return replace(held, index=held_rows(database, target.schema, target.table, target.key))


def _types(columns: tuple[Column, ...], hints: dict[str, ColumnType]) -> dict[str, ColumnType]:
    known = known_types(columns)
    return {**hints, **{name: wider(found, hints.get(name, found)) for name, found in known.items()}}


def _narrow(
    database: duckdb.DuckDBPyConnection,
    target: Target,
    resource: Resource,
    columns: tuple[Column, ...],
    last: LedgerEntry,
    held: Held,
) -> Held | None:
    """What a sync of new rows needs: those that the API's filter can return, or the ends of the list."""
    by_filter = filter_of(resource)
    if by_filter is not None:
        if last.cursor is None or target.disposition == "append":
            return None
        cursor = json.loads(last.cursor)
        since = by_filter.since(cursor)
        name = held.names.of_fields.get(by_filter.field)
        is_timestamp = any(c.name == name and c.type == ColumnType.TIMESTAMP.value for c in columns)
        condition = (name, since) if name is not None and since is not None and is_timestamp else None
        index = held_rows(database, target.schema, target.table, target.key, since=condition)
        return replace(held, index=index, filter=by_filter, cursor=cursor)
    ordered = ordered_table(target.name, resource, held.names, columns, last)
    if ordered is None or living_rows(database, target)[0] != ordered.known.rows:
        return None
    return replace(held, ordered=ordered, ends=ordered.ends(database))
