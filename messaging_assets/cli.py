"""The command line: `messaging sync`, `check`, `status`, `plan`, `export` and `compact`.

Arguments in, words and exit codes out. A sync goes through Dagster, so that it stands in the same history
as the runs of `dagster dev`. What is printed is computed elsewhere.
"""

import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from tabulate import tabulate

from messaging_assets.api.connection import Connection, read_connections
from messaging_assets.api.errors import MessagingError

if TYPE_CHECKING:
    from messaging_assets.orchestration.headless import AnalyticsReport, RunReport
    from messaging_assets.warehouse.ledger import LedgerEntry
    from messaging_assets.warehouse.plan import Plans
    from messaging_assets.warehouse.status import Status

# Imports of Dagster, dlt's sources and DuckDB stand in the functions that need them: each costs a good
# part of a second, and `--help` and mistakes in a file need none of them.


def _explaining(command: Callable[..., None]) -> Callable[..., None]:
    """Turns the errors of this package into their message and exit code 1."""

    @wraps(command)
    def explained(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except MessagingError as error:
            _fail(str(error))

    return explained


def _fail(message: str) -> NoReturn:
    click.secho(message, fg="red", err=True)
    sys.exit(1)


_only = click.option("--connection", "only", metavar="NAME", help="This connection alone; default: all.")


@click.group()
@click.version_option(package_name="messaging-assets")
def main() -> None:
    """Sync messaging APIs into DuckDB.

    Without configuration everything runs against the bundled sandbox API. To use your own API, set
    SOURCES__MESSAGING__BASE_URL, SOURCES__MESSAGING__CLIENT_ID and SOURCES__MESSAGING__CLIENT_SECRET, or the
    same keys in .dlt/secrets.toml.
    """


@main.command()
@_only
@click.option("--reconcile", is_flag=True, help="Read everything and verify it in full.")
@click.option(
    "--accept-deletions",
    is_flag=True,
    help="Mark deletions this once, even if more rows vanish than the connection allows.",
)
@click.option("--verbose", is_flag=True, help="Show every event of the run.")
@_explaining
def sync(only: str | None, reconcile: bool, accept_deletions: bool, verbose: bool) -> None:
    """Sync all resources through Dagster and show what changed.

    Exit code 1 if anything failed; what did not fail is loaded.
    """
    from messaging_assets.orchestration.headless import run_sync

    reports = [
        run_sync(connection, reconcile=reconcile, accept_deletions=accept_deletions, verbose=verbose)
        for connection in _chosen(only)
    ]
    rows = [
        [
            table.name,
            table.rows,
            table.new,
            table.changed,
            table.deleted,
            _outcome(table.verified, table.withheld),
            f"{table.seconds:.1f}",
        ]
        for report in reports
        for table in report.tables
    ]
    headers = ["table", "rows", "new", "changed", "deleted", "verified", "seconds"]
    click.echo()
    _table(rows, headers)
    for report in reports:
        _show_analytics(report.analytics)
    loaded = [report for report in reports if report.tables]
    for database in dict.fromkeys(report.database for report in loaded):
        click.echo(f"\nDuckDB file: {database}")
    if loaded:
        _what_next(loaded[0])
    failures = [failure for report in reports for failure in report.failures]
    if failures:
        _fail("\n" + "\n".join(f"FAILED {failure}" for failure in failures))


def _show_analytics(found: "AnalyticsReport") -> None:
    if found.refreshed:
        changed = f"{found.changed} of them changed" if found.changed else "none of them changed"
        stopped = f"; {found.stopped} wait for what failed" if found.stopped else ""
        click.echo(f"\nAnalytics: {found.refreshed} tables are up to date, {changed}{stopped}")
    for skipped in found.skipped:
        click.echo(f"  skipped {skipped}")


@main.command()
@_only
@_explaining
def check(only: str | None) -> None:
    """Read every connection file, reach each API, get a token, fetch one row of each resource.

    Exit code 1 if anything does not work.
    """
    from messaging_assets.api.probe import probe

    broken = False
    for connection in _chosen(only):
        click.secho(f"{connection.name} ({connection.file})", bold=True)
        for note in connection.notes:
            click.echo(f"  note: {note}")
        try:
            with _opened(connection) as api:
                for found in probe(api, connection):
                    broken = broken or not found.works
                    click.echo(f"  {_mark(works=found.works)} {found.tried}: {found.words}")
        except MessagingError as error:
            broken = True
            click.echo(f"  {_mark(works=False)} {error}")
    if broken:
        sys.exit(1)


@main.command()
@_only
@click.option(
    "--last",
    default=12,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many lines of the ledger to show per connection; a sync has one per resource.",
)
@_explaining
def status(only: str | None, last: int) -> None:
    """Show the last syncs from the ledger and how fresh each table is."""
    from messaging_assets.orchestration.resources import database_file
    from messaging_assets.warehouse.status import read_status

    broken = False
    for connection in _chosen(only):
        try:
            database = database_file(connection)
            click.secho(f"{connection.name} in {database}", bold=True)
            found = read_status(database, connection)
        except MessagingError as error:
            broken = True
            click.secho(f"{connection.name}: {error}", fg="red", err=True)
            continue
        _show_tables(found)
        click.echo()
        _show_syncs(found.syncs[:last])
        click.echo()
    if broken:
        sys.exit(1)


@main.command()
@_only
@_explaining
def plan(only: str | None) -> None:
    """Tell how many requests the next sync and the next reconcile will take, and how long.

    Asks the API for one page of each resource, and the ledger for what the last syncs took.
    """
    from messaging_assets.orchestration.resources import database_file
    from messaging_assets.warehouse.location import WarehouseLocation
    from messaging_assets.warehouse.plan import busy_note, read_plans

    broken = False
    for connection in _chosen(only):
        click.secho(connection.name, bold=True)
        try:
            location = WarehouseLocation(database_file(connection))
            busy = busy_note(connection, location)
            with nullcontext(None) if busy else _opened(connection) as api:
                found = read_plans(connection, location, api)
        except MessagingError as error:
            broken = True
            click.secho(f"{connection.name}: {error}", fg="red", err=True)
            continue
        _show_plans(connection, found, [busy] if busy else [])
    if broken:
        sys.exit(1)


def _show_plans(connection: Connection, found: "Plans", notes: Sequence[str]) -> None:
    from messaging_assets.warehouse.plan import total_of

    rate, in_flight = connection.client.get("requests_per_second"), connection.client.get("in_flight", 8)
    pace = "as fast as the API answers" if rate is None else f"at most {rate:g} requests a second"
    click.echo(f"  {pace}, {in_flight} in flight")
    for note in (*notes, *found.notes):
        click.echo(f"  note: {note}")
    unknown = "not known"
    rows = [
        [p.resource, p.rows, p.held, p.sync or unknown, p.reconcile or unknown, p.known_from]
        for p in found.plans
    ]
    sync = total_of([plan.sync for plan in found.plans])
    reconcile = total_of([plan.reconcile for plan in found.plans])
    rows.append(["together", None, None, sync or unknown, reconcile or unknown, None])
    _table(rows, ["resource", "rows", "held", "next sync", "next reconcile", "known from"])
    click.echo()


def _show_tables(found: "Status") -> None:
    now = datetime.now(UTC)
    rows = [
        [
            t.table,
            t.rows,
            t.deleted,
            _age(t.synced_at, now),
            _age(t.newest, now),
            _outcome(t.verified, t.withheld),
            t.rejected,
        ]
        for t in found.tables
    ]
    _table(rows, ["table", "rows", "deleted", "synced", "newest row", "verified", "rejected"])


def _show_syncs(syncs: "Sequence[LedgerEntry]") -> None:
    rows = [
        [
            f"{entry.started_at:%Y-%m-%d %H:%M:%S}",
            entry.resource,
            entry.mode,
            entry.rows_new,
            entry.rows_changed,
            entry.rows_deleted,
            entry.requests,
            f"{(entry.ended_at - entry.started_at).total_seconds():.1f}",
            entry.error or _outcome(entry.verified, entry.deletions_withheld),
        ]
        for entry in syncs
    ]
    columns = "started (UTC),resource,mode,new,changed,deleted,requests,seconds,outcome"
    _table(rows, columns.split(","))


_day = click.DateTime(formats=["%Y-%m-%d"])


@main.command()
@_only
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to; default: `exports` beside the DuckDB file.",
)
@click.option("--table", "tables", metavar="NAME", multiple=True, help="This table; can be given again.")
@click.option(
    "--from",
    "first",
    metavar="DAY",
    type=_day,
    help="The first day of messages to write, such as 2026-03-29.",
)
@click.option(
    "--to",
    "last",
    metavar="DAY",
    type=_day,
    help="The last day of messages to write; the other days stay as they are.",
)
@_explaining
def export(
    only: str | None,
    folder: Path | None,
    tables: tuple[str, ...],
    first: datetime | None,
    last: datetime | None,
) -> None:
    """Write the tables as Parquet files, messages by day; files whose rows did not change stay."""
    from messaging_assets.orchestration.resources import database_file
    from messaging_assets.warehouse.export import Days, export_folder, export_tables
    from messaging_assets.warehouse.location import WarehouseLocation

    days = Days(first.date() if first else None, last.date() if last else None)
    broken = False
    for connection in _chosen(only):
        try:
            location = WarehouseLocation(database_file(connection))
            target = folder or export_folder(location)
            exported = export_tables(location, connection, target, tables=tables, days=days)
        except MessagingError as error:
            broken = True
            click.secho(f"{connection.name}: {error}", fg="red", err=True)
            continue
        click.secho(f"{connection.name} to {target}", bold=True)
        rows = [
            [str(done.path.relative_to(target)), done.rows, done.written, done.unchanged, done.removed]
            for done in exported
        ]
        _table(rows, ["file or folder", "rows", "files written", "unchanged", "removed"])
    if broken:
        sys.exit(1)


@main.command()
@_only
@_explaining
def compact(only: str | None) -> None:
    """Write the DuckDB file anew, without the space it no longer needs; syncs do so by themselves at need."""
    from messaging_assets.api.settings import lock_timeout
    from messaging_assets.orchestration.resources import database_file
    from messaging_assets.warehouse import compaction
    from messaging_assets.warehouse.location import WarehouseLocation

    for database in dict.fromkeys(database_file(connection) for connection in _chosen(only)):
        done = compaction.compact(WarehouseLocation(database), timeout=lock_timeout())
        before, after = done.bytes_before / 1e6, done.bytes_after / 1e6
        click.echo(f"{database}: {before:,.1f} MB became {after:,.1f} MB in {done.seconds:.1f} s")


def _chosen(only: str | None) -> Sequence[Connection]:
    connections = read_connections()
    chosen = [connection for connection in connections if only in (None, connection.name)]
    if not chosen:
        names = ", ".join(connection.name for connection in connections)
        _fail(f"there is no connection named {only}; there are: {names}")
    return chosen


@contextmanager
def _opened(connection: Connection) -> Iterator[Any]:
    from dagster import build_init_resource_context

    from messaging_assets.api.settings import base_url, configured_without_address
    from messaging_assets.orchestration.resources import MessagingApi

    click.echo(f"  reads {base_url(connection.name) or 'the bundled sandbox: no address is configured'}")
    alone = configured_without_address(connection.name)
    if alone is not None:
        click.echo(
            f"  note: {alone} is set, and sources.{connection.name}.base_url is not; is it spelt right?"
        )
    context = build_init_resource_context()
    if context.log is not None:
        # What is read was just said.
        context.log.setLevel(logging.WARNING)
    with MessagingApi().yield_for_execution(context) as apis:
        yield apis.open(connection)


def _outcome(verified: str, withheld: int) -> str:
    """What a sync came to, in a word or three."""
    return f"{withheld:,} deletions withheld" if withheld else verified


def _mark(*, works: bool) -> str:
    return click.style("ok    ", fg="green") if works else click.style("BROKEN", fg="red")


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> None:
    if rows:
        click.echo(tabulate(rows, headers, tablefmt="simple", intfmt=",", disable_numparse=[0]))


def _age(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "never"
    minutes = int((now - moment).total_seconds() // 60)
    for unit, size in (("days", 2880), ("hours", 120)):
        if minutes >= size:
            return f"{minutes // (size // 2)} {unit} ago"
    return f"{minutes} minutes ago" if minutes else "just now"


def _program() -> str:
    """This program as one types it here."""
    program = Path(sys.argv[0])
    if program.name != "messaging" or shutil.which("messaging") is not None:
        return "messaging"
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _what_next(report: "RunReport") -> None:
    click.echo("\nNext:  make dev            the same in Dagster's UI: assets, lineage, schedules")
    click.echo(f"       {_program()} status    the last syncs, and how fresh each table is")
    # The file's name comes first: DuckDB wants to be told which is meant where a schema has the same.
    table = f"{report.database.stem}.{report.tables[-1].name}"
    click.echo(f"       duckdb {report.database} -c 'FROM {table}'    (or any other DuckDB client)")
