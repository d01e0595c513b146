"""Whether rows that a sync did not see may be marked as deleted.

A bad day of the source must not empty the warehouse: an answer cut short, a workspace read with the wrong
rights, a filter nobody knows of. Marking itself belongs to `publish`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from messaging_assets.api.proof import Verdict
from messaging_assets.warehouse.spool import Rejected, id_text

# So many rows may go whatever their share: one channel of eight is more than a tenth.
ALWAYS_ALLOWED_ROWS = 5


@dataclass(frozen=True)
class DeletionDecision:
    """Whether to mark, and why not.

    Attributes:
        mark: Whether the missing rows are to be marked.
        withheld: How many rows would vanish and are not marked.
        reason: Why they are not, empty where they are or where there are none.
    """

    mark: bool
    withheld: int = 0
    reason: str = ""


def without_rejected(missing: pa.Table, rejected: Iterable[Rejected]) -> pa.Table:
    """The missing rows but for those whose id has come with another type: seen, though not stored.

    Args:
        missing: The keys of living rows that the sync did not see.
        rejected: The records that it could not store.
    """
    ids = {record.id for record in rejected if record.of_key}
    if not ids or not missing.num_rows:
        return missing
    keys = zip(*(column.to_pylist() for column in missing.columns), strict=True)
    return missing.filter(pa.array([id_text(key) not in ids for key in keys]))


def decide(
    *,
    missing: int,
    held: int,
    seen: int,
    keyless: int,
    resumed: bool,
    verdict: Verdict,
    max_share: float,
    accepted: bool,
) -> DeletionDecision:
    """Applies the rules.

    Args:
        missing: Living rows that were held before the sync and not seen in it.
        held: Living rows that were held before the sync.
        seen: Rows that the source returned.
        keyless: Records without a usable key among them: each may be one of the missing rows.
        resumed: Whether the sweep went on where an earlier run stopped.
        verdict: Whether the sync was complete.
        max_share: The share of the rows held that may vanish in one sync.
        accepted: Whether an operator has accepted the deletions of this sync.
    """
    if not missing:
        return DeletionDecision(mark=False)
    if verdict.verified not in ("full", "order"):
        return DeletionDecision(mark=False)
    if resumed:
        return DeletionDecision(False, 0, "the sweep was resumed; the next one marks")
    if keyless:
        return DeletionDecision(False, missing, f"{keyless} records came without an id and may be among them")
    if accepted:
        return DeletionDecision(mark=True)
    if not seen:
        return DeletionDecision(False, missing, "the source returned nothing at all")
    if missing > max(ALWAYS_ALLOWED_ROWS, max_share * held):
        share = f"{missing} of {held} rows would vanish, more than max_deleted_share ({max_share:.0%}) allows"
        return DeletionDecision(False, missing, share)
    return DeletionDecision(mark=True)
