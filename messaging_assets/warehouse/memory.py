"""How much memory and how many threads DuckDB may take, and where it puts what does not fit.

By itself it takes four fifths of the machine's memory and a thread for each core. What dlt stages beside the
file shares the limit. Used where the file is opened, in `database`.
"""

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from messaging_assets.warehouse.location import OWNER_ONLY, WarehouseLocation

# A million rows are merged within this in the same time as without a limit.
MEMORY_LIMIT = "96MB"
# Each thread holds rows of its own, and a merge is no faster with more of them.
MAX_THREADS = 4

T = TypeVar("T")


def duckdb_settings(path: Path, memory: str | None) -> dict[str, Any]:
    """The settings for one opening of a file; what is spilled goes into a folder of its own beside it.

    Args:
        path: The DuckDB file.
        memory: The most memory to take, in DuckDB's words; None for what it takes by itself.
    """
    spill = spill_folder(path)
    with contextlib.suppress(OSError):
        spill.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        # DuckDB makes it at need and removes it at the end.
        "temp_directory": str(spill / uuid.uuid4().hex),
        "threads": min(MAX_THREADS, os.cpu_count() or 1),
        # Tables have no order of their own. To keep the one of a file takes the memory that lets threads work
        # side by side, and a third of the time of a first load.
        "preserve_insertion_order": False,
    }
    if memory is not None:
        settings["memory_limit"] = memory
    return settings


def spill_folder(path: Path) -> Path:
    """Where DuckDB puts what does not fit into memory: beside the file, not where the process runs."""
    return WarehouseLocation(path).work / "spill"


def with_enough_memory(action: Callable[[str | None], T]) -> T:
    """Runs an action within the limit, and once more without one where the rows are too large for it.

    DuckDB works on 2,048 rows at once and can't spill these, so that rows of 50 KB need more.

    Args:
        action: What is done with the file; takes the limit. It has changed nothing when it fails.
    """
    try:
        return action(MEMORY_LIMIT)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return action(None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that DuckDB may not take as much memory as it needs."""
    return isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory Error" in str(error)
