"""The judging of the analytics, for every kind of facts; that checks see real tables is in test_analytics."""

from datetime import date

import pytest
from dagster import AssetCheckResult, AssetCheckSeverity

from messaging_assets.orchestration.analytics_checks import (
    BLOCKING,
    columns_found,
    grain_unique,
    references_known,
    volume_usual,
)
from messaging_assets.orchestration.checks import blocking_failures
from messaging_assets.warehouse.analytics.quality import References, Volume
from messaging_assets.warehouse.quality import Offending

pytestmark = pytest.mark.dagster

WARN, ERROR = AssetCheckSeverity.WARN, AssetCheckSeverity.ERROR
SUNDAY = date(2024, 3, 10)


def judged(result: AssetCheckResult) -> tuple[bool, AssetCheckSeverity | None]:
    """Whether it passed and, if not, how bad that is."""
    return result.passed, None if result.passed else result.severity


def carried(result: AssetCheckResult) -> dict[str, object]:
    return {name: value.value for name, value in result.metadata.items()}


def test_a_skipped_model_warns_with_the_reason() -> None:
    assert judged(columns_found(None)) == (True, None)
    lacking = columns_found("chat.messages has no column `text`")
    assert judged(lacking) == (False, WARN)
    assert lacking.description == "the model is skipped: chat.messages has no column `text`"


def test_the_grain_alone_blocks() -> None:
    assert judged(grain_unique(Offending(0), ("day",))) == (True, None)
    double = grain_unique(Offending(9, ("2024-03-10/a", "2024-03-10/b")), ("day", "channel_id"))
    assert judged(double) == (False, ERROR)
    assert carried(double) == {
        "grain": "day, channel_id",
        "duplicates": 9,
        "duplicates_examples": "2024-03-10/a, 2024-03-10/b",
    }
    strange = volume_usual(Volume(SUNDAY, 900, (90, 100, 110, 100), (70, 130)))
    assert blocking_failures([columns_found("why"), strange, double], BLOCKING) == [
        "grain_unique: 9 combinations of day, channel_id stand more than once"
    ]


def test_references() -> None:
    assert judged(references_known(References("users", without=3))) == (True, None)
    unknown = references_known(References("users", messages=12, unknown=7, ids=("a", "b"), without=3))
    assert unknown.check_name == "users_known"
    assert judged(unknown) == (False, WARN)
    assert carried(unknown) == {
        "messages_affected": 12,
        "messages_without_id": 3,
        "unknown_users": 7,
        "unknown_users_examples": "a, b",
    }
    nothing = references_known(References("channels", skipped="there is no table"))
    assert (nothing.check_name, nothing.passed) == ("channels_known", True)
    assert nothing.description == "nothing can be said: there is no table"


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (Volume(SUNDAY, 70, (100,) * 4, (70, 130)), (True, None), "70 to 130 are usual on that weekday"),
        (Volume(SUNDAY, 130, (100,) * 4, (70, 130)), (True, None), "130 messages on Sunday, 2024-03-10"),
        (Volume(SUNDAY, 69, (100,) * 4, (70, 130)), (False, WARN), "69 messages on Sunday"),
        (Volume(SUNDAY, 131, (100,) * 4, (70, 130)), (False, WARN), "131 messages on Sunday"),
        (Volume(SUNDAY, 5, (100,) * 3), (True, None), "3 such days before, fewer than 4"),
        (Volume(SUNDAY, skipped="there is no table"), (True, None), "nothing can be said: there is no table"),
    ],
)
def test_volume(found: Volume, expected: tuple[bool, AssetCheckSeverity | None], words: str) -> None:
    result = volume_usual(found)
    assert judged(result) == expected
    assert words in str(result.description)
