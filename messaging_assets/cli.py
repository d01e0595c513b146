"""The command line: `messaging sync`, `messaging check`, `messaging status`.

Arguments in, words and exit codes out. A sync goes through Dagster, so that it stands in the same history
as the runs of `dagster dev`. What is printed is computed elsewhere.
"""

import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from tabulate import tabulate

from messaging_assets.api.connection import Connection, read_connections
from messaging_assets.api.errors import MessagingError

if TYPE_CHECKING:
    from messaging_assets.orchestration.headless import RunReport
    from messaging_assets.warehouse.ledger import LedgerEntry
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
    loaded = [report for report in reports if report.tables]
    for database in dict.fromkeys(report.database for report in loaded):
        click.echo(f"\nDuckDB file: {database}")
    if loaded:
        _what_next(loaded[0])
    failures = [failure for report in reports for failure in report.failures]
    if failures:
        _fail("\n" + "\n".join(f"FAILED {failure}" for failure in failures))


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
