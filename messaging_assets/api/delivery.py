"""What of a page has to be passed on: the rows that differ from those held, and which rows it had.

How a list is read belongs to `sweep` and `paginator`, what becomes of the rows to the warehouse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from messaging_assets.api.digests import content_digest
from messaging_assets.api.row_index import Change, RowIndex


@dataclass(frozen=True, slots=True)
class Delivery:
    """A page, compared with what was held.

    Attributes:
        records: New and changed records, in the order of delivery.
        contents: Their content digests.
        keyless: Values without a usable key: not an object, or no id in it.
        seen: All records with a key, those among them that are as they were held.
        seen_contents: Their content digests.
    """

    records: list[dict[str, Any]]
    contents: list[int]
    keyless: list[Any]
    seen: list[dict[str, Any]]
    seen_contents: list[int]


def compare(index: RowIndex, records: Sequence[Any], keys: Sequence[int | None]) -> Delivery:
    """Records rows in the index, and keeps those that differ from what it held.

    Args:
        index: The rows held; it is brought up to date.
        records: Records of one page, any JSON values.
        keys: The digest of the key of each, None where it has none.
    """
    keyed = [(record, key) for record, key in zip(records, keys, strict=True) if key is not None]
    contents = [content_digest(record) for record, _ in keyed]
    changes = index.record([key for _, key in keyed], contents)
    fresh = [i for i, change in enumerate(changes) if change in (Change.NEW, Change.CHANGED)]
    return Delivery(
        records=[keyed[i][0] for i in fresh],
        contents=[contents[i] for i in fresh],
        keyless=[record for record, key in zip(records, keys, strict=True) if key is None],
        seen=[record for record, _ in keyed],
        seen_contents=contents,
    )
