"""The sync of one resource, from the API to the published table: the order of the steps, and the account.

Each step stands in a module of its own: reading (`messaging_assets.api.reading`), typing and keeping aside
(`spool`), dlt's load (`staging`), the transaction (`publish`), what may be marked (`deletions`), the books
(`ledger`), what is remembered of the pages (`page_file`). Whoever calls this gets a result or a typed error;
either way the ledger has a row.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.api.endpoint import EndpointPages
from messaging_assets.api.errors import ApiError, MessagingError
from messaging_assets.api.filter import Cursor, filter_of
from messaging_assets.api.increment import HeldRows, Increment, NotInOrderError
from messaging_assets.api.page_memory import PageMemory
from messaging_assets.api.proof import Verified
from messaging_assets.api.reading import Reading, is_swept, open_filtered, open_reading, remembers_pages
from messaging_assets.api.request import shown
from messaging_assets.api.row_index import UnseenKeys
from messaging_assets.api.settings import checkpoint_seconds, lock_timeout
from messaging_assets.api.source import Api
from messaging_assets.warehouse.account import Account, Intake, TableState
from messaging_assets.warehouse.columns import ColumnNames, ColumnType, hinted_types, numbers_for_integers
from messaging_assets.warehouse.compaction import compact_if_worth
from messaging_assets.warehouse.database import open_database, transaction
from messaging_assets.warehouse.deletions import decide, without_rejected
from messaging_assets.warehouse.errors import WarehouseDamagedError, WarehouseError
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets.warehouse.garbage import rare_collections
from messaging_assets.warehouse.held import Held, read_held, target_of
from messaging_assets.warehouse.ledger import LedgerEntry, ensure_bookkeeping, keep_columns, write_entry
from messaging_assets.warehouse.location import WarehouseLocation, fresh_folder, owner_only_files
from messaging_assets.warehouse.locks import sync_lock
from messaging_assets.warehouse.memory import MEMORY_LIMIT, with_enough_memory
from messaging_assets.warehouse.page_file import PageFile, basis_of_pages, read_pages
from messaging_assets.warehouse.progress import Progress, Reporter
from messaging_assets.warehouse.publish import (
    Published,
    Target,
    create_table,
    drop_earlier_versions,
    living_rows,
    mark_deleted,
    write_rows,
)
from messaging_assets.warehouse.rejects import keep_rejects, release_rejects
from messaging_assets.warehouse.resume import (
    Checkpoints,
    basis_of,
    leftover_in,
    remove_unless_resumable,
    spool_folder,
)
from messaging_assets.warehouse.spool import Spool
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
        result = sync.run(stage, report, accept_deletions=accept_deletions)
        if result.changed or result.deleted or result.restored:
            compact_if_worth(location, holding=connection.name)
        return result


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
        self.waiting = waiting
        # Looked up at once: a mistake in it is told whatever this sync comes to read.
        self.checkpoint_seconds = checkpoint_seconds()
        self.account = Account(resource, mode, run_id, api.usage(resource.name))

    def run(self, stage: Stage, report: Reporter, *, accept_deletions: bool) -> SyncResult:
        """Reads, stages and publishes: what is new, where that can be told, or everything."""
        for folder in (self._sweep_folder, self._narrow_folder):
            remove_unless_resumable(folder)
        held = self._held(whole=self.mode == "reconcile")
        reading = self._open_narrow(held)
        if reading is not None:
            try:
                return self._run_narrow(reading, stage, report, held, accept=accept_deletions)
            except NotInOrderError as error:
                self.account.notes.append(f"read as a whole, since {error}")
                held = self._held(whole=True)
        return self._run_sweep(stage, report, held, accept=accept_deletions)

    # Reading

    def _held(self, *, whole: bool) -> Held:
        """What the table holds: all of its rows, or what a sync of the new ones needs."""
        if not self.location.database.exists():
            return Held(ColumnNames(), hinted_types(self.resource.columns, without=self.resource.primary_key))
        with self._database() as database:
            return read_held(database, self.connection.name, self.resource, whole=whole)

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
        with fresh_folder(self._narrow_folder) as folder:
            intake = self._intake(folder, held, reading)
            for delivery in reading:
                intake.spool.add(delivery)
                intake.cursor.add(delivery.seen)
                report(reading.progress, whole=False)
            intake.spool.finish()
            return self._load(stage, intake, accept=accept)

    def _run_sweep(self, stage: Stage, report: Reporter, held: Held, *, accept: bool) -> SyncResult:
        """Reads everything, or goes on where an earlier run was cut off."""
        with spool_folder(self._sweep_folder) as folder, self._page_file(folder) as pages:
            basis = self._basis(held)
            leftover = leftover_in(folder, basis)
            reading = open_reading(
                self.api,
                self.resource,
                held.index,
                resume_from=None if leftover is None else leftover.checkpoint,
                memory=self._remembered(),
            )
            intake = self._intake(folder, held, reading)
            if leftover is not None:
                leftover.replay(held.index, intake.spool, self.resource.primary_key)
            checkpoints = Checkpoints(
                folder,
                intake.spool,
                basis,
                self.resource.primary_key,
                seconds=self.checkpoint_seconds,
                leftover=leftover,
            )
            self._read(intake, checkpoints, pages, report)
            try:
                intake.spool.finish()
                result = self._load(stage, intake, accept=accept)
            except WarehouseError:
                checkpoints.save_last(reading)
                raise
            self._remember(pages, intake)
            return result

    def _read(self, intake: Intake, checkpoints: Checkpoints, pages: PageFile, report: Reporter) -> None:
        reading = intake.reading
        try:
            for delivery in reading:
                intake.spool.add(delivery)
                intake.cursor.add(delivery.seen)
                pages.add(delivery)
                checkpoints.note(delivery, reading)
                report(reading.progress)
        except ApiError:
            checkpoints.save_last(reading)
            raise

    # The pages of sweeps

    def _page_file(self, folder: Path) -> PageFile:
        file = self.location.pages(self.connection.name, self.resource.table)
        return PageFile(file, basis_of_pages(self.resource, self._address), folder)

    def _remembered(self) -> PageMemory | None:
        if not remembers_pages(self.resource):
            return None
        file = self.location.pages(self.connection.name, self.resource.table)
        return read_pages(file, basis_of_pages(self.resource, self._address))

    def _remember(self, pages: PageFile, intake: Intake) -> None:
        """Keeps what was noted of the pages, if it is of a whole list, in one pass and in an order."""
        progress = intake.reading.progress
        if remembers_pages(self.resource) and not progress.resumed:
            pages.keep(progress.order if progress.passes == 1 else None)

    @property
    def _sweep_folder(self) -> Path:
        return self.location.spool(self.connection.name, self.resource.table)

    @property
    def _narrow_folder(self) -> Path:
        """Another one, so that a sync of what is new leaves a sweep that was cut off to be gone on from."""
        return self.location.spool(self.connection.name, f"{self.resource.table}+")

    def _intake(self, folder: Path, held: Held, reading: Reading) -> Intake:
        by_filter = filter_of(self.resource)
        cursor = Cursor(by_filter.field if by_filter else "", held.cursor)
        spool = Spool(folder, self.resource.primary_key, held.types, held.names)
        return Intake(held, reading, spool, cursor)

    def _basis(self, held: Held) -> str:
        return basis_of(self.resource, self._address, held.content_version, held.index.held_before)

    @property
    def _address(self) -> str:
        """Where the list is, empty for a resource that is read by dlt's own paginators."""
        return self.api.endpoint_request(self.resource.name).url if is_swept(self.resource) else ""

    # Loading

    def _load(self, stage: Stage, intake: Intake, *, accept: bool) -> SyncResult:
        target = target_of(self.connection.name, self.resource, intake.held.names)
        self._keep_large_integers_exact(intake, target)

        def load(memory: str | None) -> SyncResult:
            with self._database(memory) as database:
                if intake.spool.rows:
                    stage_rows(
                        database,
                        intake.spool,
                        connection=self.connection.name,
                        table=self.resource.table,
                        location=self.location,
                        stage=stage,
                    )
                return self._publish(database, target, intake, accept=accept)

        return with_enough_memory(load)

    def _keep_large_integers_exact(self, intake: Intake, target: Target) -> None:
        """Where numbers come into a column that holds integers too large for them, both become text."""
        at_risk = numbers_for_integers(intake.held.types, intake.spool.types)
        if not at_risk:
            return
        with self._database() as database:
            for name in inexact_columns(database, target.schema, target.table, at_risk):
                intake.spool.types[name] = ColumnType.TEXT

    def _publish(
        self, database: duckdb.DuckDBPyConnection, target: Target, intake: Intake, *, accept: bool
    ) -> SyncResult:
        """The one transaction: rows, rejects, deletions, ledger."""
        if intake.spool.rows:
            drop_earlier_versions(database, target)
        with transaction(database, is_last=True):
            ensure_bookkeeping(database, target.schema)
            changes = create_table(database, target, intake.spool.types)
            published = Published()
            if intake.spool.rows:
                published = write_rows(database, target, intake.spool.types)
            self._keep_aside(database, target.schema, intake)
            missing = _missing(database, target, intake)
            progress = intake.reading.progress
            decision = decide(
                missing=missing.num_rows,
                held=living_rows(database, target)[0] - published.new - published.restored,
                seen=intake.reading.index.seen,
                keyless=progress.keyless,
                resumed=bool(progress.resumed),
                verdict=intake.verdict,
                max_share=self.connection.max_deleted_share,
                accepted=accept,
            )
            if decision.mark:
                marked = mark_deleted(database, target, missing, self.account.started)
                published = replace(published, deleted=marked)
            table = TableState(
                columns_of(database, target.schema, target.table), *living_rows(database, target)
            )
            entry = self.account.closed(intake, published, decision, table)
            write_entry(database, target.schema, entry)
        return self._result(target, entry, changes)

    def _keep_aside(self, database: duckdb.DuckDBPyConnection, schema: str, intake: Intake) -> None:
        name = self.resource.name
        keep_columns(database, schema, name, intake.held.names.of_fields)
        keep_rejects(database, schema, name, intake.spool.rejected, self.account.started)
        release_rejects(
            database,
            schema,
            name,
            self.resource.primary_key,
            seen_among=intake.reading.index.seen_among,
            now=self.account.started,
        )

    @contextlib.contextmanager
    def failures_in_the_ledger(self) -> Iterator[None]:
        """Notes a failure in the ledger, if the file can be opened at all, and lets it pass.

        One that does not say where it happened, such as that pages contradict each other, is about the list.
        """
        try:
            yield
        except WarehouseDamagedError:
            # Left as it is, so that all that can be read in it stays.
            raise
        except MessagingError as error:
            if not error.where:
                error.add_place(shown(self._address) or f"{self.connection.name}.{self.resource.name}")
            with (
                contextlib.suppress(MessagingError),
                typed_failures(self.location.database),
                # Whoever holds the file was waited for already.
                open_database(self.location.database, timeout=0.0) as database,
                transaction(database),
            ):
                ensure_bookkeeping(database, self.connection.name)
                write_entry(database, self.connection.name, self.account.failed(error.what))
            raise

    def _database(
        self, memory: str | None = MEMORY_LIMIT
    ) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        return open_database(
            self.location.database, timeout=lock_timeout(), memory=memory, waiting=self.waiting
        )

    def _result(self, target: Target, entry: LedgerEntry, changes: tuple[str, ...]) -> SyncResult:
        verified: Verified = entry.verified  # type: ignore[assignment]
        return SyncResult(
            connection=self.connection.name,
            resource=self.resource.name,
            table=f"{target.schema}.{target.table}",
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
            seconds=self.account.seconds,
            verified=verified,
            reason=entry.reason,
            drift_repaired=entry.drift_repaired,
            columns=entry.columns,
            column_changes=changes,
            newest=entry.newest_created_at,
            deletions_withheld=entry.deletions_withheld,
            content_version=entry.content_version,
        )


def _missing(database: duckdb.DuckDBPyConnection, target: Target, intake: Intake) -> pa.Table:
    """The keys of the living rows that were held before and not seen."""
    unseen = UnseenKeys() if target.disposition == "append" else intake.reading.unseen()
    missing = missing_keys(database, target.schema, target.table, target.key, unseen)
    return without_rejected(missing, intake.spool.rejected)
