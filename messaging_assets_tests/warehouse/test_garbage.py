"""Python's garbage collector around a sync."""

import gc
import weakref

import pytest

from messaging_assets.warehouse.garbage import THRESHOLDS, rare_collections


class Ring:
    """An object that reference counting alone does not free."""

    def __init__(self) -> None:
        self.itself = self


def test_the_collector_runs_rarely_meanwhile_and_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold() == THRESHOLDS != before
    assert gc.get_threshold() == before
    with pytest.raises(ValueError, match="sync"), rare_collections():
        raise ValueError("sync")
    assert gc.get_threshold() == before


def test_what_was_there_before_is_left_alone_and_what_comes_later_is_not() -> None:
    with rare_collections():
        assert gc.get_freeze_count() > 0
    ring = weakref.ref(Ring())
    with rare_collections():
        gc.collect()
    assert ring() is None
