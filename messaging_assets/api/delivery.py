"""What of a page has to be passed on: the rows that differ from those held, and which rows it had.

How a list is read belongs to `sweep` and `paginator`, what becomes of the rows to the warehouse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from messaging_assets.api.digests import Digests, contents_of, keys_there
from messaging_assets.api.page_memory import PageNote
from messaging_assets.api.row_index import Change, RowIndex

# A plain number, with which numpy compares in a quarter of the time.
_DIFFERING = int(Change.CHANGED)


# Not frozen, which makes it cost twice as much: there is one for each page.
@dataclass(slots=True)
class Delivery:
    """A page, compared with what was held.

    Attributes:
        records: New and changed records, in the order of delivery.
        contents: Their content digests.
        keyless: Values without a usable key: not an object, or no id in it.
        seen: All records with a key, those among them that are as they were held. None of a page that was
            recognised.
        seen_contents: The content digests of all rows with a key.
        size: How many bytes `seen` is as JSON.
        plain: Whether orjson can write `seen`: no integer beyond 64 bits, no lone surrogate.
        note: What to remember of the page, if it is to be.
    """

    records: Sequence[dict[str, Any]]
    contents: Digests
    keyless: Sequence[Any]
    seen: Sequence[dict[str, Any]]
    seen_contents: Digests
    size: int
    plain: bool
    note: PageNote | None = None

    @property
    def is_recognised(self) -> bool:
        """Whether the page was not parsed, so that of its rows there are the digests alone."""
        return len(self.seen) < len(self.seen_contents)

    @classmethod
    def of_recognised(cls, note: PageNote, contents: Digests) -> "Delivery":
        """A page that was not parsed, since nothing in it is new."""
        return cls((), contents[:0], (), (), contents, 0, plain=True, note=note)


def compare(
    index: RowIndex, records: Sequence[Any], keys: Sequence[int | None], note: PageNote | None = None
) -> Delivery:
    """Records rows in the index, and keeps those that differ from what it held.

    Args:
        index: The rows held; it is brought up to date.
        records: Records of one page, any JSON values.
        keys: The digest of the key of each, None where it has none.
        note: What to remember of the page, if it is to be.
    """
    keyed = keys_there(keys)
    seen, keyless = records, []
    if len(keyed) < len(keys):
        seen = [record for record, key in zip(records, keys, strict=True) if key is not None]
        keyless = [record for record, key in zip(records, keys, strict=True) if key is None]
    contents = contents_of(seen)
    fresh = np.flatnonzero(index.record(keyed, contents.digests) <= _DIFFERING)
    differing, differing_contents = seen, contents.digests
    if len(fresh) == len(seen) - 1 and fresh[:1].all():
        # Of most pages of a first sync the first row alone was delivered before: a slice is a copy in one go.
        differing, differing_contents = seen[1:], contents.digests[1:]
    elif len(fresh) < len(seen):
        differing = [seen[i] for i in fresh.tolist()]
        differing_contents = contents.digests[fresh]
    return Delivery(
        differing, differing_contents, keyless, seen, contents.digests, contents.size, contents.plain, note
    )
