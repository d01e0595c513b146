"""Python's garbage collector while rows are read: each page makes thousands of objects, none in a cycle.

Left to itself the collector walks all that was ever imported again and again, which takes a fifth of the
time of a first sync (measured: 3.1 instead of 3.9 s of CPU for 100,000 messages), and once more when the
process ends, which takes a quarter of a second.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# Objects before the youngest are looked at, and how often that happens before older ones are. Reference
# counting frees what a page leaves; the collector is there for what libraries leave in cycles.
WHILE_READING = (100_000, 50, 100)
# Importing makes hundreds of thousands of objects that stay: to look at them takes 45 ms with dlt alone.
IN_A_BRIEF_PROCESS = (1_000_000, 50, 100)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Has the collector run rarely meanwhile, and leave alone for good what was there before the first time.

    That is what was imported, and stays until the process ends anyway.
    """
    _leave_alone_what_is_there()
    with _thresholds(WHILE_READING):
        yield


@contextmanager
def brief_process() -> Iterator[None]:
    """For all that a process does which ends afterwards, imports included.

    To import Dagster and dlt and to end takes a tenth less of the time of a sync with nothing new (measured:
    4.1 instead of 4.5 s).
    """
    with _thresholds(IN_A_BRIEF_PROCESS):
        try:
            yield
        finally:
            _leave_alone_what_is_there()


@contextmanager
def _thresholds(thresholds: tuple[int, int, int]) -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*thresholds)
    try:
        yield
    finally:
        gc.set_threshold(*before)


# To ask the collector whether it was done takes as long as a walk: it counts what it leaves alone.
@cache
def _leave_alone_what_is_there() -> None:
    gc.freeze()
