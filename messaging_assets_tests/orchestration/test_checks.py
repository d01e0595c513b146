"""The judging, for every kind of result; that checks see real tables is shown in test_assets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import AssetCheckResult, AssetCheckSeverity

from messaging_assets.api.connection import Freshness
from messaging_assets.orchestration.checks import (
    blocking_failures,
    columns_stable,
    complete,
    created_at_valid,
    data_fresh,
    id_not_null,
    id_unique,
    records_stored,
)
from messaging_assets.warehouse.quality import CreationFacts, Offending
from messaging_assets.warehouse.sync import SyncResult

pytestmark = pytest.mark.dagster

NOW = datetime(2024, 3, 10, 12, tzinfo=UTC)
NONE = Offending(0)
LIMITS = Freshness(data_warn_after_hours=24, data_fail_after_hours=72)
WARN, ERROR = AssetCheckSeverity.WARN, AssetCheckSeverity.ERROR
PROVED = SyncResult(
    connection="messaging",
    resource="users",
    table="messaging.users",
    mode="sync",
    rows=45,
    seen=45,
    new=2,
    changed=0,
    unchanged=43,
    deleted=3,
    restored=0,
    rejected=0,
    api_total=45,
    requests=5,
    retries=0,
    pages=4,
    bytes_received=1000,
    seconds=1.0,
    verified="full",
    reason="the list held still",
    drift_repaired=1,
    columns=(),
    column_changes=(),
    newest=NOW,
    deletions_withheld=0,
    content_version="v",
)


def judged(result: AssetCheckResult) -> tuple[bool, AssetCheckSeverity | None]:
    """Whether it passed and, if not, how bad that is."""
    return result.passed, None if result.passed else result.severity


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        ({}, (True, None), "proved (full): the list held still"),
        ({"verified": "order"}, (True, None), "proved (order)"),
        ({"verified": "filter"}, (True, None), "proved (filter)"),
        ({"verified": "no", "reason": "no total"}, (False, ERROR), "not proved: no total"),
        ({"deletions_withheld": 9, "rows": 54}, (False, ERROR), "9 rows were not seen; the list held still"),
        ({"rejected": 2, "rows": 43}, (True, None), "proved (full): the list held still"),
        (
            {"rejected": 2, "rows": 42},
            (False, ERROR),
            "1 rows that the API returned are neither in the table",
        ),
        ({"rows": 46}, (True, None), "proved"),
    ],
)
def test_complete(
    found: dict[str, Any], expected: tuple[bool, AssetCheckSeverity | None], words: str
) -> None:
    result = complete(replace(PROVED, **found))
    assert judged(result) == expected
    assert words in str(result.description)


def test_complete_carries_what_it_takes_to_believe_it() -> None:
    carried = {name: value.value for name, value in complete(PROVED).metadata.items()}
    assert carried == {
        "verified": "full",
        "reason": "the list held still",
        "api_total": 45,
        "rows_in_table": 45,
        "rows_seen": 45,
        "rows_deleted": 3,
        "deletions_withheld": 0,
        "rejected": 0,
        "drift_repaired": 1,
    }
    silent = complete(replace(PROVED, api_total=None)).metadata["api_total"]
    assert silent.value == "the API gives none"


def test_records() -> None:
    assert judged(records_stored(PROVED)) == (True, None)
    kept_aside = records_stored(replace(PROVED, rejected=2))
    assert judged(kept_aside) == (False, WARN)
    assert kept_aside.description == "2 records could not be stored and are in messaging._rejected_records"
    assert kept_aside.metadata["rejected"].value == 2
    assert blocking_failures([kept_aside]) == []


def test_keys() -> None:
    assert judged(id_unique(NONE)) == (True, None)
    assert judged(id_not_null(0)) == (True, None)
    double = id_unique(Offending(7, ("a", "b")))
    assert judged(double) == (False, ERROR)
    assert double.metadata["duplicates_examples"].value == "a, b"
    assert judged(id_not_null(2)) == (False, ERROR)


@pytest.mark.parametrize(
    ("missing", "in_future", "expected"),
    [(0, 0, (True, None)), (0, 3, (False, WARN)), (2, 0, (False, ERROR)), (2, 3, (False, ERROR))],
)
def test_created_at(missing: int, in_future: int, expected: tuple[bool, AssetCheckSeverity | None]) -> None:
    facts = CreationFacts(Offending(missing), Offending(in_future), NOW)
    assert judged(created_at_valid(facts)) == expected


def test_a_table_without_created_at_is_not_accused_of_it() -> None:
    assert judged(created_at_valid(None)) == (True, None)


def test_columns() -> None:
    assert judged(columns_stable(())) == (True, None)
    changed = columns_stable(("text vanished", "size: BIGINT became VARCHAR"))
    assert judged(changed) == (False, WARN)
    assert changed.description == "text vanished; size: BIGINT became VARCHAR"


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(minutes=-3), (True, None)),
        (timedelta(hours=24), (True, None)),
        (timedelta(hours=24, seconds=1), (False, WARN)),
        (timedelta(hours=72), (False, WARN)),
        (timedelta(hours=72, seconds=1), (False, ERROR)),
    ],
)
def test_age_of_the_data(age: timedelta, expected: tuple[bool, AssetCheckSeverity | None]) -> None:
    assert judged(data_fresh(CreationFacts(NONE, NONE, NOW - age), LIMITS, NOW)) == expected


def test_data_without_a_date_warns() -> None:
    assert judged(data_fresh(CreationFacts(NONE, NONE, None), LIMITS, NOW)) == (False, WARN)
    assert judged(data_fresh(None, LIMITS, NOW)) == (False, WARN)


def test_old_data_blocks_nothing_but_double_keys_do() -> None:
    old = data_fresh(CreationFacts(NONE, NONE, NOW - timedelta(days=9)), LIMITS, NOW)
    assert blocking_failures([old, columns_stable(("x vanished",)), id_not_null(0)]) == []
    assert blocking_failures([old, id_unique(Offending(1, ("a",)))]) == [
        "id_unique: 1 keys stand more than once"
    ]
