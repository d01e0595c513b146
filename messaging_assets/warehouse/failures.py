"""Errors of the libraries as errors of ours, wherever in a sync they come up.

Their own texts can hold values of rows, so none of them is passed on. Errors that a module expects are
turned there (`database`, `location`, `staging`); this is the net below.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
from dlt.common.exceptions import DltException

from messaging_assets.api.errors import MessagingError
from messaging_assets.warehouse.database import explained
from messaging_assets.warehouse.errors import WarehouseError
from messaging_assets.warehouse.location import readable_os_errors


@contextmanager
def typed_failures(database: Path) -> Iterator[None]:
    """Lets errors of ours pass, also those that a library has wrapped, and turns the others into ours.

    Args:
        database: The DuckDB file.

    Raises:
        MessagingError: Whatever went wrong.
    """
    try:
        with readable_os_errors(database):
            yield
    except MessagingError:
        raise
    except duckdb.Error as error:
        raise explained(error, database) from None
    except (DltException, pa.ArrowException, RecursionError, MemoryError, UnicodeError) as error:
        raise own_cause(error) or _unforeseen(error, database) from None


def own_cause(error: BaseException) -> MessagingError | None:
    """The error of ours that a library has wrapped into its own, if there is one."""
    return next((cause for cause in causes(error) if isinstance(cause, MessagingError)), None)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unforeseen(error: BaseException, database: Path) -> WarehouseError:
    kinds = " <- ".join(dict.fromkeys(type(cause).__name__ for cause in causes(error)))
    return WarehouseError(
        f"the sync broke off ({kinds}); the tables are as they were before", where=str(database)
    )
