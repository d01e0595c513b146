"""A sync that finds nothing changed writes no row: what DuckDB stores of the table stays block for block."""

from typing import Any

import pytest

from messaging_assets.warehouse.sync import Mode
from messaging_assets_tests.warehouse.conftest import Platform


def stored(platform: Platform, table: str) -> list[tuple[Any, ...]]:
    """Where each piece of each column lies in the file, how many rows it has and what about them."""
    return platform.query(
        "SELECT row_group_id, column_id, segment_id, start, count, compression, stats, has_updates, "
        f"block_id, block_offset FROM pragma_storage_info('chat.{table}') ORDER BY ALL"
    )


@pytest.mark.parametrize("mode", ["sync", "reconcile"])
def test_nothing_changed_nothing_written(platform: Platform, mode: Mode) -> None:
    platform.sync("messages")
    platform.sandbox.edit("messages", platform.sandbox.ids("messages")[3], name="edited")
    platform.sync("messages", mode="reconcile")
    before = stored(platform, "messages")
    result = platform.sync("messages", mode=mode)
    assert (result.new, result.changed, result.deleted, result.unchanged > 0) == (0, 0, 0, True)
    assert stored(platform, "messages") == before


def test_a_changed_row_is_seen_in_what_is_stored(platform: Platform) -> None:
    """The measure itself: one row of sixty is enough."""
    platform.sync("messages")
    before = stored(platform, "messages")
    platform.sandbox.edit("messages", platform.sandbox.ids("messages")[3], name="edited")
    assert platform.sync("messages", mode="reconcile").changed == 1
    assert stored(platform, "messages") != before
