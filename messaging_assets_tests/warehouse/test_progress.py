"""Lines of progress: what they say, and how often."""

import pytest

from messaging_assets.api.sweep import SweepProgress
from messaging_assets.warehouse.progress import Progress, Reporter


def test_a_line_with_a_total_says_how_long_it_will_take() -> None:
    line = Progress(rows=2000, pages=20, total=10000, seconds=4.0).line()
    assert line == "2,000 of 10,000 rows, 20 pages, 500 rows/s, about 80 requests and 16 s left"


def test_a_line_without_a_total_does_not() -> None:
    assert Progress(rows=10, pages=1, total=None, seconds=2.0).line() == "10 rows, 1 page, 5 rows/s"


def test_a_total_that_is_too_small_and_no_time_at_all_make_no_nonsense() -> None:
    line = Progress(rows=20, pages=1, total=10, seconds=1.0).line()
    assert line.endswith("about 0 requests and 0 s left")
    assert Progress(rows=0, pages=0, total=10, seconds=0.0).line() == "0 of 10 rows, 0 pages"


@pytest.mark.parametrize(
    ("rate", "left"),
    [
        (4.0, "about 80 requests and 20 s left at 4 requests/s"),
        (0.25, "about 80 requests and 320 s left at 0.25 requests/s"),
        (12.5, "about 80 requests and 16 s left"),
        (None, "about 80 requests and 16 s left"),
    ],
)
def test_what_is_left_takes_as_long_as_the_rate_limit_says_where_that_is_longer(
    rate: float | None, left: str
) -> None:
    progress = Progress(rows=2000, pages=20, total=10000, seconds=4.0, requests_per_second=rate)
    assert progress.line().endswith(f"500 rows/s, {left}")


def test_rows_that_an_earlier_run_had_read_do_not_count_for_the_speed() -> None:
    line = Progress(rows=6000, pages=20, total=10000, seconds=4.0, resumed=4000).line()
    assert line == "6,000 of 10,000 rows, 20 pages, 500 rows/s, about 40 requests and 8 s left"


def test_it_is_told_at_most_every_few_seconds() -> None:
    seconds = iter([0.0, 1.0, 2.9, 3.0, 4.0, 6.1])
    told: list[Progress] = []
    report = Reporter(told.append, clock=lambda: next(seconds))
    for rows in range(1, 6):
        report(SweepProgress(rows=rows, pages=rows, total=9))
    assert [(progress.rows, progress.seconds) for progress in told] == [(3, 3.0), (5, 6.1)]


def test_the_rate_is_that_of_the_moment_and_a_list_that_is_read_in_part_has_no_end_to_wait_for() -> None:
    seconds, rates = iter([0.0, 10.0, 20.0, 30.0]), iter([8.0, 2.0, None])
    told: list[Progress] = []
    report = Reporter(told.append, clock=lambda: next(seconds), rate=lambda: next(rates))
    report(SweepProgress(rows=100, pages=1, total=900, passes=1, resumed=20))
    report(SweepProgress(rows=200, pages=2, total=900, passes=2, resumed=20))
    report(SweepProgress(rows=300, pages=3, total=900, passes=2, resumed=20), whole=False)
    assert [progress.requests_per_second for progress in told] == [8.0, 2.0, None]
    assert [progress.total for progress in told] == [900, 900, None]
    assert [progress.resumed for progress in told] == [20, 0, 0]


@pytest.mark.parametrize(
    ("rate", "line"),
    [
        (None, "100 of 20,000 rows, 1 page, about 199 requests left"),
        (4.0, "100 of 20,000 rows, 1 page, about 199 requests and 50 s left at 4 requests/s"),
    ],
)
def test_the_first_page_of_a_long_list_tells_how_much_there_is_at_once(rate: float | None, line: str) -> None:
    seconds = iter([0.0, 1.0, 1.5, 2.0])
    told: list[Progress] = []
    report = Reporter(told.append, clock=lambda: next(seconds), rate=lambda: rate)
    for page in (1, 2, 3):
        report(SweepProgress(rows=100 * page, pages=page, total=20_000, passes=1))
    assert [progress.line() for progress in told] == [line]


@pytest.mark.parametrize(("total", "whole"), [(900, True), (None, True), (20_000, False)])
def test_a_short_list_and_one_that_is_read_in_part_are_not_told_about_before_a_while(
    total: int | None, whole: bool
) -> None:
    report = Reporter(lambda progress: pytest.fail(progress.line()), clock=lambda: 0.0)
    report(SweepProgress(rows=100, pages=1, total=total, passes=1), whole=whole)
