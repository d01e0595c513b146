"""What the numbers say about the data, and where the limits are."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from messaging_assets.api.connection import Freshness
from messaging_assets.warehouse.analytics.model import model_named
from messaging_assets.warehouse.analytics.quality import References, Volume
from messaging_assets.warehouse.ledger import LedgerEntry
from messaging_assets.warehouse.quality import CreationFacts, Offending, TableFacts
from messaging_assets.warehouse.report.figures import Figures, Missing, ModelState, TableState
from messaging_assets.warehouse.report.findings import ASKED_OF_TABLES, Finding, Findings, State, judge
from messaging_assets.warehouse.report.summary import verdict
from messaging_assets_tests.warehouse.analytics.workspace import connection
from messaging_assets_tests.warehouse.report.conftest import NOW

NONE = Offending(0)
HOUR = timedelta(hours=1)
LAST = LedgerEntry("messages", "sync", "", NOW, NOW, verified="full")
CREATION = CreationFacts(NONE, NONE, NOW)
FACTS = TableFacts(NONE, 0, CREATION)
TABLE = TableState("messages", "/v1/messages", "messages", exists=True, last=LAST, facts=FACTS)
MODEL = ModelState(model_named("hourly_heatmap"), rows=1, skipped=None, duplicates=NONE, origins={})
VOLUME = Volume(date(2024, 3, 11), 100, (100, 100, 100, 100), (70, 130))
FIGURES = Figures(
    connection=replace(connection(), freshness=Freshness(2, 6, 24, 72)),
    as_of=NOW,
    activity=Missing("nothing"),
    channels=Missing("nothing"),
    heatmap=Missing("nothing"),
    waits=Missing("nothing"),
    tables=(TABLE,),
    models=(MODEL,),
    references=(References("channels"), References("users")),
    volume=VOLUME,
)


def of_table(asked: str, table: TableState) -> tuple[State, str]:
    (found,) = judge(replace(FIGURES, tables=(table,))).tables
    (finding,) = (finding for finding in found if finding.asked == asked)
    return finding.state, finding.words


def last(**more: object) -> TableState:
    return replace(TABLE, last=replace(LAST, **more))  # type: ignore[arg-type]


def facts(**more: object) -> TableState:
    return replace(TABLE, facts=replace(FACTS, **more))  # type: ignore[arg-type]


def newest(moment: datetime | None, table: str = "messages") -> TableState:
    return replace(facts(creation=replace(CREATION, newest=moment)), table=table)


def test_sound_data_is_good() -> None:
    findings = judge(FIGURES)
    assert {finding.state for finding in findings.all()} == {"good"}
    assert [finding.asked for finding in findings.tables[0]] == list(ASKED_OF_TABLES)
    assert verdict(findings) == ("good", "The data is complete, fresh and right as far as it was checked")


@pytest.mark.parametrize(
    ("table", "state", "words"),
    [
        (last(ended_at=NOW - 2 * HOUR), "good", "2 hours ago"),
        (last(ended_at=NOW - 3 * HOUR), "look", "3 hours ago"),
        (last(ended_at=NOW - 7 * HOUR), "bad", "7 hours ago"),
        (replace(TABLE, failed="no answer"), "bad", "the last sync failed: no answer"),
        (replace(TABLE, last=None), "bad", "never synced"),
    ],
)
def test_how_long_ago_a_table_was_synced(table: TableState, state: State, words: str) -> None:
    assert of_table("last sync", table) == (state, words)


@pytest.mark.parametrize(
    ("table", "state"),
    [
        (newest(NOW - 24 * HOUR), "good"),
        (newest(NOW - 25 * HOUR), "look"),
        (newest(NOW - 73 * HOUR), "bad"),
        # Nobody has to join every day.
        (newest(NOW - 1000 * HOUR, "users"), "good"),
        (newest(None), "unknown"),
        (replace(TABLE, facts=None), "unknown"),
    ],
)
def test_how_old_the_newest_row_is(table: TableState, state: State) -> None:
    assert of_table("newest row", table)[0] == state


@pytest.mark.parametrize(
    ("table", "state", "words"),
    [
        (last(verified="order"), "good", "proved"),
        (last(verified="no", reason="the list moved"), "bad", "not proved: the list moved"),
        (last(deletions_withheld=12), "bad", "12 deletions withheld"),
        (replace(TABLE, rejected=1), "look", "proved; 1 record kept aside"),
        (replace(TABLE, last=None), "unknown", "never synced"),
    ],
)
def test_whether_a_table_is_complete(table: TableState, state: State, words: str) -> None:
    assert of_table("complete", table) == (state, words)


@pytest.mark.parametrize(
    ("table", "state", "words"),
    [
        (facts(duplicates=Offending(2, ("a", "b"))), "bad", "2 keys more than once"),
        (facts(without_key=1, duplicates=Offending(2)), "bad", "2 keys more than once, 1 rows without a key"),
        (facts(creation=replace(CREATION, missing=Offending(3))), "bad", "3 rows without created_at"),
        (facts(creation=replace(CREATION, in_future=Offending(1))), "look", "1 row from the future"),
        (facts(creation=None), "good", "right"),
        (replace(TABLE, facts=None), "unknown", "there is no table yet"),
    ],
)
def test_whether_keys_and_dates_are_right(table: TableState, state: State, words: str) -> None:
    assert of_table("keys and dates", table) == (state, words)


@pytest.mark.parametrize(
    ("model", "state", "words"),
    [
        (replace(MODEL, rows=None), "look", "not refreshed yet"),
        (replace(MODEL, rows=None, skipped="no text"), "unknown", "skipped: no text"),
        (replace(MODEL, skipped="no text"), "look", "skipped, and as it was before: no text"),
        (replace(MODEL, duplicates=Offending(2)), "bad", "2 rows more than once"),
    ],
)
def test_how_a_model_stands(model: ModelState, state: State, words: str) -> None:
    (found,) = judge(replace(FIGURES, models=(model,))).models
    assert found == Finding("hourly_heatmap", "state", state, words)


@pytest.mark.parametrize(
    ("references", "state", "words"),
    [
        (
            References("users", messages=1, unknown=2, ids=("a", "b\n")),
            "look",
            "1 message of unknown users: a, b",
        ),
        (References("users", messages=7, unknown=6, ids=("a",)), "look", "7 messages of unknown users: a, …"),
        (References("users", skipped="no user_id"), "unknown", "no user_id"),
    ],
)
def test_whether_messages_are_of_known_users(references: References, state: State, words: str) -> None:
    found = judge(replace(FIGURES, references=(references,))).messages[0]
    assert found == Finding("messages", "every message is of a known user", state, words)


@pytest.mark.parametrize(
    ("volume", "state"),
    [
        (replace(VOLUME, messages=70), "good"),
        (replace(VOLUME, messages=69), "look"),
        (replace(VOLUME, usual=None), "unknown"),
        (replace(VOLUME, skipped="no messages"), "unknown"),
    ],
)
def test_whether_as_much_was_written_as_usual(volume: Volume, state: State) -> None:
    found = judge(replace(FIGURES, volume=volume)).messages[-1]
    assert (found.asked, found.state) == ("as many as usual on Mon 11 Mar", state)


@pytest.mark.parametrize(
    ("states", "worst", "words"),
    [
        (["good", "unknown"], "good", "The data is complete, fresh and right as far as it was checked"),
        (["look", "good"], "look", "The data has 1 thing to look at"),
        (["bad", "look", "look"], "bad", "The data has 1 problem and 2 things to look at"),
    ],
)
def test_the_verdict_is_as_good_as_the_worst_finding(states: list[State], worst: State, words: str) -> None:
    findings = Findings((), tuple(Finding("x", "y", state, "z") for state in states), ())
    assert verdict(findings) == (worst, words)


def test_the_moment_of_the_report_is_not_that_of_reading() -> None:
    later = replace(FIGURES, as_of=datetime(2024, 3, 12, 12, 30, tzinfo=UTC))
    assert judge(later).tables[0][0].words == "3 hours ago"
