"""The pictures: that they can be drawn whatever the figures are, that they are small, and always the same."""

import io
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from PIL import Image

from messaging_assets.warehouse.report.charts import (
    COLOURS,
    DOTS_PER_INCH,
    Chart,
    activity_chart,
    channels_chart,
    heatmap_chart,
    rows_chart,
    waits_chart,
)
from messaging_assets.warehouse.report.figures import (
    Activity,
    Channels,
    ChannelWeek,
    Day,
    Missing,
    Wait,
    Waits,
)
from messaging_assets.warehouse.report.findings import judge
from messaging_assets.warehouse.report.graph import lineage_chart
from messaging_assets.warehouse.report.page import embedded
from messaging_assets.warehouse.report.preview import DOTS_PER_INCH as PREVIEW_DOTS
from messaging_assets.warehouse.report.preview import preview_chart
from messaging_assets_tests.warehouse.report.conftest import FORMULA, NOW, SCRIPT
from messaging_assets_tests.warehouse.report.test_findings import FIGURES, MODEL, TABLE

# A warning says that something could not be drawn as it was meant.
pytestmark = pytest.mark.filterwarnings("error")

DAYS = tuple(Day(NOW.date() - timedelta(days=28 - n), n * 10, n, 1) for n in range(28))
ACTIVITY = Activity(DAYS, Day(NOW.date(), 3, 2), (12, 10))
CHANNELS = Channels((ChannelWeek("general", 100, 90), ChannelWeek(SCRIPT, 50, 0)), 2, {"busy": 2})
HEATMAP = {(1, 9): 10, (7, 23): 1}
WAITS = Waits(NOW.date(), (Wait("general", 4, 60.0, 3600.0), Wait(FORMULA, 1, 0.0, 0.0)))
SYNCED = replace(TABLE, history=((NOW - timedelta(days=1), 10), (NOW, 12)))
UTC_ZONE = ZoneInfo("UTC")
ODD_NAMES = ("", "$x^{2", "\\", "<&>\"'", "日本語", "\u202e", "\x00\x08", "😀" * 40, "W" * 400, "{}", "%s")


def charts() -> list[Chart]:
    return [
        activity_chart(ACTIVITY),
        channels_chart(CHANNELS),
        heatmap_chart(HEATMAP),
        waits_chart(WAITS),
        rows_chart([SYNCED], UTC_ZONE),
        lineage_chart([TABLE], [MODEL]),
    ]


def named(chart: Chart) -> str:
    return chart.name


def size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def texts(svg: str) -> Iterator[str]:
    for element in ElementTree.fromstring(svg).iter():
        if element.tag.endswith("text"):
            yield "".join(element.itertext()).strip()


@pytest.mark.parametrize("chart", charts(), ids=named)
def test_a_chart_is_a_picture_of_the_size_it_says(chart: Chart) -> None:
    width, height = size(chart.png())
    assert width == pytest.approx(chart.width * DOTS_PER_INCH, abs=1)
    assert height == pytest.approx(chart.height * DOTS_PER_INCH, abs=1)


@pytest.mark.parametrize("chart", charts(), ids=named)
def test_the_same_figures_make_the_same_picture(chart: Chart) -> None:
    assert chart.png(50) == chart.png(50)
    assert chart.svg() == chart.svg()


@pytest.mark.parametrize("chart", charts(), ids=named)
def test_on_a_page_a_chart_has_the_colours_of_the_page(chart: Chart) -> None:
    drawn = embedded(chart)
    assert "var(--" in drawn
    assert "#" not in drawn.replace("url(#", "").replace('href="#', "")
    assert set(COLOURS.values()) & set(drawn.split('"')) == set()


@pytest.mark.parametrize("chart", charts(), ids=named)
def test_on_a_page_a_chart_brings_nothing_that_reaches_beyond_it(chart: Chart) -> None:
    drawing = ElementTree.fromstring(embedded(chart))
    assert drawing.attrib.keys() == {"class", "viewBox", "role", "aria-label"}
    elements = list(drawing.iter())
    assert not {"style", "metadata", "script", "image"} & {element.tag for element in elements}
    identities = [element.get("id") for element in elements if element.get("id")]
    assert len(identities) == len(set(identities))
    assert "http" not in embedded(chart)


def test_two_charts_on_a_page_refer_each_to_its_own_parts() -> None:
    identities = [
        element.get("id")
        for chart in charts()
        for element in ElementTree.fromstring(embedded(chart)).iter()
        if element.get("id")
    ]
    assert len(identities) == len(set(identities)) > len(charts())


def test_even_two_charts_that_look_the_same_do() -> None:
    chart = channels_chart(CHANNELS)
    one, other = (
        {element.get("id") for element in ElementTree.fromstring(embedded(drawn)).iter()} - {None}
        for drawn in (chart, replace(chart, name="other"))
    )
    assert one
    assert not one & other


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_can_be_drawn(name: str) -> None:
    channels = channels_chart(Channels((ChannelWeek(name, 1, 1),), 1, {}))
    waits = waits_chart(Waits(NOW.date(), (Wait(name, 1, 1.0, 2.0),)))
    tables = rows_chart([replace(SYNCED, table=name)], UTC_ZONE)
    for chart in (channels, waits, tables, lineage_chart([replace(TABLE, endpoint=name)], [MODEL])):
        size(chart.png(30))
        ElementTree.fromstring(embedded(chart))


def test_names_are_shown_as_they_are_and_not_as_formulas() -> None:
    assert "a $\\frac{1}{2$ & \"b\" 'c'" in list(texts(waits_chart(WAITS).svg()))
    assert SCRIPT in list(texts(channels_chart(CHANNELS).svg()))
    assert "<script" not in channels_chart(CHANNELS).svg()


def test_the_channels_show_their_number_and_its_change() -> None:
    assert {"general", "100 (+11 %)", "50 (new)"} <= set(texts(channels_chart(CHANNELS).svg()))


def test_the_busiest_hour_is_the_darkest_and_no_hour_without_messages_has_a_shade() -> None:
    drawn = embedded(heatmap_chart(HEATMAP))
    shades = {f"heat{n}": drawn.count(f"var(--heat{n})") for n in range(6)}
    scale = 1
    assert shades == {
        "heat0": 166 + scale,
        "heat1": 1 + scale,
        "heat2": scale,
        "heat3": scale,
        "heat4": scale,
        "heat5": 1 + scale,
    }
    assert {"none", "up to 10 messages"} <= set(texts(heatmap_chart(HEATMAP).svg()))


def test_an_answer_within_the_second_has_its_place() -> None:
    shown = set(texts(waits_chart(Waits(NOW.date(), (Wait("a", 1, 0.0, 0.0),))).svg()))
    assert {"a", "1 s"} <= shown


def test_rows_that_never_changed_can_be_drawn() -> None:
    still = replace(SYNCED, history=((NOW - timedelta(hours=1), 0), (NOW, 0)))
    assert "messages: 0 rows (+0 since Tue 12 Mar)" in set(texts(rows_chart([still], UTC_ZONE).svg()))


def test_moments_are_those_of_the_time_zone() -> None:
    shown = set(texts(rows_chart([SYNCED], ZoneInfo("Asia/Tokyo")).svg()))
    assert {"Mon 11 Mar, 18:00", "Tue 12 Mar, 18:00"} <= shown


def test_the_graph_leads_from_each_endpoint_to_the_models_that_read_it() -> None:
    users = replace(TABLE, resource="users", endpoint="/v1/users", table="users")
    skipped = replace(MODEL, skipped="no messages")
    svg = lineage_chart([users, TABLE], [MODEL, skipped]).svg()
    shown = ["/v1/users", "/v1/messages", "users", "messages", "hourly_heatmap", "hourly_heatmap (skipped)"]
    assert set(shown) <= set(texts(svg))
    # Two from the endpoints, and two into the models, of which one is broken: users flow into neither.
    lines = [element for element in ElementTree.fromstring(svg).iter() if " C " in element.get("d", "")]
    curves = [line for line in lines if "fill: none" in line.get("style", "")]
    assert len(curves) == 4
    assert sum("stroke-dasharray" in curve.get("style", "") for curve in curves) == 1


def test_the_preview_is_small_enough_for_an_event() -> None:
    figures = replace(FIGURES, activity=ACTIVITY, channels=CHANNELS, heatmap=HEATMAP)
    png = preview_chart(figures, judge(figures)).png(PREVIEW_DOTS)
    assert size(png)[0] > 1000
    assert len(png) < 45_000


def test_the_preview_says_what_the_week_was_or_that_there_is_nothing() -> None:
    figures = replace(FIGURES, activity=ACTIVITY, channels=CHANNELS, heatmap=HEATMAP)
    shown = set(texts(preview_chart(figures, judge(figures)).svg()))
    assert {"Messages in 7 days", "1,680", "general", "Mon", "People who wrote"} <= shown
    assert "✓  The data is complete, fresh and right as far as it was checked" in shown
    nothing = set(texts(preview_chart(FIGURES, judge(FIGURES)).svg()))
    assert "There is nothing to show yet: nothing." in nothing
    parts = replace(figures, channels=Missing("no"), heatmap=Missing("no"))
    assert {"no channels to show", "no hours to show"} <= set(texts(preview_chart(parts, judge(parts)).svg()))


def test_each_chart_of_the_preview_says_what_it_shows() -> None:
    figures = replace(FIGURES, activity=ACTIVITY, channels=CHANNELS, heatmap=HEATMAP)
    shown = set(texts(preview_chart(figures, judge(figures)).svg()))
    titles = {channels_chart(CHANNELS).title, heatmap_chart(HEATMAP).title}
    assert titles | {"People who wrote", "up to 10 messages"} <= shown
    assert "Messages (strong: the last 7 days, dotted: today)" in shown


def test_a_user_s_own_style_of_matplotlib_changes_nothing() -> None:
    import matplotlib

    plain = channels_chart(CHANNELS).png(50)
    with matplotlib.rc_context({"axes.grid": True, "font.size": 30, "hatch.color": "red"}):
        assert channels_chart(CHANNELS).png(50) == plain


def test_importing_draws_nothing_and_loads_no_drawing_library() -> None:
    script = (
        "import sys\n"
        "import messaging_assets.warehouse.report.write\n"
        "assert not {'matplotlib', 'PIL'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
