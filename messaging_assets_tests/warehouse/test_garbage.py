"""Python's garbage collector around a sync."""

import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from messaging_assets.warehouse.garbage import (
    IN_A_BRIEF_PROCESS,
    WHILE_READING,
    brief_process,
    rare_collections,
)


class Ring:
    """An object that reference counting alone does not free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize(
    ("meanwhile", "thresholds"), [(rare_collections, WHILE_READING), (brief_process, IN_A_BRIEF_PROCESS)]
)
def test_the_collector_runs_rarely_meanwhile_and_as_before_afterwards(
    meanwhile: Callable[[], AbstractContextManager[None]], thresholds: tuple[int, int, int]
) -> None:
    before = gc.get_threshold()
    with meanwhile():
        assert gc.get_threshold() == thresholds != before
    assert gc.get_threshold() == before
    with pytest.raises(ValueError, match="sync"), meanwhile():
        raise ValueError("sync")
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() > 0


def test_what_was_there_before_is_left_alone_and_what_comes_later_is_not() -> None:
    with rare_collections():
        assert gc.get_freeze_count() > 0
    ring = weakref.ref(Ring())
    with rare_collections():
        gc.collect()
    assert ring() is None
