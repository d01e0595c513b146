"""A table compared with the source, row by row and value by value: what a sync has to have made of it.

The rules are those of the README: every row that was at the source from the beginning of a sync to its end
stands in the table once, with its content; nothing else lives there without a reason; no living row is marked
as deleted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.ledger import LedgerEntry, known_columns, last_syncs
from messaging_assets.warehouse.table import columns_of
from messaging_assets_tests.warehouse.test_columns import says_the_same

Row = dict[str, Any]


@dataclass
class Table:
    """A table as it stands.

    Attributes:
        rows: Its rows by id, those marked as deleted among them.
        types: The types of its columns.
        columns: The column of each field.
        rejects: The records kept aside, as JSON.
        entry: What the ledger says of the last sync.
    """

    rows: dict[Any, Row] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    rejects: set[str] = field(default_factory=set)
    entry: LedgerEntry | None = field(default=None, compare=False)

    @classmethod
    def read(cls, file: Path, schema: str, resource: str) -> "Table":
        """The table of a resource; no row of it may stand twice."""
        with open_database(file, read_only=True) as database:
            found = database.execute(f"SELECT * FROM {schema}.{resource}")
            names = [column[0] for column in found.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
            rejects = database.execute(
                f"SELECT payload FROM {schema}._rejected_records WHERE resource = ?", [resource]
            ).fetchall()
            by_id = {row["id"]: row for row in rows}
            assert len(by_id) == len(rows), "a row stands twice"
            return cls(
                by_id,
                {column.name: column.type for column in columns_of(database, schema, resource)},
                known_columns(database, schema, resource),
                {payload for (payload,) in rejects},
                next(iter(last_syncs(database, schema, resource=resource, limit=1)), None),
            )

    @property
    def living(self) -> set[Any]:
        """The ids of the rows that are not marked as deleted."""
        return {identity for identity, row in self.rows.items() if row["deleted_at"] is None}

    def holds(self, sent: Row) -> bool:
        """Whether a row lives here exactly as it was sent."""
        held = self.rows.get(sent["id"])
        if held is None or held["deleted_at"] is not None or not sent.keys() <= self.columns.keys():
            return False
        values = {self.columns[name]: value for name, value in sent.items()}
        return all(
            says_the_same(values.get(column), held[column], kind, is_time=column.endswith("_at"))
            for column, kind in self.types.items()
            if column not in ("deleted_at", "_row_hash")
        )

    def is_exactly(self, source: Sequence[Row]) -> bool:
        """Whether the rows of the source live here with their contents, and no others."""
        rows = {row["id"]: row for row in source}
        return self.living == rows.keys() and all(map(self.holds, rows.values()))


@dataclass(frozen=True)
class Became:
    """What a sync made of a table, after everything was compared.

    Attributes:
        proved: Whether the sync says that it is complete.
        rejected: How many records of the source are kept aside.
        unmarked: How many rows live here and not at the source.
    """

    proved: bool
    rejected: int = 0
    unmarked: int = 0


def compare(states: Sequence[Sequence[Any]], before: Table, after: Table) -> Became:
    """Compares a table with the source.

    Args:
        states: The records at the source when the sync began, after each change meanwhile, and when it ended.
        before: The table before the sync.
        after: The table after it.
    """
    assert after.entry is not None
    lived, versions = _versions(states, after.rejects)
    marked = before.living - after.living
    assert not marked & lived, f"marked as deleted, and living: {sorted(marked & lived)}"
    kept = after.living - versions.keys()
    assert kept <= before.living, "rows that never were at the source"
    if after.entry.verified == "no":
        assert not marked
        return Became(proved=False)

    assert lived <= after.living, f"lost: {sorted(lived - after.living)}"
    is_still = all(state == states[0] for state in states)
    for identity in after.living & versions.keys():
        # While a list changes, an answer is as good as an earlier one; otherwise the last version counts.
        possible = versions[identity][-1:] if is_still else versions[identity]
        assert any(map(after.holds, possible)), f"other content: {identity}"
    bad = [record for record in states[-1] if as_text(record) in after.rejects]
    assert {as_text(record) for record in bad} == after.rejects
    spoilt = {record["id"] for record in bad if isinstance(record, Mapping) and "id" in record}
    return Became(proved=True, rejected=len(after.rejects), unmarked=len(kept - spoilt))


def _versions(states: Sequence[Sequence[Any]], rejects: set[str]) -> tuple[set[Any], dict[Any, list[Row]]]:
    """The ids that were there all along, and the contents that each row had, in the order of time."""
    good = [[record for record in state if as_text(record) not in rejects] for state in states]
    versions: dict[Any, list[Row]] = {}
    for row in (row for state in good for row in state):
        versions.setdefault(row["id"], []).append(row)
    return set.intersection(*({row["id"] for row in state} for state in good)), versions


def as_text(record: Any) -> str:
    """A record as the table of rejects has it."""
    return json.dumps(record, sort_keys=True)
