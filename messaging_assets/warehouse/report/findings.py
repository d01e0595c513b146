"""Whether the data is right: the numbers judged, each in a few words.

The limits are those of the checks, so that the page and the UI say the same. Counting is done in
`figures`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from messaging_assets.api.connection import Freshness
from messaging_assets.api.proof import is_proof
from messaging_assets.warehouse.analytics.quality import References, Volume
from messaging_assets.warehouse.quality import Offending
from messaging_assets.warehouse.report.figures import Figures, ModelState, TableState
from messaging_assets.warehouse.report.words import age, counted, day, number, shown

State = Literal["good", "look", "bad", "unknown"]

#: The table whose newest row tells how old the data is.
MESSAGES = "messages"
#: What is asked of each raw table.
ASKED_OF_TABLES = ("last sync", "newest row", "complete", "keys and dates")


@dataclass(frozen=True)
class Finding:
    """What is to be said about something.

    Attributes:
        subject: What it is about: a table, a model, the messages of a day.
        asked: What was asked.
        state: How it is; `unknown` where nobody can say.
        words: The answer, in a few words, without a full stop.
    """

    subject: str
    asked: str
    state: State
    words: str


@dataclass(frozen=True)
class Findings:
    """All that was found.

    Attributes:
        tables: Of each raw table, in the order of the questions.
        models: Of each model one.
        messages: Of the messages as a whole.
    """

    tables: tuple[tuple[Finding, ...], ...]
    models: tuple[Finding, ...]
    messages: tuple[Finding, ...]

    def all(self) -> Iterator[Finding]:
        """All of them, one after the other."""
        for table in self.tables:
            yield from table
        yield from self.models
        yield from self.messages

    def of(self, state: State) -> list[Finding]:
        """Those in a state."""
        return [finding for finding in self.all() if finding.state == state]


def judge(figures: Figures) -> Findings:
    """Judges the data of a report."""
    limits, now = figures.connection.freshness, figures.as_of
    return Findings(
        tables=tuple(tuple(_table(table, limits, now)) for table in figures.tables),
        models=tuple(_model(state) for state in figures.models),
        messages=(*(_references(found) for found in figures.references), _volume(figures.volume)),
    )


def _table(table: TableState, limits: Freshness, now: datetime) -> Iterator[Finding]:
    answers = (_synced(table, limits, now), _newest(table, limits, now), _complete(table), _rows(table))
    for asked, (state, words) in zip(ASKED_OF_TABLES, answers, strict=True):
        yield Finding(table.table, asked, state, words)


def _synced(table: TableState, limits: Freshness, now: datetime) -> tuple[State, str]:
    if table.failed is not None:
        return "bad", f"the last sync failed: {table.failed}"
    if table.last is None:
        return "bad", "never synced"
    told = age(table.last.ended_at, now)
    return _by_age(now - table.last.ended_at, limits.warn_after_hours, limits.fail_after_hours), told


def _newest(table: TableState, limits: Freshness, now: datetime) -> tuple[State, str]:
    newest = table.facts.creation.newest if table.facts and table.facts.creation else None
    if newest is None:
        return "unknown", "no row yet"
    # Of users and channels, old rows are no sign of anything.
    state: State = "good"
    if table.table == MESSAGES:
        state = _by_age(now - newest, limits.data_warn_after_hours, limits.data_fail_after_hours)
    return state, age(newest, now)


def _by_age(passed: timedelta, warn_hours: float, fail_hours: float) -> State:
    if passed > timedelta(hours=fail_hours):
        return "bad"
    return "look" if passed > timedelta(hours=warn_hours) else "good"


def _complete(table: TableState) -> tuple[State, str]:
    if table.last is None:
        return "unknown", "never synced"
    if not is_proof(table.last.verified):
        return "bad", f"not proved: {table.last.reason}"
    if table.last.deletions_withheld:
        return "bad", f"{counted(table.last.deletions_withheld, 'deletion')} withheld"
    if table.rejected:
        return "look", f"proved; {counted(table.rejected, 'record')} kept aside"
    return "good", "proved"


def _rows(table: TableState) -> tuple[State, str]:
    facts = table.facts
    if facts is None:
        return "unknown", "there is no table yet"
    none = Offending(0)
    missing, future = (facts.creation.missing, facts.creation.in_future) if facts.creation else (none, none)
    bad = [
        f"{number(count)} {words}"
        for count, words in (
            (facts.duplicates.count, "keys more than once"),
            (facts.without_key, "rows without a key"),
            (missing.count, "rows without created_at"),
        )
        if count
    ]
    if bad:
        return "bad", ", ".join(bad)
    if future.count:
        return "look", f"{counted(future.count, 'row')} from the future"
    return "good", "right"


def _model(state: ModelState) -> Finding:
    def found(how: State, words: str) -> Finding:
        return Finding(state.model.name, "state", how, words)

    if state.skipped is not None and state.rows is None:
        return found("unknown", f"skipped: {state.skipped}")
    if state.skipped is not None:
        return found("look", f"skipped, and as it was before: {state.skipped}")
    if state.rows is None:
        return found("look", "not refreshed yet")
    if state.duplicates.count:
        return found("bad", f"{counted(state.duplicates.count, 'row')} more than once")
    return found("good", "refreshed")


def _references(found: References) -> Finding:
    asked = f"every message is of a known {found.table.removesuffix('s')}"
    if found.skipped is not None:
        return Finding(MESSAGES, asked, "unknown", found.skipped)
    if found.messages:
        named = ", ".join(map(shown, found.ids))
        more = ", …" if found.unknown > len(found.ids) else ""
        told = f"{counted(found.messages, 'message')} of unknown {found.table}: {named}{more}"
        return Finding(MESSAGES, asked, "look", told)
    return Finding(MESSAGES, asked, "good", "yes")


def _volume(found: Volume) -> Finding:
    asked = f"as many as usual on {day(found.day)}"
    if found.skipped is not None:
        return Finding(MESSAGES, asked, "unknown", found.skipped)
    if found.usual is None:
        told = f"{number(found.messages)}; too few weeks to say what is usual"
        return Finding(MESSAGES, asked, "unknown", told)
    lowest, highest = found.usual
    told = f"{number(found.messages)}; usual on this weekday: {number(lowest)} to {number(highest)}"
    return Finding(MESSAGES, asked, "good" if found.is_usual else "look", told)
