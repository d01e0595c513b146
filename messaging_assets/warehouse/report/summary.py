"""The report in a few words: its first sentence, the numbers at the top, and how the data is."""

from collections.abc import Iterator
from dataclasses import dataclass

from messaging_assets.warehouse.report.figures import WEEK, Activity, Channels, Figures, Missing
from messaging_assets.warehouse.report.findings import Findings, State
from messaging_assets.warehouse.report.words import change, compared, counted, day, number, weekday


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page."""

    label: str
    value: str
    note: str


def first_sentence(figures: Figures) -> str:
    """What happened in the week, for whoever reads nothing else."""
    activity = figures.activity
    if isinstance(activity, Missing):
        return f"There is nothing to show yet: {activity.reason}."
    now, before = (sum(d.messages for d in days) for days in (activity.week, activity.week_before))
    if not now and not before and not activity.today.messages:
        return f"Nobody has written anything in the {2 * WEEK} days up to today."
    people = f" by {counted(activity.people[0], 'person', 'people')}" if activity.people and now else ""
    wrote = f"{counted(now, 'message')} {'was' if now == 1 else 'were'} written{people}"
    return f"In the {WEEK} days up to {day(activity.days[-1].day)}, {wrote}, {compared(now, before)}."


def tiles(figures: Figures) -> list[Tile]:
    """The numbers at the top, as far as there are any."""
    found: list[Tile] = []
    if isinstance(figures.activity, Activity):
        found.extend(_activity_tiles(figures.activity))
    if isinstance(figures.channels, Channels):
        health = ", ".join(f"{number(count)} {status}" for status, count in figures.channels.health.items())
        found.append(Tile("Channels written in", number(figures.channels.active), health or "in the week"))
    if not isinstance(figures.heatmap, Missing):
        (busiest, hour), messages = max(figures.heatmap.items(), key=lambda item: (item[1], item[0]))
        when = f"{weekday(busiest)[:3]} {hour}:00"
        found.append(Tile("Busiest hour", when, f"{counted(messages, 'message')} over the whole time"))
    return found


def _activity_tiles(activity: Activity) -> Iterator[Tile]:
    now, before = (sum(d.messages for d in days) for days in (activity.week, activity.week_before))
    yield Tile("Messages in 7 days", number(now), f"{change(now, before)} on the week before")
    if activity.people:
        note = f"{change(*activity.people)} on the week before"
        yield Tile("People who wrote", number(activity.people[0]), note)
    joined, joined_before = (sum(d.new_users for d in days) for days in (activity.week, activity.week_before))
    yield Tile("New people", number(joined), f"{number(joined_before)} in the week before")
    today = activity.today
    note = f"messages, by {counted(today.active_users, 'person', 'people')}"
    yield Tile("Today so far", number(today.messages), note)


def verdict(findings: Findings) -> tuple[State, str]:
    """How the data is, in one sentence without a full stop."""
    bad, look = (len(findings.of(state)) for state in ("bad", "look"))
    if not bad and not look:
        return "good", "The data is complete, fresh and right as far as it was checked"
    told = [counted(bad, "problem")] if bad else []
    if look:
        told.append(f"{counted(look, 'thing')} to look at")
    return ("bad" if bad else "look"), f"The data has {' and '.join(told)}"
