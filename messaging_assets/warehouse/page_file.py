"""The file in which the pages of a resource's last sweep are remembered, beside the warehouse.

It holds digests and totals, no content, and is never more than a help: where it is missing, damaged or about
another list, the next sweep parses every page. When a page is recognised belongs to
`messaging_assets.api.page_memory`.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from messaging_assets.api.connection import Resource
from messaging_assets.api.delivery import Delivery
from messaging_assets.api.digests import CONTENT_DIGEST_VERSION, Digests
from messaging_assets.api.page_memory import PageMemory, PageNote
from messaging_assets.warehouse.location import OWNER_ONLY

# The version of the file's shape, and of how pages are decoded.
VERSION = 1
# Pages that are written together: with 100 rows each, 0.4 MB.
PAGES_AT_ONCE = 500
_SCHEMA = pa.schema(
    [
        pa.field("digest", pa.binary(32), nullable=False),
        pa.field("total", pa.int64()),
        pa.field("has_more", pa.bool_()),
        pa.field("follows", pa.bool_(), nullable=False),
        pa.field("contents", pa.list_(pa.field("item", pa.int64(), nullable=False)), nullable=False),
    ]
)
# What is wrong with a file that can't be read or written; there is then nothing to remember.
_TROUBLE = (OSError, pa.ArrowException, ValueError, KeyError)


def basis_of_pages(resource: Resource, address: str) -> str:
    """A digest of all that the memory of a list rests on: what was asked for, and how it is understood.

    Args:
        resource: The resource.
        address: Where its list is.
    """
    asked = [VERSION, CONTENT_DIGEST_VERSION, address, resource.endpoint, resource.primary_key]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()


def read_pages(file: Path, basis: str) -> PageMemory | None:
    """What is remembered, None where there is nothing of use.

    Args:
        file: The file.
        basis: What the memory has to rest on.
    """
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as held:
            metadata = held.metadata.metadata
            if metadata[b"basis"].decode() != basis:
                return None
            return _memory(held, metadata[b"order"].decode())
    except _TROUBLE:
        return None


def _memory(held: pq.ParquetFile, order: str) -> PageMemory:
    digests: list[bytes] = []
    totals: list[int | None] = []
    has_more: list[bool | None] = []
    follows: list[bool] = []
    lengths, contents = [np.zeros(1, dtype=np.int64)], bytearray()
    # By and by into one piece of memory: as a whole the file would be there four times.
    for group in range(held.num_row_groups):
        table = held.read_row_group(group)
        digests += table["digest"].to_pylist()
        totals += table["total"].to_pylist()
        has_more += table["has_more"].to_pylist()
        follows += table["follows"].to_pylist()
        rows = table["contents"].combine_chunks()
        lengths.append(rows.value_lengths().to_numpy())
        contents += rows.flatten().to_numpy().data
    pa.default_memory_pool().release_unused()
    starts = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    return PageMemory(
        order, digests, totals, has_more, follows, starts, np.frombuffer(contents, dtype=np.int64)
    )


class PageFile:
    """Writes what is to be remembered of a sweep, page by page as it is read.

    As long as the pages are those that the file holds already, nothing is written. What can't be written is
    not remembered: the sync is as good without.

    Args:
        file: The file.
        basis: What the memory rests on.
        folder: A folder of the sweep's own on the same disk, for what is not finished.

    Example:
        >>> with PageFile(file, basis, folder) as pages:
        ...     for delivery in sweep:
        ...         pages.add(delivery)
        ...     pages.keep(sweep.progress.order)
    """

    def __init__(self, file: Path, basis: str, folder: Path) -> None:
        self._file = file
        self._basis = basis
        self._unfinished = folder / f"pages-of-{file.name}"
        self._writer: pq.ParquetWriter | None = None
        self._notes: list[PageNote] = []
        self._contents: list[Digests] = []
        # How many pages at the beginning are those that the file holds.
        self._same = 0
        self._is_given_up = False

    def __enter__(self) -> "PageFile":
        """Opens nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(*_TROUBLE):
            self._close()
        with suppress(OSError):
            self._unfinished.unlink(missing_ok=True)

    def add(self, delivery: Delivery) -> None:
        """Takes note of a page."""
        note = delivery.note
        if note is None or self._is_given_up:
            return
        try:
            if self._writer is None and note.entry == self._same:
                self._same += 1
                return
            if self._writer is None:
                self._writer = self._begun()
            self._notes.append(note)
            self._contents.append(delivery.seen_contents)
            if len(self._notes) >= PAGES_AT_ONCE:
                self._flush(self._writer)
        except _TROUBLE:
            self._is_given_up = True

    def keep(self, order: str | None) -> None:
        """Puts what was taken note of in the place of the file.

        Args:
            order: The order that the list showed, in the words of `OrderEvidence.shown`. Without one nothing
                is remembered: pages that follow on each other have to continue something.
        """
        try:
            if order is None:
                self._file.unlink(missing_ok=True)
            elif self._writer is not None and not self._is_given_up:
                self._flush(self._writer)
                self._writer.add_key_value_metadata({"basis": self._basis, "order": order})
                self._close()
                self._unfinished.replace(self._file)
        except _TROUBLE:
            # What is remembered there is as true as before.
            return

    def _begun(self) -> pq.ParquetWriter:
        """A new file, with the pages at the beginning that are those of the old one."""
        self._file.parent.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        writer = pq.ParquetWriter(
            self._unfinished, _SCHEMA, compression="none", use_dictionary=False, write_page_checksum=True
        )
        left = self._same
        if left:
            with pq.ParquetFile(self._file, page_checksum_verification=True) as held:
                for batch in held.iter_batches(PAGES_AT_ONCE):
                    writer.write_batch(batch.slice(0, left))
                    left -= min(left, batch.num_rows)
        return writer

    def _flush(self, writer: pq.ParquetWriter) -> None:
        notes, contents = self._notes, self._contents
        self._notes, self._contents = [], []
        if notes:
            writer.write_table(_table(notes, contents))

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _table(notes: Sequence[PageNote], contents: Sequence[Digests]) -> pa.Table:
    offsets = np.cumsum([0, *map(len, contents)], dtype=np.int32)
    values = pa.ListArray.from_arrays(
        offsets, pa.array(np.concatenate(contents)), type=_SCHEMA.field("contents").type
    )
    columns = [[getattr(note, name) for note in notes] for name in _SCHEMA.names[:4]]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=False)]
    return pa.Table.from_arrays([*arrays, values], schema=_SCHEMA)
