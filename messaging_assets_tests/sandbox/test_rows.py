"""When the rows of the sandbox came to be: by the rhythm of a week, in an order that holds."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from messaging_assets.sandbox import ManualClock, Workspace
from messaging_assets.sandbox.rows import OFFICE_WEEK, Timeline, microseconds

moments = st.integers(-(10**15), 4 * 10**15)
HOUR = 3600 * 10**6
EPOCH = datetime(2026, 3, 29, 12, tzinfo=UTC)


@given(moments, moments)
def test_the_rhythm_keeps_the_order(one: int, other: int) -> None:
    assert (OFFICE_WEEK.bent(one) <= OFFICE_WEEK.bent(other)) or one > other
    # Never further from the even time than the busiest half of a week.
    assert abs(OFFICE_WEEK.bent(one) - one) < 84 * HOUR


@given(moments)
def test_there_and_back(moment: int) -> None:
    assert moment - 20 <= OFFICE_WEEK.bent(OFFICE_WEEK.even(moment)) <= moment


@given(st.integers(1, 10**7), st.integers(0, 10**7), st.integers(1, 32))
def test_rows_and_their_edits_have_one_order(initial: int, number: int, later: int) -> None:
    timeline = office_timeline(initial)
    edited = timeline.touched(number, later, number + later + 1)
    assert edited is not None
    assert timeline.created(number) < edited <= timeline.created(number + (later if number >= initial else 1))


@given(st.integers(0, 10**4), st.integers(0, 10**6))
def test_rows_are_there_from_the_moment_on_at_which_they_were_created(initial: int, grown: int) -> None:
    timeline = office_timeline(initial)
    created = timeline.created(initial + grown)
    assert timeline.count(created) == initial + grown + 1
    assert timeline.count(created - 1) == initial + grown


def office_timeline(initial: int) -> Timeline:
    return Timeline.of(
        initial, epoch=EPOCH, spacing_seconds=60, growth_per_hour=6.0, salt=1, rhythm=OFFICE_WEEK
    )


def test_most_messages_are_written_by_day_and_on_working_days() -> None:
    clock = ManualClock(EPOCH)
    workspace = Workspace(
        messages=0, growth_per_hour=6.0, epoch=EPOCH - timedelta(weeks=4), rhythm=OFFICE_WEEK, clock=clock
    )
    messages = workspace.messages
    count = messages.timeline.count(microseconds(EPOCH))
    assert abs(count - 4 * 7 * 24 * 6) < 10
    written = [datetime.fromisoformat(messages.row(i, count)["created_at"]) for i in range(count)]
    assert written == sorted(written)
    hours = Counter(moment.hour for moment in written)
    assert min(hours[hour] for hour in range(9, 17)) > 3 * max(hours[hour] for hour in range(5))
    days = Counter(moment.weekday() for moment in written)
    assert min(days[day] for day in range(5)) > 2 * max(days[5], days[6])
    assert max(after - before for before, after in pairwise(written)) < timedelta(hours=1)
