"""Lines of progress: what they say, and how often."""

from messaging_assets.api.sweep import SweepProgress
from messaging_assets.warehouse.progress import Progress, Reporter


def test_a_line_with_a_total_says_how_long_it_will_take() -> None:
    line = Progress(rows=2000, pages=20, total=10000, seconds=4.0).line()
    assert line == "2,000 of 10,000 rows, 20 pages, 500 rows/s, about 16 s left"


def test_a_line_without_a_total_does_not() -> None:
    assert Progress(rows=10, pages=1, total=None, seconds=2.0).line() == "10 rows, 1 pages, 5 rows/s"


def test_a_total_that_is_too_small_and_no_time_at_all_make_no_nonsense() -> None:
    assert Progress(rows=20, pages=1, total=10, seconds=1.0).line().endswith("about 0 s left")
    assert Progress(rows=0, pages=0, total=10, seconds=0.0).line() == "0 of 10 rows, 0 pages, 0 rows/s"


def test_it_is_told_at_most_every_few_seconds() -> None:
    seconds = iter([0.0, 1.0, 2.9, 3.0, 4.0, 6.1])
    told: list[Progress] = []
    report = Reporter(told.append, clock=lambda: next(seconds))
    for rows in range(1, 6):
        report(SweepProgress(rows=rows, pages=rows, total=9))
    assert [(progress.rows, progress.seconds) for progress in told] == [(3, 3.0), (5, 6.1)]
