"""Rows that wait in Parquet files beside the warehouse, until dlt takes the files as they are.

A file holds rows of one schema; a column that comes or a type that widens begins the next one. Finding types
belongs to `spool`, converting values to `columns`.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from messaging_assets.warehouse.columns import ColumnType, widened
from messaging_assets.warehouse.location import readable_os_errors

# The files live for minutes: to write them as they are takes a third of the time of the usual settings.
_AS_THEY_ARE = {"compression": "none", "use_dictionary": False, "write_statistics": False}
# Rows that are converted at once where a type has widened.
BATCH_ROWS = 10_000


@dataclass
class Part:
    """A file.

    Attributes:
        path: The file.
        types: The types of its columns in their order, but for those that every file ends with.
        rows: How many rows it holds.
    """

    path: Path
    types: dict[str, ColumnType]
    rows: int = 0

    def agrees_with(self, types: Mapping[str, ColumnType]) -> bool:
        """Whether it holds columns of these types, in this order."""
        return list(self.types.items()) == list(types.items())


class Parts:
    """Files that are written one after the other.

    Args:
        folder: A folder of the owner's alone.
        parts: Files that are there already.
    """

    def __init__(self, folder: Path, parts: tuple[Part, ...] = ()) -> None:
        self.parts = list(parts)
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        # Arrow writes without Python's lock: rows go to the disk while the next ones are typed.
        self._thread = ThreadPoolExecutor(1, "messaging-spool")
        self._writing: Future[None] | None = None
        self._failure: Exception | None = None

    def write(self, table: pa.Table, types: dict[str, ColumnType]) -> None:
        """Adds rows, which are written while the caller goes on.

        Args:
            table: The rows.
            types: The types of their columns, but for those that every file ends with.

        Raises:
            WarehouseUnusableError: They can't be written, or rows that were added before were not.
        """
        self._wait()
        if self._writer is None or not self.parts[-1].agrees_with(types):
            self._begin(table.schema, types)
        assert self._writer is not None
        self._writing = self._thread.submit(self._writer.write_table, table)
        self.parts[-1].rows += table.num_rows

    def close(self) -> None:
        """Ends the file under way, which can't be read before.

        Raises:
            WarehouseUnusableError: It can't be written, or rows that were added were not.
        """
        self._wait()
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._remembered(self.parts[-1].path):
                writer.close()

    def of_types(self, types: dict[str, ColumnType]) -> Iterator[Part]:
        """All rows, in files with the same columns of the same types.

        Raises:
            WarehouseUnusableError: A file can't be read or written.
        """
        for part in list(self.parts):
            yield part if part.agrees_with(types) else self._converted(part, types)

    def _wait(self) -> None:
        """Waits for the rows under way."""
        if self._failure is not None:
            raise self._failure
        writing, self._writing = self._writing, None
        if writing is not None:
            with self._remembered(self.parts[-1].path):
                writing.result()

    @contextmanager
    def _remembered(self, path: Path) -> Iterator[None]:
        """Remembers a failure: what lacks rows must not pass for whole when it is asked for later."""
        try:
            with readable_os_errors(path):
                yield
        except Exception as failure:
            self._failure = failure
            raise

    def _begin(self, schema: pa.Schema, types: dict[str, ColumnType]) -> None:
        self.close()
        path = self._folder / f"{len(self.parts):06}.parquet"
        with self._remembered(path):
            self._writer = pq.ParquetWriter(path, schema, **_AS_THEY_ARE)
        self.parts.append(Part(path, types))

    def _converted(self, part: Part, types: dict[str, ColumnType]) -> Part:
        path = part.path.with_suffix(".converted.parquet")
        with readable_os_errors(path), pq.ParquetFile(part.path) as held:
            tail = [name for name in held.schema_arrow.names if name not in part.types]
            columns = [pa.field(name, found.arrow) for name, found in types.items()]
            schema = pa.schema([*columns, *(held.schema_arrow.field(name) for name in tail)])
            with pq.ParquetWriter(path, schema, **_AS_THEY_ARE) as writer:
                for batch in held.iter_batches(BATCH_ROWS):
                    values = {name: _values(batch, part, name, found) for name, found in types.items()}
                    values.update({name: batch[name] for name in tail})
                    writer.write_table(pa.table(values, schema))
        return Part(path, types, part.rows)


def _values(batch: pa.RecordBatch, part: Part, name: str, wanted: ColumnType) -> Any:
    if name not in part.types:
        return pa.nulls(batch.num_rows, wanted.arrow)
    return widened(batch[name], wanted, part.types[name])
