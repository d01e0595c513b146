"""What a sweep leaves for the next run if it stops midway: the pages read so far, and where it stood.

It lies in the folder of the spool: the changed rows as Parquet (`spool`), the keys and content digests of
all rows seen, and a small file that says how far both are complete and what they rest on. Where to go on
belongs to `messaging_assets.api.sweep`. All of it is readable by the owner alone and gone after a success.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from messaging_assets.api.connection import Resource
from messaging_assets.api.delivery import Delivery
from messaging_assets.api.digests import Digests, key_digest
from messaging_assets.api.page import field_values, parse_json
from messaging_assets.api.reading import Reading
from messaging_assets.api.row_index import RowIndex
from messaging_assets.api.sweep import Checkpoint
from messaging_assets.warehouse.errors import WarehouseError
from messaging_assets.warehouse.location import OWNER_ONLY, readable_os_errors
from messaging_assets.warehouse.spool import Spool

# The most rows between two checkpoints, which bounds the memory for their keys. A checkpoint takes a
# hundredth of the time that reading as many rows takes.
ROWS_BETWEEN_CHECKPOINTS = 200_000
# Rows read longer ago than that are likely to have changed meanwhile.
KEPT_SECONDS = 24 * 3600
STATE = "state.json"
# The version of the files' shape; files of another version are not gone on from.
VERSION = 3


@contextmanager
def spool_folder(folder: Path) -> Iterator[Path]:
    """A folder of the owner's alone, with what an earlier run left to go on from, if it did.

    Afterwards it is gone, unless the run failed and left something to go on from itself.

    Raises:
        WarehouseUnusableError: The folder can't be made.
    """
    with readable_os_errors(folder):
        folder.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        if not (folder / STATE).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def remove_unless_resumable(folder: Path) -> None:
    """Removes the folder of a spool if it has no checkpoint: what a killed run has left is of no use then."""
    if not (folder / STATE).exists():
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Leftover:
    """What an earlier run left.

    Attributes:
        checkpoint: Where its sweep stood.
        spool: The state of its spool.
        seen: The files of the rows that it had seen.
    """

    checkpoint: Checkpoint
    spool: Mapping[str, Any]
    seen: tuple[Path, ...]

    def replay(self, index: RowIndex, spool: Spool, primary_key: tuple[str, ...]) -> None:
        """Brings an index and a spool to where those of the earlier run were.

        Args:
            index: The rows held, with no pass begun. It has one afterwards.
            spool: An empty spool in the folder of the leftover.
            primary_key: The fields that tell rows apart.
        """
        spool.restore(self.spool)
        index.begin_pass()
        # Of pages that were recognised nothing but the contents is kept: they are as the table holds them, so
        # that what other pages said of the same rows counts after them.
        held = [rows["contents"] for rows in self._pages() if "keys" not in rows]
        if held:
            index.see_contents(np.array(list(chain.from_iterable(held)), dtype=np.int64))
        for rows in self._pages():
            if "keys" not in rows:
                continue
            keys = rows["keys"] if len(primary_key) > 1 else ([key] for key in rows["keys"])
            records = (dict(zip(primary_key, key, strict=True)) for key in keys)
            digests = [key_digest(record, primary_key) for record in records]
            index.record([key for key in digests if key is not None], rows["contents"])

    def _pages(self) -> Iterator[dict[str, Any]]:
        for file in self.seen:
            yield from map(parse_json, file.read_bytes().splitlines())


def basis_of(resource: Resource, address: str, content_version: str, rows_held: int) -> str:
    """A digest of all that pages read earlier rest on: what was asked for, and what it was compared with.

    Args:
        resource: The resource.
        address: Where its list is.
        content_version: The version of the table's content.
        rows_held: How many rows the table holds.
    """
    asked = [address, resource.endpoint, resource.primary_key, resource.columns, resource.write_disposition]
    text = json.dumps([VERSION, asked, content_version, rows_held], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def leftover_in(folder: Path, basis: str) -> Leftover | None:
    """What an earlier run left in a folder, if it is whole, young enough and rests on the same.

    Anything else in the folder is removed.

    Raises:
        WarehouseUnusableError: It can't be removed.
    """
    leftover = _read(folder, basis)
    if leftover is None:
        with readable_os_errors(folder):
            for file in folder.iterdir():
                file.unlink()
    return leftover


def _read(folder: Path, basis: str) -> Leftover | None:
    try:
        state = json.loads((folder / STATE).read_text())
        if state["basis"] != basis or not 0 <= time.time() - state["saved_at"] < KEPT_SECONDS:
            return None
        # Where the machine itself went down, files can have been cut short.
        for part in state["spool"]["parts"]:
            pq.read_metadata(folder / part["file"])
        if any((folder / file).stat().st_size != size for file, size in state["seen"].items()):
            return None
        seen = tuple(folder / file for file in state["seen"])
        return Leftover(Checkpoint(**state["checkpoint"]), state["spool"], seen)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


class Checkpoints:
    """Saves now and then how far a reading has come.

    A reading that was never due for a checkpoint leaves nothing: to read it again costs less than what a
    resumed sweep can't say about deletions.

    Args:
        folder: The folder of the spool.
        spool: The spool.
        basis: What the reading rests on.
        primary_key: The fields that tell rows apart.
        seconds: The time between two checkpoints, if there are not so many rows before.
        leftover: What the reading goes on from.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self,
        folder: Path,
        spool: Spool,
        basis: str,
        primary_key: tuple[str, ...],
        *,
        seconds: float,
        leftover: Leftover | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._spool = spool
        self._basis = basis
        self._primary_key = primary_key
        self._seconds = seconds
        self._clock = clock
        self._saved = clock()
        self._files = {file.name: file.stat().st_size for file in leftover.seen} if leftover else {}
        # Of each page a line as it goes to the file: as objects the keys would take ten times the memory.
        self._pages: list[bytes] = []
        # Of each page that was recognised the contents of its rows.
        self._recognised: list[Digests] = []
        self._rows = 0

    def note(self, delivery: Delivery, reading: Reading) -> None:
        """Takes note of a page that the spool has taken, and saves when it is time.

        Raises:
            WarehouseUnusableError: The files can't be written.
        """
        if reading.progress.passes > 1:
            return
        if delivery.is_recognised:
            self._recognised.append(delivery.seen_contents)
        else:
            self._pages.append(_line(delivery.seen_contents, self._keys(delivery.seen)))
        self._rows += len(delivery.seen_contents)
        if self._rows >= ROWS_BETWEEN_CHECKPOINTS or self._clock() - self._saved >= self._seconds:
            self._save(reading)

    def _keys(self, records: Sequence[dict[str, Any]]) -> list[Any]:
        field, *others = self._primary_key
        if others:
            return [[record[name] for name in self._primary_key] for record in records]
        return field_values(records, field)

    def save_last(self, reading: Reading) -> None:
        """Saves what came since the last checkpoint, if the reading was long enough to have had one.

        Called when something has gone wrong, which is what the user is told; a failure to save is not.
        """
        if self._files:
            with suppress(WarehouseError):
                self._save(reading)

    def _save(self, reading: Reading) -> None:
        checkpoint = reading.checkpoint()
        if checkpoint is None:
            return
        with readable_os_errors(self._folder):
            if self._pages or self._recognised:
                self._write_seen()
            state = {
                "basis": self._basis,
                "saved_at": time.time(),
                "seen": self._files,
                "spool": self._spool.save(),
                "checkpoint": asdict(checkpoint),
            }
            unfinished = self._folder / f"{STATE}.new"
            unfinished.write_text(json.dumps(state))
            unfinished.replace(self._folder / STATE)
        self._saved = self._clock()

    def _write_seen(self) -> None:
        name = f"seen-{len(self._files):06}.json"
        if self._recognised:
            self._pages.append(_line(np.concatenate(self._recognised)))
        self._files[name] = (self._folder / name).write_bytes(b"\n".join(self._pages))
        self._pages, self._recognised, self._rows = [], [], 0


def _line(contents: Digests, keys: list[Any] | None = None) -> bytes:
    page: dict[str, Any] = {"contents": contents}
    if keys is not None:
        page["keys"] = keys
    try:
        return orjson.dumps(page, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        # orjson refuses integers beyond 64 bits and lone surrogates.
        return json.dumps({**page, "contents": contents.tolist()}).encode()
