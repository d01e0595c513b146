"""Where things lie: the DuckDB file and, beside it, what works on it. All readable by the owner alone.

Which file it is belongs to configuration (`messaging_assets.api.settings`).
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from messaging_assets.warehouse.errors import WarehouseUnusableError

OWNER_ONLY = 0o700


@dataclass(frozen=True)
class WarehouseLocation:
    """A DuckDB file and the working folder beside it.

    Args:
        database: The DuckDB file. It need not exist.

    Example:
        >>> WarehouseLocation(Path("/data/messaging.duckdb")).work
        PosixPath('/data/messaging.duckdb.work')
    """

    database: Path

    @property
    def work(self) -> Path:
        """The working folder: locks, spools and dlt's own folders."""
        return self.database.with_name(f"{self.database.name}.work")

    def lock(self, connection: str) -> Path:
        """The file that one sync of a connection at a time locks."""
        return self.work / "locks" / f"{connection}.lock"

    def connections(self) -> list[str]:
        """The connections that were ever synced into the file."""
        return sorted(path.stem for path in (self.work / "locks").glob("*.lock"))

    def spool(self, connection: str, resource: str) -> Path:
        """The folder of the rows on their way to staging."""
        return self.work / "spool" / connection / resource

    def pages(self, connection: str, resource: str) -> Path:
        """The file in which the pages of a resource's last sweep are remembered."""
        return self.work / "pages" / connection / f"{resource}.parquet"

    def pipelines(self, connection: str, resource: str) -> Path:
        """The folder in which the dlt pipeline of a resource works."""
        return self.work / "dlt" / connection / resource

    def prepare(self) -> None:
        """Makes the folders.

        Raises:
            WarehouseUnusableError: A folder can't be made.
        """
        with readable_os_errors(self.database.parent), owner_only_files():
            (self.work / "locks").mkdir(parents=True, exist_ok=True)
            self.work.chmod(OWNER_ONLY)


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """An empty folder of the owner's alone, gone afterwards with all that is in it.

    Raises:
        WarehouseUnusableError: The folder can't be made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with readable_os_errors(folder):
        folder.mkdir(mode=OWNER_ONLY, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def readable_os_errors(place: Path) -> Iterator[None]:
    """Turns what the operating system refuses into an error that says what to do about it.

    Raises:
        WarehouseUnusableError: Something can't be written.
    """
    try:
        yield
    except OSError as error:
        raise WarehouseUnusableError(
            f"the warehouse's folder can't be written: {error.strerror or type(error).__name__}",
            where=str(place),
            remedy="free some disk space or make the folder writable, or name another file "
            "(destination.duckdb.credentials)",
        ) from None


@contextmanager
def owner_only_files() -> Iterator[None]:
    """Files made meanwhile, DuckDB's write-ahead log among them, are readable by their owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
