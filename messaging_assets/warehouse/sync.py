"""The sync of one resource, from the API to the published table: the order of the steps, and the account.

Each step stands in a module of its own: reading (`messaging_assets.api.reading`), typing and keeping aside
(`spool`), dlt's load (`staging`), the transaction (`publish`), what may be marked (`deletions`), the books
(`ledger`). Whoever calls this gets a result or a typed error; either way the ledger has a row.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.api.endpoint import EndpointPages
from messaging_assets.api.errors import ApiError, MessagingError
from messaging_assets.api.filter import Cursor, filter_of
from messaging_assets.api.increment import HeldRows, Increment, NotInOrderError
from messaging_assets.api.proof import Verified, is_proof
from messaging_assets.api.reading import Reading, is_swept, open_filtered, open_reading
from messaging_assets.api.row_index import UnseenKeys
from messaging_assets.api.settings import checkpoint_seconds, lock_timeout
from messaging_assets.api.source import Api
from messaging_assets.warehouse.columns import ColumnNames, ColumnType, hinted_types, numbers_for_integers
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.deletions import DeletionDecision, decide, without_rejected
from messaging_assets.warehouse.errors import WarehouseError
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets.warehouse.garbage import rare_collections
from messaging_assets.warehouse.held import Held, read_held, target_of
from messaging_assets.warehouse.ledger import LedgerEntry, ensure_bookkeeping, keep_columns, write_entry
from messaging_assets.warehouse.location import WarehouseLocation, fresh_folder, owner_only_files
from messaging_assets.warehouse.locks import sync_lock
from messaging_assets.warehouse.order import is_orderable
from messaging_assets.warehouse.progress import Progress, Reporter
from messaging_assets.warehouse.publish import (
    Published,
    Target,
    create_table,
    drop_staging,
    living_rows,
    mark_deleted,
    write_rows,
)
from messaging_assets.warehouse.rejects import keep_rejects, release_rejects
from messaging_assets.warehouse.resume import Checkpoints, basis_of, leftover_in, spool_folder
from messaging_assets.warehouse.spool import Rejected, Spool
from messaging_assets.warehouse.staging import Stage, stage_rows, stage_with_dlt
from messaging_assets.warehouse.table import Column, columns_of, inexact_columns, missing_keys

Mode = Literal["sync", "reconcile"]


@dataclass(frozen=True)
class SyncResult:
    """What a sync did.

    Attributes:
        table: The table, with its schema.
        rows: Living rows in the table now.
        seen: Distinct rows that the source returned.
        rejected: Records that could not be stored in this sync.
        api_total: What the API said of the list's length, None where it says nothing.
        bytes_received: Bytes of all answers, decompressed.
        verified: Whether it can prove that it is complete, and how.
        reason: What that rests on, or what is missing.
        drift_repaired: How often rows moved while they were read, and the reading was mended.
        columns: The columns of the table now.
        column_changes: What changed about them, in words.
        newest: The newest created_at among the living rows.
        deletions_withheld: Rows that would have vanished and were not marked.
        content_version: Stays the same as long as the table's content does.
    """

    connection: str
    resource: str
    table: str
    mode: Mode
    rows: int
    seen: int
    new: int
    changed: int
    unchanged: int
    deleted: int
    restored: int
    rejected: int
    api_total: int | None
    requests: int
    retries: int
    pages: int
    bytes_received: int
    seconds: float
    verified: Verified
    reason: str
    drift_repaired: int
    columns: tuple[Column, ...]
    column_changes: tuple[str, ...]
    newest: datetime | None
    deletions_withheld: int
    content_version: str


def sync_resource(
    api: Api,
    connection: Connection,
    resource: str,
    *,
    location: WarehouseLocation,
    mode: Mode = "sync",
    run_id: str = "",
    stage: Stage = stage_with_dlt,
    progress: Callable[[Progress], None] = lambda _: None,
    waiting: Callable[[str], None] | None = None,
    accept_deletions: bool = False,
) -> SyncResult:
    """Brings the table of a resource up to the state of the source.

    Args:
        api: The connection's API.
        connection: The connection.
        resource: The name of one of its resources.
        location: The warehouse.
        mode: `sync` reads no more than it takes to prove what is new and what is gone; `reconcile` reads
            everything, and so finds every edit.
        run_id: The run that asked for it, for the ledger.
        stage: What runs the dlt pipeline.
        progress: Told every few seconds how far the sync has come.
        waiting: Told in words what is waited for, where that takes longer.
        accept_deletions: Mark deletions even if more rows vanish than the connection allows.

    Raises:
        ApiError: The API did not give what was asked of it.
        WarehouseError: The DuckDB file can't be used or is held by somebody else. Whatever is raised, the
            table is as it was before.
    """
    api.transport.waiting = waiting
    sync = _Sync(api, connection, connection.resource(resource), location, mode, run_id, waiting)
    purpose = f"syncing {connection.name}.{resource}"
    with (
        owner_only_files(),
        rare_collections(),
        sync_lock(location, connection.name, purpose=purpose, timeout=lock_timeout(), waiting=waiting),
        sync.failures_in_the_ledger(),
        typed_failures(location.database),
    ):
        report = Reporter(progress, rate=lambda: api.transport.rate)
        return sync.run(stage, report, accept_deletions=accept_deletions)


class _Sync:
    """One sync under way."""

    def __init__(
        self,
        api: Api,
        connection: Connection,
        resource: Resource,
        location: WarehouseLocation,
        mode: Mode,
        run_id: str,
        waiting: Callable[[str], None] | None,
    ) -> None:
        self.api = api
        self.connection = connection
        self.resource = resource
        self.location = location
        self.mode: Mode = mode
        self.run_id = run_id
        self.waiting = waiting
        self.started = datetime.now(UTC)
        self.clock = time.monotonic()
        self.names = ColumnNames()
        self.notes: list[str] = []
        self.usage = api.usage(resource.name)
        self.requests_before = self.usage.requests
        self.retries_before = self.usage.retries
        self.bytes_before = self.usage.bytes_received

    @property
    def target(self) -> Target:
        """The table."""
        return target_of(self.connection.name, self.resource, self.names)

    def run(self, stage: Stage, report: Reporter, *, accept_deletions: bool) -> SyncResult:
        """Reads, stages and publishes: what is new, where that can be told, or everything."""
        held = self._held(whole=self.mode == "reconcile")
        reading = self._open_narrow(held)
        if reading is not None:
            try:
                return self._run_narrow(reading, stage, report, held, accept=accept_deletions)
            except NotInOrderError as error:
                self.notes.append(f"read as a whole, since {error}")
                held = self._held(whole=True)
        return self._run_sweep(stage, report, held, accept=accept_deletions)

    def _open_narrow(self, held: Held) -> Reading | None:
        """A reading of what is new alone: by the API's filter, or by the order of the list."""
        if held.filter is not None:
            return open_filtered(
                self.api, self.resource, held.index, held.filter, held.cursor, page_size=held.page_size
            )
        ordered = held.ordered
        if ordered is None:
            return None

        def all_rows() -> HeldRows:
            with self._database() as database:
                return ordered.all_rows(database)

        pages = EndpointPages(self.api, self.resource)
        return Increment(pages, ordered.known, held.ends, all_rows, self.resource.primary_key)

    def _run_narrow(
        self, reading: Reading, stage: Stage, report: Reporter, held: Held, *, accept: bool
    ) -> SyncResult:
        """Takes what is new. What a sweep that was cut off has left stays where it is."""
        with fresh_folder(self.location.spool(self.connection.name, f"{self.resource.table}+")) as folder:
            spool = Spool(folder, self.resource.primary_key, held.types, self.names)
            cursor = self._cursor(held)
            for delivery in reading:
                spool.add(delivery)
                cursor.add(delivery.seen)
                report(reading.progress, whole=False)
            spool.finish()
            return self._load(stage, reading, spool, held, cursor, accept_deletions=accept)

    def _cursor(self, held: Held) -> Cursor:
        by_filter = filter_of(self.resource)
        return Cursor(by_filter.field if by_filter else "", held.cursor)

    def _run_sweep(self, stage: Stage, report: Reporter, held: Held, *, accept: bool) -> SyncResult:
        """Reads everything, or goes on where an earlier run was cut off."""
        with spool_folder(self.location.spool(self.connection.name, self.resource.table)) as folder:
            spool = Spool(folder, self.resource.primary_key, held.types, self.names)
            reading, checkpoints = self._open(folder, held, spool)
            cursor = self._cursor(held)
            try:
                for delivery in reading:
                    spool.add(delivery)
                    cursor.add(delivery.seen)
                    checkpoints.note(delivery, reading)
                    report(reading.progress)
            except ApiError:
                checkpoints.save_last(reading)
                raise
            try:
                spool.finish()
                return self._load(stage, reading, spool, held, cursor, accept_deletions=accept)
            except WarehouseError:
                checkpoints.save_last(reading)
                raise

    def _open(self, folder: Path, held: Held, spool: Spool) -> tuple[Reading, Checkpoints]:
        """Begins to read, or goes on where an earlier run stopped."""
        key = self.resource.primary_key
        address = self.api.endpoint_request(self.resource.name).url if is_swept(self.resource) else ""
        basis = basis_of(self.resource, address, held.content_version, held.index.held_before)
        leftover = leftover_in(folder, basis)
        if leftover is not None:
            leftover.replay(held.index, spool, key)
        reading = open_reading(
            self.api, self.resource, held.index, resume_from=leftover.checkpoint if leftover else None
        )
        checkpoints = Checkpoints(folder, spool, basis, key, seconds=checkpoint_seconds(), leftover=leftover)
        return reading, checkpoints

    def _load(
        self,
        stage: Stage,
        reading: Reading,
        spool: Spool,
        held: Held,
        cursor: Cursor,
        *,
        accept_deletions: bool,
    ) -> SyncResult:
        self._keep_large_integers_exact(held, spool)
        if spool.rows:
            stage_rows(
                spool,
                connection=self.connection.name,
                table=self.resource.table,
                database=self.location.database,
                folder=self.location.pipelines(self.connection.name, self.resource.table),
                stage=stage,
                timeout=lock_timeout(),
                waiting=self.waiting,
            )
        with self._database() as database:
            return self._publish(database, reading, spool, held, cursor, accept_deletions=accept_deletions)

    @contextlib.contextmanager
    def failures_in_the_ledger(self) -> Iterator[None]:
        """Notes a failure in the ledger, if the file can be opened at all, and lets it pass."""
        try:
            yield
        except MessagingError as error:
            entry = replace(self._entry(), reason="the sync failed", error=error.what)
            with (
                contextlib.suppress(MessagingError),
                typed_failures(self.location.database),
                # Whoever holds the file was waited for already.
                open_database(self.location.database, timeout=0.0) as database,
                _transaction(database),
            ):
                ensure_bookkeeping(database, self.connection.name)
                write_entry(database, self.connection.name, entry)
            raise

    def _database(self) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        return open_database(self.location.database, timeout=lock_timeout(), waiting=self.waiting)

    def _held(self, *, whole: bool) -> Held:
        """What the table holds: all of its rows, or what a sync of the new ones needs."""
        if not self.location.database.exists():
            return Held(ColumnNames(), hinted_types(self.resource.columns, without=self.resource.primary_key))
        with self._database() as database:
            held = read_held(database, self.connection.name, self.resource, whole=whole)
        self.names = held.names
        return held

    def _keep_large_integers_exact(self, held: Held, spool: Spool) -> None:
        """Where numbers come into a column that holds integers too large for them, both become text."""
        at_risk = numbers_for_integers(held.types, spool.types)
        if not at_risk:
            return
        with self._database() as database:
            for name in inexact_columns(database, self.target.schema, self.target.table, at_risk):
                spool.types[name] = ColumnType.TEXT

    def _publish(
        self,
        database: duckdb.DuckDBPyConnection,
        reading: Reading,
        spool: Spool,
        held: Held,
        cursor: Cursor,
        *,
        accept_deletions: bool,
    ) -> SyncResult:
        verdict = reading.progress.verdict
        assert verdict is not None
        with _transaction(database):
            ensure_bookkeeping(database, self.target.schema)
            changes = create_table(database, self.target, spool.types)
            published = Published()
            if spool.rows:
                published = write_rows(database, self.target, spool.types)
            rejected = spool.rejected
            self._keep_aside(database, reading, rejected)
            held_before = living_rows(database, self.target)[0] - published.new - published.restored
            missing = self._missing(database, reading, rejected)
            decision = decide(
                missing=missing.num_rows,
                held=held_before,
                seen=reading.index.seen,
                keyless=reading.progress.keyless,
                resumed=bool(reading.progress.resumed),
                verdict=verdict,
                max_share=self.connection.max_deleted_share,
                accepted=accept_deletions,
            )
            marked = mark_deleted(database, self.target, missing, self.started) if decision.mark else 0
            drop_staging(database, self.target.schema)
            entry = self._account(database, reading, rejected, replace(published, deleted=marked), held)
            entry = replace(
                entry,
                deletions_withheld=decision.withheld,
                reason="; ".join([*_reasons(reading, decision), *self.notes]),
                cursor=self._cursor_reached(reading, held, cursor),
                list_order=self._known_order(reading, entry, held, decision),
                page_size=max(reading.progress.page_size, held.page_size) or None,
            )
            write_entry(database, self.target.schema, entry)
        return self._result(entry, changes)

    def _keep_aside(
        self, database: duckdb.DuckDBPyConnection, reading: Reading, rejected: list[Rejected]
    ) -> None:
        schema, name = self.target.schema, self.resource.name
        keep_columns(database, schema, name, self.names.of_fields)
        keep_rejects(database, schema, name, rejected, self.started)
        release_rejects(
            database,
            schema,
            name,
            self.resource.primary_key,
            seen_among=reading.index.seen_among,
            now=self.started,
        )

    def _missing(
        self, database: duckdb.DuckDBPyConnection, reading: Reading, rejected: list[Rejected]
    ) -> pa.Table:
        """The keys of the living rows that were held before and not seen."""
        target = self.target
        unseen = UnseenKeys() if target.disposition == "append" else reading.unseen()
        missing = missing_keys(database, target.schema, target.table, target.key, unseen)
        return without_rejected(missing, rejected)

    def _account(
        self,
        database: duckdb.DuckDBPyConnection,
        reading: Reading,
        rejected: list[Rejected],
        published: Published,
        held: Held,
    ) -> LedgerEntry:
        progress, verdict = reading.progress, reading.progress.verdict
        assert verdict is not None
        touched = published.new + published.changed + published.restored + published.deleted
        is_same = bool(held.content_version) and not touched
        version = held.content_version if is_same else self.started.isoformat()
        rows, newest = living_rows(database, self.target)
        seen = reading.index.seen
        written = published.new + published.changed + published.restored
        set_aside = len({record.id for record in rejected if record.id is not None})
        return replace(
            self._entry(),
            pages=progress.pages,
            rows_alive=rows,
            rows_seen=seen,
            rows_new=published.new,
            rows_changed=published.changed,
            rows_unchanged=max(0, seen - written - set_aside),
            rows_deleted=published.deleted,
            rows_restored=published.restored,
            rows_rejected=len(rejected),
            api_total=progress.total,
            drift_repaired=progress.drift_repaired,
            verified=verdict.verified,
            content_version=version,
            columns=columns_of(database, self.target.schema, self.target.table),
            newest_created_at=newest,
        )

    def _cursor_reached(self, reading: Reading, held: Held, cursor: Cursor) -> str | None:
        """From where on the next sync may filter; what is not proved moves nothing."""
        assert reading.progress.verdict is not None
        reached = held.cursor
        if is_proof(reading.progress.verdict.verified) and not reading.progress.resumed:
            reached = cursor.settled(self.started)
        return None if reached is None else json.dumps(reached)

    def _known_order(
        self, reading: Reading, entry: LedgerEntry, held: Held, decision: DeletionDecision
    ) -> str | None:
        """How the list is ordered, if the next sync may rely on the living rows being all of it."""
        progress = reading.progress
        if entry.rows_rejected or progress.keyless or progress.resumed or decision.withheld:
            return None
        if held.ordered is not None and entry.verified == "order":
            return held.ordered.known.order
        is_whole = entry.verified == "full" and entry.rows_alive == entry.rows_seen
        if is_whole and is_orderable(self.resource, self.names, entry.columns, progress.order):
            return progress.order
        return None

    def _entry(self) -> LedgerEntry:
        return LedgerEntry(
            resource=self.resource.name,
            mode=self.mode,
            run_id=self.run_id,
            started_at=self.started,
            ended_at=datetime.now(UTC),
            requests=self.usage.requests - self.requests_before,
            retries=self.usage.retries - self.retries_before,
            bytes_received=self.usage.bytes_received - self.bytes_before,
        )

    def _result(self, entry: LedgerEntry, changes: tuple[str, ...]) -> SyncResult:
        verified: Verified = entry.verified  # type: ignore[assignment]
        return SyncResult(
            connection=self.connection.name,
            resource=self.resource.name,
            table=f"{self.target.schema}.{self.target.table}",
            mode=self.mode,
            rows=entry.rows_alive,
            seen=entry.rows_seen,
            new=entry.rows_new,
            changed=entry.rows_changed,
            unchanged=entry.rows_unchanged,
            deleted=entry.rows_deleted,
            restored=entry.rows_restored,
            rejected=entry.rows_rejected,
            api_total=entry.api_total,
            requests=entry.requests,
            retries=entry.retries,
            pages=entry.pages,
            bytes_received=entry.bytes_received,
            seconds=time.monotonic() - self.clock,
            verified=verified,
            reason=entry.reason,
            drift_repaired=entry.drift_repaired,
            columns=entry.columns,
            column_changes=changes,
            newest=entry.newest_created_at,
            deletions_withheld=entry.deletions_withheld,
            content_version=entry.content_version,
        )


def _reasons(reading: Reading, decision: DeletionDecision) -> list[str]:
    assert reading.progress.verdict is not None
    reasons = [reading.progress.verdict.reason]
    if reading.progress.resumed:
        reasons.append(f"{reading.progress.resumed} of the rows were read by an earlier run that was cut off")
    if decision.reason:
        reasons.append(f"no deletion was marked: {decision.reason}")
    return reasons


@contextlib.contextmanager
def _transaction(database: duckdb.DuckDBPyConnection) -> Iterator[None]:
    database.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        # An error of the file itself has ended the transaction already.
        with contextlib.suppress(duckdb.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
