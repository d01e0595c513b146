"""What a figure comes to: medians, spreads, ratios, and whether something is reached."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Measurement, Target, beyond, shown, spread
from benchmarks.processes import Run
from benchmarks.report import write_results
from benchmarks.scenarios import found_rows, written


def measured(contender: str, *seconds: float) -> Measurement:
    return Measurement("first sync", contender, 1000, seconds)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.5], "1.50"),
        ([3.0, 1.0, 2.5], "2.50 (1.00 to 3.00)"),
        ([1.0, 2.0], "1.50 (1.00 to 2.00)"),
        ([1234.5, 1234.5], "1,234.50 (1,234.50 to 1,234.50)"),
    ],
)
def test_a_spread_is_the_median_and_both_ends(values: list[float], words: str) -> None:
    assert spread(values) == words


def test_one_slow_run_does_not_move_the_median() -> None:
    assert measured("floor", 1.0, 1.1, 60.0).median == 1.1


def test_what_is_given_is_not_counted_against_a_contender() -> None:
    assert beyond(measured("platform", 3.5, 3.5, 9.0), 0.5, measured("floor", 2.0)) == 1.5


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [(1.5, "aim reached"), (1.51, "reached"), (2.0, "reached"), (2.01, "NOT REACHED")],
)
def test_a_figure_that_has_to_be_small(figure: float, verdict: str) -> None:
    assert Target("first sync", figure, 2.0, aim=1.5).verdict == verdict


@pytest.mark.parametrize(("figure", "verdict"), [(9.99, "NOT REACHED"), (10.0, "reached")])
def test_a_figure_that_has_to_be_large(figure: float, verdict: str) -> None:
    assert Target("faster than plain dlt", figure, 10.0, at_least=True).verdict == verdict


def test_what_is_asked_for_is_told_in_words() -> None:
    assert Target("a", 1.0, 2.0, aim=1.5).asked == "at most 2.00 x (aim 1.50 x)"
    assert Target("b", 1.0, 10.0, at_least=True).asked == "at least 10.00 x"
    assert Target("c", 12, 3, unit="requests").asked == "at most 3 requests"
    assert shown(1234.5678, "MB") == "1,235 MB"


def a_run(**counts: int) -> Run:
    kinds = dict.fromkeys(("new", "changed", "deleted", "restored"), 0)
    report = {"resources": {"users": kinds, "messages": kinds | counts}}
    return Run(1.0, 1.0, 100.0, 0.0, report)


def test_rows_written_are_those_of_all_kinds_and_runs() -> None:
    assert written([a_run(), a_run()]) == 0
    assert written([a_run(new=1, deleted=2), a_run(changed=4, restored=8)]) == 15
    assert found_rows(a_run(new=150), "new") == 150


def test_results_say_what_is_not_reached(tmp_path: Path) -> None:
    measurements = [measured("floor", 1.0), measured("platform", 3.0, 2.0), measured("import dlt", 0.5)]
    sizes: dict[str, Any] = {"requests": {"users": 10}, "database_megabytes": 8.5}
    measurements.append(Measurement("growth, reconcile", "platform", 1000, [9.0], **sizes))
    targets = [Target("first sync", 2.5, 2.0, aim=1.5), Target("requests", 3, 3, unit="requests")]
    tables = write_results(tmp_path, measurements, targets, quick=False, runs=2, load=0.5)
    assert "| **NOT REACHED** |" in tables
    assert "| 2.50 (2.00 to 3.00) |" in tables
    assert tables in (tmp_path / "results.md").read_text()
    results = json.loads((tmp_path / "results.json").read_text())
    assert [target["verdict"] for target in results["targets"]] == ["NOT REACHED", "reached"]
    assert results["measurements"][1]["seconds"] == [3.0, 2.0]
    assert not results["quick"]
    plot = (tmp_path / "results.svg").read_text()
    assert ">floor<" in plot
    assert ">reconcile<" in plot
    assert ">import dlt<" not in plot
    write_results(tmp_path, measurements, targets, quick=False, runs=2, load=0.5)
    assert (tmp_path / "results.svg").read_text() == plot


def test_a_quick_run_says_that_its_figures_say_nothing(tmp_path: Path) -> None:
    tables = write_results(tmp_path, [measured("floor", 1.0)], [], quick=True, runs=1, load=0.0)
    assert "its figures say nothing" in tables
