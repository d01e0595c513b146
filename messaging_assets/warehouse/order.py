"""The rows of a table in the order of the list at the source, for a list whose order a sweep has shown.

The order is by created_at and id, or by id, so that the table has it by itself: the ledger keeps what the
list is ordered by, and nothing else is stored. What follows from it belongs to
`messaging_assets.api.increment`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from messaging_assets.api.connection import Resource
from messaging_assets.api.digests import value_digest
from messaging_assets.api.increment import HeldRows, KnownOrder
from messaging_assets.api.reading import is_swept
from messaging_assets.api.source import offset_settings
from messaging_assets.warehouse.columns import ColumnNames, ColumnType
from messaging_assets.warehouse.ledger import LedgerEntry
from messaging_assets.warehouse.spool import ROW_HASH
from messaging_assets.warehouse.sql import quoted
from messaging_assets.warehouse.table import BATCH_ROWS, DELETED_AT, Column

# Rows to know at each end: a page of them, and as many that may have moved out of it.
PAGES_AT_ENDS = 2
CREATED_AT = "created_at"


@dataclass(frozen=True)
class OrderedTable:
    """A table whose living rows are all of a list, in a known order.

    Attributes:
        name: The qualified name of the table, quoted.
        key: The column of its primary key.
        known: What is known of the list.
    """

    name: str
    key: str
    known: KnownOrder

    def ends(self, database: duckdb.DuckDBPyConnection) -> tuple[HeldRows, ...]:
        """The first and the last rows, or all of them where there are few."""
        count = PAGES_AT_ENDS * self.known.page_size
        if self.known.rows <= 2 * count:
            return (self.all_rows(database),)
        head = self._rows(database, self._order_by(backwards=False), count)
        tail = self._rows(database, self._order_by(backwards=True), count)
        return (
            head,
            HeldRows(tail.keys[::-1], tail.contents[::-1], first=self.known.rows - len(tail.keys)),
        )

    def all_rows(self, database: duckdb.DuckDBPyConnection) -> HeldRows:
        """All living rows, in the order of the list."""
        return self._rows(database, self._order_by(backwards=False), self.known.rows)

    def _order_by(self, *, backwards: bool) -> str:
        columns, _, direction = self.known.order.rpartition(", ")
        falls = (direction == "descending") is not backwards
        names = [CREATED_AT, self.key] if columns == "created_at and id" else [self.key]
        return ", ".join(f"{quoted(name)} {'DESC' if falls else 'ASC'}" for name in names)

    def _rows(self, database: duckdb.DuckDBPyConnection, order_by: str, count: int) -> HeldRows:
        query = (
            f"SELECT {quoted(self.key)}, {ROW_HASH} FROM {self.name} "  # noqa: S608 - quoted names
            f"WHERE {DELETED_AT} IS NULL ORDER BY {order_by} LIMIT {count}"
        )
        keys, contents = [_NONE], [_NONE]
        for batch in database.sql(query).to_arrow_reader(BATCH_ROWS):
            digests = (value_digest(value) or 0 for value in batch.column(0).to_pylist())
            keys.append(np.fromiter(digests, np.int64, batch.num_rows))
            contents.append(batch.column(1).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64))
        return HeldRows(np.concatenate(keys), np.concatenate(contents))


_NONE = np.zeros(0, dtype=np.int64)


def ordered_table(
    name: str, resource: Resource, names: ColumnNames, columns: Sequence[Column], last: LedgerEntry | None
) -> OrderedTable | None:
    """A table as one in a known order, None where it is not known or of no use.

    Args:
        name: The qualified name of the table, quoted.
        resource: Its resource.
        names: The columns of its fields.
        columns: Its columns.
        last: The last sync that did not fail.
    """
    if last is None or last.list_order is None or last.page_size is None:
        return None
    known = KnownOrder(last.list_order, last.rows_alive, last.page_size)
    if not known.is_worth_it or not is_orderable(resource, names, columns, last.list_order):
        return None
    return OrderedTable(name, names.name(resource.primary_key[0]), known)


def is_orderable(
    resource: Resource, names: ColumnNames, columns: Sequence[Column], list_order: str | None
) -> bool:
    """Whether the table has the order of the list by itself, and is all of it.

    Args:
        resource: The resource.
        names: The columns of its fields.
        columns: The columns of its table.
        list_order: What the list is ordered by, in the words of `OrderEvidence.shown`.
    """
    if not is_swept(resource) or len(resource.primary_key) != 1 or resource.write_disposition == "append":
        return False
    settings = offset_settings(resource)
    if settings is None or settings.maximum_offset is not None:
        # Rows beyond the maximum come and go without a trace at the end that is read.
        return False
    if list_order is None or not list_order.startswith(("created_at and id,", "id,")):
        # By created_at alone the order among equals is not known.
        return False
    timestamp = any(c.name == CREATED_AT and c.type == ColumnType.TIMESTAMP.value for c in columns)
    is_created_at = names.of_fields.get(CREATED_AT) == CREATED_AT
    return list_order.startswith("id,") or (timestamp and is_created_at)
