"""The account of one sync: begun with it, and at its end a line of the ledger.

What the next sync may rely on is decided here as well. Writing the line belongs to `ledger`.
"""

import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from messaging_assets.api.connection import Resource
from messaging_assets.api.filter import Cursor
from messaging_assets.api.proof import Verdict, is_proof
from messaging_assets.api.reading import Reading
from messaging_assets.api.usage import Usage
from messaging_assets.warehouse.deletions import DeletionDecision
from messaging_assets.warehouse.held import Held
from messaging_assets.warehouse.ledger import LedgerEntry
from messaging_assets.warehouse.order import is_orderable
from messaging_assets.warehouse.publish import Published
from messaging_assets.warehouse.spool import Spool
from messaging_assets.warehouse.table import Column


@dataclass(frozen=True)
class Intake:
    """What was read of a resource.

    Attributes:
        held: What the table held before.
        reading: The reading, at its end.
        spool: The rows that differ, and the records that can't be stored.
        cursor: How far the rows reach, for an API that filters.
    """

    held: Held
    reading: Reading
    spool: Spool
    cursor: Cursor

    @property
    def verdict(self) -> Verdict:
        """Whether the reading is proved to be complete."""
        verdict = self.reading.progress.verdict
        assert verdict is not None
        return verdict


@dataclass(frozen=True)
class TableState:
    """A table after a sync.

    Attributes:
        columns: Its columns.
        rows: Its living rows.
        newest: The newest created_at among them.
    """

    columns: tuple[Column, ...]
    rows: int
    newest: datetime | None


class Account:
    """Counts from the beginning of a sync on.

    Args:
        resource: The resource.
        mode: How it is synced.
        run_id: The run that asked for it.
        usage: What the resource has used of the API so far; it goes on counting.
    """

    def __init__(self, resource: Resource, mode: str, run_id: str, usage: Usage) -> None:
        self.started = datetime.now(UTC)
        self.notes: list[str] = []
        self._clock = time.monotonic()
        self._resource = resource
        self._mode = mode
        self._run_id = run_id
        self._usage = usage
        self._before = (usage.requests, usage.retries, usage.bytes_received)

    @property
    def seconds(self) -> float:
        """How long the sync has taken so far."""
        return time.monotonic() - self._clock

    def failed(self, what: str) -> LedgerEntry:
        """The line of a sync that failed."""
        return replace(self._entry(), reason="the sync failed", error=what)

    def closed(
        self, intake: Intake, published: Published, decision: DeletionDecision, table: TableState
    ) -> LedgerEntry:
        """The line of a sync that ended.

        Args:
            intake: What was read.
            published: What was written.
            decision: What was decided about deletions.
            table: The table as it is now.
        """
        progress, held, rejected = intake.reading.progress, intake.held, intake.spool.rejected
        written = published.new + published.changed + published.restored
        is_same = bool(held.content_version) and not written + published.deleted
        set_aside = len({record.id for record in rejected if record.id is not None})
        entry = replace(
            self._entry(),
            pages=progress.pages,
            rows_alive=table.rows,
            rows_seen=intake.reading.index.seen,
            rows_new=published.new,
            rows_changed=published.changed,
            rows_unchanged=max(0, intake.reading.index.seen - written - set_aside),
            rows_deleted=published.deleted,
            rows_restored=published.restored,
            rows_rejected=len(rejected),
            deletions_withheld=decision.withheld,
            api_total=progress.total,
            drift_repaired=progress.drift_repaired,
            verified=intake.verdict.verified,
            reason="; ".join([*_reasons(intake, decision), *self.notes]),
            content_version=held.content_version if is_same else self.started.isoformat(),
            columns=table.columns,
            newest_created_at=table.newest,
            page_size=max(progress.page_size, held.page_size) or None,
            cursor=self._cursor_reached(intake),
        )
        return replace(entry, list_order=self._known_order(intake, entry))

    def _entry(self) -> LedgerEntry:
        requests, retries, bytes_received = self._before
        return LedgerEntry(
            resource=self._resource.name,
            mode=self._mode,
            run_id=self._run_id,
            started_at=self.started,
            ended_at=datetime.now(UTC),
            requests=self._usage.requests - requests,
            retries=self._usage.retries - retries,
            bytes_received=self._usage.bytes_received - bytes_received,
        )

    def _cursor_reached(self, intake: Intake) -> str | None:
        """From where on the next sync may filter; what is not proved moves nothing."""
        reached = intake.held.cursor
        if is_proof(intake.verdict.verified) and not intake.reading.progress.resumed:
            reached = intake.cursor.settled(self.started)
        return None if reached is None else json.dumps(reached)

    def _known_order(self, intake: Intake, entry: LedgerEntry) -> str | None:
        """How the list is ordered, if the next sync may rely on the living rows being all of it."""
        progress, held = intake.reading.progress, intake.held
        if entry.rows_rejected or progress.keyless or progress.resumed or entry.deletions_withheld:
            return None
        if held.ordered is not None and entry.verified == "order":
            return held.ordered.known.order
        is_whole = entry.verified == "full" and entry.rows_alive == entry.rows_seen
        if is_whole and is_orderable(self._resource, held.names, entry.columns, progress.order):
            return progress.order
        return None


def _reasons(intake: Intake, decision: DeletionDecision) -> list[str]:
    reasons = [intake.verdict.reason]
    resumed = intake.reading.progress.resumed
    if resumed:
        reasons.append(f"{resumed} of the rows were read by an earlier run that was cut off")
    if decision.reason:
        reasons.append(f"no deletion was marked: {decision.reason}")
    return reasons
