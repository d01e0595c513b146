"""The rules of marking, one by one."""

from typing import Any

import pyarrow as pa
import pytest

from messaging_assets.api.proof import Verdict
from messaging_assets.warehouse.deletions import decide, without_rejected
from messaging_assets.warehouse.spool import Rejected

USUAL: dict[str, Any] = {
    "missing": 1,
    "held": 100,
    "seen": 99,
    "keyless": 0,
    "resumed": False,
    "verdict": Verdict("full", ""),
    "max_share": 0.1,
    "accepted": False,
}


@pytest.mark.parametrize(
    ("case", "marks"),
    [
        ({}, True),
        ({"missing": 0}, False),
        ({"missing": 10}, True),
        ({"missing": 11}, False),
        ({"missing": 11, "accepted": True}, True),
        ({"missing": 5, "held": 8, "seen": 3}, True),
        ({"missing": 6, "held": 8, "seen": 2}, False),
        ({"missing": 1, "held": 1, "seen": 0}, False),
        ({"missing": 1, "held": 1, "seen": 0, "accepted": True}, True),
        ({"missing": 100, "held": 100, "seen": 1, "max_share": 1.0}, True),
        ({"missing": 6, "max_share": 0.0}, False),
        ({"keyless": 1}, False),
        ({"keyless": 1, "accepted": True}, False),
        ({"resumed": True}, False),
        ({"resumed": True, "accepted": True}, False),
        ({"verdict": Verdict("order", "")}, True),
        ({"verdict": Verdict("order", ""), "missing": 11}, False),
        ({"verdict": Verdict("filter", "")}, False),
        ({"verdict": Verdict("no", ""), "accepted": True}, False),
    ],
)
def test_whether_missing_rows_are_marked(case: dict[str, Any], marks: bool) -> None:
    settings = {**USUAL, **case}
    decision = decide(**settings)
    assert decision.mark is marks
    told = not marks and settings["missing"] and settings["verdict"].verified in ("full", "order")
    assert decision.withheld == (settings["missing"] if told and not settings["resumed"] else 0)
    assert bool(decision.reason) is bool(told)


def test_what_came_with_another_type_of_id_was_seen() -> None:
    missing = pa.table({"id": ["7", "8"]})
    rejected = [Rejected("", "", "7", of_key=True), Rejected("", "", "8", of_key=False)]
    assert without_rejected(missing, rejected).to_pydict() == {"id": ["8"]}
    assert without_rejected(missing, rejected[1:]).num_rows == 2
    pairs = pa.table({"id": [7, 8], "part": ["a", "a"]})
    assert without_rejected(pairs, [Rejected("", "", '["7", "a"]', of_key=True)])["id"].to_pylist() == [8]
    assert without_rejected(missing.slice(0, 0), rejected).num_rows == 0
