"""The page: one HTML file that needs nothing else, neither a network nor a script.

Only HTML is made here, of figures that are read and judged elsewhere. Whatever comes from outside, names
above all, is escaped on its way into the page.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from messaging_assets.warehouse.report.charts import COLOURS, Chart
from messaging_assets.warehouse.report.figures import (
    WEEK,
    Activity,
    Channels,
    Figures,
    Missing,
    ModelState,
    Origin,
    Waits,
)
from messaging_assets.warehouse.report.findings import ASKED_OF_TABLES, Finding, Findings, State
from messaging_assets.warehouse.report.summary import first_sentence, tiles, verdict
from messaging_assets.warehouse.report.words import (
    change,
    counted,
    day,
    day_in_full,
    duration,
    number,
    sentence,
    shown,
    weekday,
)

#: Sign and word of each state, which say the same as its colour.
STATES: dict[State, tuple[str, str]] = {
    "good": ("✓", "good"),
    "look": ("!", "look"),
    "bad": ("✗", "bad"),
    "unknown": ("?", "no answer"),
}
#: Nothing may be fetched or run, whatever a name contains.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LONGEST_IDENTIFIER = 120
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_CODE = re.compile(r"`([^`]+)`")

T = TypeVar("T")


def page(figures: Figures, findings: Findings, charts: Sequence[Chart], *, sandbox: bool) -> str:
    """The report as HTML.

    Args:
        figures: The numbers.
        findings: What they say about the data.
        charts: The charts; those that have nothing to show are not among them.
        sandbox: Whether the data is the bundled sandbox's.
    """
    drawn = {chart.name: chart for chart in charts}
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    name = _name(figures.connection.name)
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(shown(figures.connection.name))}, {day_in_full(figures.now.date())}</title>",
            f"<style>\n{css}</style>",
            "</head>",
            "<body>",
            "<main>",
            *_head(figures, findings, sandbox=sandbox),
            *_week(figures, drawn),
            *_data(figures, findings, drawn),
            *_lineage(figures, drawn["lineage"]),
            f'<footer class="small">Made from the tables of {name} by messaging-assets.</footer>',
            "</main>",
            "</body>",
            "</html>",
            "",
        )
    )


# ---- the sections --------------------------------------------------------------------------------


def _head(figures: Figures, findings: Findings, *, sandbox: bool) -> Iterator[str]:
    now = figures.now
    yield "<header>"
    zone = escape(figures.connection.analytics.time_zone)
    yield f'<p class="small">{day_in_full(now.date())}, {now:%H:%M} ({zone})</p>'
    yield f"<h1>The morning page of {_name(figures.connection.name)}</h1>"
    yield f'<p class="first">{escape(first_sentence(figures))}</p>'
    if sandbox:
        yield '<p class="small">These are made-up data of the bundled sandbox: no API is configured.</p>'
    yield "</header>"
    yield from _verdict(findings)
    found = tiles(figures)
    if found:
        yield '<div class="tiles">'
        for tile in found:
            yield (
                f'<div class="tile"><span class="small">{escape(tile.label)}</span>'
                f'<b>{escape(tile.value)}</b><span class="small">{escape(tile.note)}</span></div>'
            )
        yield "</div>"


def _verdict(findings: Findings) -> Iterator[str]:
    state, words = verdict(findings)
    yield f'<div class="verdict {state}" id="verdict"><strong>{STATES[state][0]} {escape(words)}.</strong>'
    troubles = [*findings.of("bad"), *findings.of("look")]
    if troubles:
        yield "<ul>"
        for found in troubles:
            told = f"{found.asked}: {found.words}"
            yield f"<li>{_state(found)}{_name(found.subject)}, {escape(told)}</li>"
        yield "</ul>"
    yield "</div>"


def _week(figures: Figures, drawn: Mapping[str, Chart]) -> Iterator[str]:
    yield '<h2 id="week">The week</h2>'
    yield '<div class="charts">'
    activity, channels, heatmap, waits = figures.activity, figures.channels, figures.heatmap, figures.waits
    yield from _card("activity", "Messages and people, day by day", activity, drawn, _activity_numbers)
    yield from _card("channels", "The busiest channels of the week", channels, drawn, _channel_numbers)
    yield from _card("heatmap", "When people write, over the whole time", heatmap, drawn, _hour_numbers)
    week = "" if isinstance(waits, Missing) else f", week of {day(waits.monday)}"
    title = f"How long a thread waits for its first reply{week}"
    yield from _card("response_times", title, waits, drawn, _wait_numbers)
    yield "</div>"


def _data(figures: Figures, findings: Findings, drawn: Mapping[str, Chart]) -> Iterator[str]:
    yield '<h2 id="data">The data</h2>'
    yield '<div class="charts">'
    yield '<section class="card wide" id="tables"><h3>Is it fresh, complete and right?</h3>'
    heads = ("Table", "Rows", *map(sentence, ASKED_OF_TABLES))
    yield from _table(heads, _table_rows(figures, findings), numbers=(1,), stacked=True)
    yield "</section>"
    yield '<section class="card" id="quality"><h3>Do the messages look right?</h3>'
    answers = [[escape(sentence(found.asked)), _finding(found)] for found in findings.messages]
    yield from _table(("Question", "Answer"), answers, stacked=True)
    yield "</section>"
    history = None if "rows" in drawn else Missing("no table was synced more than once yet")
    yield from _card("rows", "Rows after each sync", history, drawn, lambda _: ())
    yield '<section class="card wide" id="models"><h3>The analytics</h3>'
    models = [
        [_code(state.model.name), "" if state.rows is None else number(state.rows), _finding(found)]
        for state, found in zip(figures.models, findings.models, strict=True)
    ]
    yield from _table(("Table", "Rows", "State"), models, numbers=(1,), stacked=True)
    yield "</section>"
    yield "</div>"


def _table_rows(figures: Figures, findings: Findings) -> Iterator[list[str]]:
    for table, found in zip(figures.tables, findings.tables, strict=True):
        deleted = f" (and {number(table.deleted)} deleted)" if table.deleted else ""
        yield [_code(table.table), f"{number(table.rows)}{deleted}", *map(_finding, found)]


def _lineage(figures: Figures, chart: Chart) -> Iterator[str]:
    yield '<h2 id="lineage">Where the numbers come from</h2>'
    yield f'<section class="card"><h3>{escape(chart.title)}</h3>'
    yield f'<div class="scroll" tabindex="0">{embedded(chart)}</div>'
    yield '<div class="models">'
    for state in figures.models:
        yield from _model(state)
    yield "</div></section>"


def _model(state: ModelState) -> Iterator[str]:
    model = state.model
    yield f"<details><summary>{_code(model.name)}, {counted(len(model.columns), 'column')}</summary>"
    yield from (f'<p class="small">{_marked(part)}</p>' for part in model.description.split("\n\n"))
    rows = [
        [
            _code(column.name),
            f'<span class="small">{escape(column.type)}</span>',
            _marked(column.description),
            "<br>".join(_origin(origin) for origin in state.origins[column.name]),
        ]
        for column in model.columns
    ]
    yield from _table(("Column", "Type", "What it says", "Made of"), rows, stacked=True)
    yield "</details>"


def _origin(origin: Origin) -> str:
    column = _code(f"{origin.table}.{origin.column}")
    if origin.field is None:
        return f'{column} <span class="small">set by the sync</span>'
    if origin.field == origin.column:
        return column
    return f'{column} <span class="small">the API\'s</span> {_code(origin.field)}'


# ---- the numbers behind the charts ---------------------------------------------------------------


def _activity_numbers(figures: Activity) -> Iterator[str]:
    rows = [
        [day(d.day), number(d.messages), number(d.active_users), number(d.new_users)]
        for d in reversed((*figures.days, figures.today))
    ]
    yield from _table(("Day", "Messages", "People", "New people"), rows, numbers=(1, 2, 3))


def _channel_numbers(figures: Channels) -> Iterator[str]:
    rows = [
        [_name(c.name), number(c.messages), number(c.before), change(c.messages, c.before)]
        for c in figures.busiest
    ]
    heads = ("Channel", f"Messages in {WEEK} days", "Before", "Change")
    yield from _table(heads, rows, numbers=(1, 2, 3))


def _hour_numbers(figures: Mapping[tuple[int, int], int]) -> Iterator[str]:
    rows = [
        [f"{hour}:00", *(number(figures.get((of_week, hour), 0)) for of_week in range(1, 8))]
        for hour in range(24)
    ]
    yield from _table(("Hour", *(weekday(n)[:3] for n in range(1, 8))), rows, numbers=range(1, 8))


def _wait_numbers(figures: Waits) -> Iterator[str]:
    yield f'<p class="small">Threads that began in the week of {day(figures.monday)} and were answered.</p>'
    rows = [
        [_name(wait.channel), number(wait.threads), duration(wait.median), duration(wait.p90)]
        for wait in figures.channels
    ]
    yield from _table(("Channel", "Threads", "Half within", "9 of 10 within"), rows, numbers=(1, 2, 3))


# ---- parts ---------------------------------------------------------------------------------------


def _card(
    name: str,
    title: str,
    figures: T | Missing,
    drawn: Mapping[str, Chart],
    numbers: Callable[[T], Iterable[str]],
) -> Iterator[str]:
    """A chart with its title and its numbers, or why there is none."""
    yield f'<section class="card" id="{name}"><h3>{escape(title)}</h3>'
    if isinstance(figures, Missing):
        yield f'<p class="small">Nothing to show: {escape(figures.reason)}.</p>'
    else:
        yield embedded(drawn[name])
        table = list(numbers(figures))
        if table:
            yield '<details><summary>The numbers</summary><div class="scroll">'
            yield from table
            yield "</div></details>"
    yield "</section>"


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = (), stacked: bool = False
) -> Iterator[str]:
    """A table of cells that are HTML already; on a phone, a stacked one shows each row as a list."""
    right = set(numbers)

    def kind(place: int) -> str:
        return ' class="number"' if place in right else ""

    yield f"<table{' class=stack' if stacked else ''}><thead><tr>"
    yield "".join(f'<th scope="col"{kind(n)}>{escape(head)}</th>' for n, head in enumerate(heads))
    yield "</tr></thead><tbody>"
    for first, *others in rows:
        cells = (
            f'<td{kind(n)} data-label="{escape(heads[n])}">{cell}</td>'
            for n, cell in enumerate(others, start=1)
        )
        yield f'<tr><th scope="row">{first}</th>{"".join(cells)}</tr>'
    yield "</tbody></table>"


def _finding(found: Finding) -> str:
    return f"{_state(found)}{escape(found.words)}"


def _state(found: Finding) -> str:
    sign, word = STATES[found.state]
    return f'<span class="state {found.state}">{sign} {word}</span>'


def _name(text: str) -> str:
    """A name that somebody chose; in whichever direction it is written, the text around it stays."""
    return f"<bdi>{escape(shown(text))}</bdi>"


def _code(text: str) -> str:
    """The name of a table, a column or a field."""
    return f"<code>{escape(shown(text, LONGEST_IDENTIFIER))}</code>"


def _marked(text: str) -> str:
    """A text in which backticks mark what is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def embedded(chart: Chart) -> str:
    """A chart as a part of the page, in the colours of the page's roles.

    What matplotlib writes around a drawing goes: names that nothing refers to, style for all elements of
    the document, a description of the file.
    """
    drawing = ElementTree.fromstring(chart.svg())  # noqa: S314 - it was drawn here
    for parent in list(drawing.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    roles = {colour: f"var(--{role})" for role, colour in COLOURS.items()}
    referred = set()
    for element in drawing.iter():
        element.tag = element.tag.removeprefix(_SVG)
        style = element.get("style", "")
        for colour, variable in roles.items():
            style = style.replace(colour, variable)
        if style:
            element.set("style", style)
        referred.update(_REFERENCE.findall(" ".join(element.attrib.values())))
        if _LINK in element.attrib:
            element.set("href", element.attrib.pop(_LINK))
            referred.add(element.attrib["href"].removeprefix("#"))
    for element in drawing.iter():
        if element.get("id") not in referred:
            element.attrib.pop("id", None)
    box = drawing.get("viewBox", "")
    drawing.attrib.clear()
    drawing.attrib.update({"class": "chart", "viewBox": box, "role": "img", "aria-label": chart.title})
    return ElementTree.tostring(drawing, encoding="unicode")
