"""The Arrow path of a sync over nasty rows, beside what dlt makes of the same rows one by one."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dlt
import duckdb

from messaging_assets_tests.warehouse.conftest import Platform

# Every value disagrees with others of its field, is nested, or is at an edge of its type.
NASTY: list[dict[str, Any]] = [
    {"id": "a", "created_at": "2026-03-29T02:10:00+01:00", "size": 1, "kind": "x", "flag": True},
    {"id": "b", "created_at": "2026-03-29T02:50:00+02:00", "size": "large", "kind": None, "flag": False},
    {"id": "c", "created_at": "2026-01-01T00:00:00Z", "size": 2.5, "kind": "", "tags": ["p", "q"]},
    {"id": "d", "created_at": "2026-01-02T00:00:00Z", "size": -3, "tags": [], "author": {"name": "Zoë"}},
    {"id": "e", "created_at": "2026-01-03T00:00:00Z", "author": {"name": None, "roles": [1, {"x": 2}]}},
    {"id": "f", "created_at": "2026-01-04T00:00:00Z", "size": 9007199254740991, "kind": "null\ttab\n"},
    {"id": "g", "created_at": "2026-01-05T00:00:00Z", "camelCase": 1, "flag": None, "late": "2026-01-01"},
    {"id": "h", "created_at": "2026-01-06T00:00:00Z", "kind": "😀" * 1000, "camelCase": 2},
]
FIELDS = ("size", "kind", "flag", "tags", "author", "camel_case", "late")


def by_dlt(folder: Path) -> dict[str, dict[str, Any]]:
    """What dlt's rows become; values of another type than the first stand in columns of their own."""
    file = folder / "dlt.duckdb"
    pipeline = dlt.pipeline(
        "rows",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(file)),
        dataset_name="chat",
    )

    @dlt.source(max_table_nesting=0)
    def source() -> Any:
        return dlt.resource(NASTY, name="things", primary_key="id", write_disposition="merge")

    pipeline.run(source()).raise_on_failed_jobs()
    with duckdb.connect(str(file)) as database:
        found = database.execute("SELECT * FROM chat.things")
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {row["id"]: {field: _coalesced(row, field) for field in ("created_at", *FIELDS)} for row in rows}


def _coalesced(row: dict[str, Any], field: str) -> Any:
    values = (row[name] for name in row if name == field or name.startswith(f"{field}__v_"))
    return next((value for value in values if value is not None), None)


def plain(value: Any) -> Any:
    """A value as the API meant it: JSON is read, numbers in texts are numbers, instants are in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def test_both_ways_keep_the_same_values(platform: Platform, tmp_path: Path) -> None:
    platform.things(*NASTY)
    result = platform.sync()
    assert (result.new, result.rejected) == (len(NASTY), 0)
    ours, theirs = platform.rows(), by_dlt(tmp_path)
    assert ours.keys() == theirs.keys()
    for identity, row in theirs.items():
        for field, value in row.items():
            assert plain(ours[identity][field]) == plain(value), (identity, field)
    # Where types disagree the platform has one column, and dlt several.
    assert platform.types()["size"] == "VARCHAR"
    assert platform.types()["author"] == "JSON"
