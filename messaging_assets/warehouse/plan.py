"""What the next sync and the next reconcile of a resource will cost, requests and time, before they run.

An estimate from facts: the length of the list, what the last syncs took, and the rate that is allowed. The
facts come from the ledger, and from one request to the API where it is asked; the estimate is pure. How a
sync comes to need few requests is written down in `messaging_assets.api.increment`.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.api.endpoint import EndpointPages
from messaging_assets.api.errors import (
    ApiError,
    AuthenticationError,
    MessagingError,
    UnreachableError,
)
from messaging_assets.api.increment import KnownOrder
from messaging_assets.api.reading import is_swept
from messaging_assets.api.source import Api, offset_settings
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.errors import WarehouseMissingError
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets.warehouse.ledger import LedgerEntry, last_syncs
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets.warehouse.locks import is_held

# What is done before something else is not worth a long wait.
PATIENCE_SECONDS = 1.0
# Entries of the ledger to look at, and of those how many alike to go by.
ENTRIES = 50
ALIKE = 10
# Verdicts of syncs that did not read everything.
CHEAP = ("order", "filter")


@dataclass(frozen=True)
class Facts:
    """What is known of a resource before it is synced.

    Attributes:
        resource: Its name.
        limit: How many rows a page is asked to have, None where it is not paged by offset.
        total: How long the API says that the list is, None where it was not asked or does not say.
        page_rows: How many rows its first page had, None where it was not asked.
        page_seconds: How long that page took.
        rate: Requests per second that are configured, None for as many as it goes.
        in_flight: How many requests are under way at once.
        syncs: The last syncs that did not fail, the newest first.
    """

    resource: str
    limit: int | None = None
    total: int | None = None
    page_rows: int | None = None
    page_seconds: float | None = None
    rate: float | None = None
    in_flight: int = 8
    syncs: tuple[LedgerEntry, ...] = ()

    @property
    def held(self) -> int | None:
        """How many rows are in the table, None where it was never synced."""
        return self.syncs[0].rows_alive if self.syncs else None

    @property
    def rows(self) -> int | None:
        """How long the list is: as the API says, else as many rows as are held."""
        if self.total is not None or self.syncs:
            return self.held if self.total is None else self.total
        # A first page that is not full is the whole list.
        is_whole = self.page_rows is not None and self.limit is not None and self.page_rows < self.limit
        return self.page_rows if is_whole else None

    @property
    def page_size(self) -> int:
        """How many rows a page really has at most."""
        known = next((entry.page_size for entry in self.syncs if entry.page_size), None)
        if known is not None:
            return known
        if self.page_rows and (self.rows is None or self.page_rows < self.rows):
            return self.page_rows
        return self.limit or 1

    def pages(self, rows: float) -> int:
        """How many pages hold so many rows, if each repeats a row of the one before."""
        return math.ceil(max(0.0, rows) / max(1, self.page_size - 1))


@dataclass(frozen=True)
class Cost:
    """What something takes.

    Attributes:
        requests: How many requests.
        seconds: How long, None where nothing tells.
    """

    requests: int
    seconds: float | None

    def __str__(self) -> str:
        takes = f" in {duration(self.seconds)}" if self.seconds is not None else ""
        return f"{self.requests:,} request{'s' if self.requests != 1 else ''}{takes}"


@dataclass(frozen=True)
class Plan:
    """What the next sync and the next reconcile of a resource will take.

    Attributes:
        resource: Its name.
        rows: How long the list is, None where nothing tells.
        held: How many rows are in the table, None where it was never synced.
        sync: What a sync takes, None where nothing tells.
        reconcile: What a reconcile takes, None where nothing tells.
        known_from: What the estimate rests on, in words.
    """

    resource: str
    rows: int | None
    held: int | None
    sync: Cost | None
    reconcile: Cost | None
    known_from: str

    def line(self, mode: str) -> str:
        """The plan in words, for the log of a run in one of the two modes.

        Example:
            >>> Plan("users", 990, 990, Cost(2, 0.4), Cost(10, 2.0), "the last 3 syncs").line("sync")
            'plan: this sync takes about 2 requests in under 1 s, a reconcile about 10 requests in 2 s \
(known from the last 3 syncs)'
        """
        costs = {"sync": self.sync, "reconcile": self.reconcile}
        this = costs.pop(mode)
        (other, others) = costs.popitem()
        if this is None:
            return f"plan: how long this {mode} takes is not known before ({self.known_from})"
        also = f", a {other} about {others}" if others is not None else ""
        return f"plan: this {mode} takes about {this}{also} (known from {self.known_from})"


def duration(seconds: float) -> str:
    """A time in words.

    Example:
        >>> [duration(seconds) for seconds in (0.2, 89, 800, 30_000)]
        ['under 1 s', '89 s', '13 min', '8.3 h']
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ---- the estimate --------------------------------------------------------------------------------


def plan(facts: Facts) -> Plan:
    """Estimates what the next sync and the next reconcile of a resource take."""
    reconcile = _reconcile(facts)
    sync = _increment(facts, reconcile) if _is_incremental(facts) else reconcile
    return Plan(facts.resource, facts.rows, facts.held, sync, reconcile, _known_from(facts))


def total_of(costs: Sequence[Cost | None]) -> Cost | None:
    """What several resources take, one after the other; None where that of one is not known."""
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    times = [cost.seconds for cost in known]
    seconds = None if None in times else sum(time for time in times if time is not None)
    return Cost(sum(cost.requests for cost in known), seconds)


def _reconcile(facts: Facts) -> Cost | None:
    """Everything is read: as many requests a row as it took last, or a page after the other."""
    if facts.rows is None:
        return None
    whole = [entry for entry in facts.syncs if entry.verified not in CHEAP and entry.rows_seen][:ALIKE]
    requests = 1 + facts.pages(facts.rows - 1)
    if whole:
        share = median(entry.requests / entry.rows_seen for entry in whole)
        # A sync that went on where another one was cut off took fewer.
        requests = max(round(facts.rows * share), math.ceil(facts.rows / facts.page_size), 1)
    return Cost(requests, _seconds(requests, whole, facts))


def _is_incremental(facts: Facts) -> bool:
    """Whether the next sync reads what is new, not everything."""
    if not facts.syncs:
        return False
    last = facts.syncs[0]
    if last.list_order is not None and last.page_size is not None:
        return KnownOrder(last.list_order, last.rows_alive, last.page_size).is_worth_it
    return last.verified == "filter"


def _increment(facts: Facts, reconcile: Cost | None) -> Cost:
    """What it takes to look at the ends, and a page for as many rows as are new or a few for each gone."""
    cheap = [entry for entry in facts.syncs if entry.mode == "sync" and entry.verified in CHEAP][:ALIKE]
    last = facts.syncs[0]
    # Without syncs alike: a page at each end, and one more for the end of a list that has no total.
    base, usual = 2.0 if last.api_total is not None else 3.0, 0.0
    if cheap:
        base = median(entry.requests - _pages_of_new(entry.rows_new, facts) for entry in cheap)
        usual = median(entry.rows_new for entry in cheap)
    growth = usual if facts.total is None else facts.total - (last.api_total or last.rows_alive)
    requests = max(1, round(base) + _pages_of_new(growth, facts) + _probes(-growth, facts))
    if reconcile is not None and requests > reconcile.requests:
        return reconcile
    return Cost(requests, _seconds(requests, cheap or facts.syncs[:ALIKE], facts))


def _pages_of_new(rows: float, facts: Facts) -> int:
    """How many pages more it takes to read new rows: those at the ends have half a page of room for them."""
    return facts.pages(rows - facts.page_size // 2)


def _probes(gone: float, facts: Facts) -> int:
    """How many pages in between it takes to find rows that are gone, by halving."""
    if gone <= 0:
        return 0
    return math.ceil(gone * (1 + math.log2(max(2.0, facts.pages(facts.held or 0) / gone))))


def _seconds(requests: int, alike: Sequence[LedgerEntry], facts: Facts) -> float | None:
    """As long as syncs alike took for so many requests, and not less than the rate limit says.

    Without such syncs, as long as the requests alone take if all are as fast as the one that was asked.
    """
    limited = None if facts.rate is None else requests / facts.rate
    spent = [(entry.ended_at - entry.started_at).total_seconds() / max(1, entry.requests) for entry in alike]
    if spent:
        expected: float | None = requests * median(spent)
    elif facts.page_seconds is not None:
        expected = math.ceil(requests / facts.in_flight) * facts.page_seconds
    else:
        expected = None
    return max((seconds for seconds in (limited, expected) if seconds is not None), default=None)


def _known_from(facts: Facts) -> str:
    sources = []
    if facts.page_rows is not None:
        sources.append("the API's total" if facts.total is not None else "the API's first page")
    if facts.syncs:
        count = min(len(facts.syncs), ALIKE)
        sources.append(f"the last {count} syncs" if count > 1 else "the last sync")
    return " and ".join(sources) or "nothing: it was never synced"


# ---- the facts -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plans:
    """The plans of a connection, and what is to be said about them."""

    plans: tuple[Plan, ...]
    notes: tuple[str, ...]


def busy_note(connection: Connection, location: WarehouseLocation) -> str | None:
    """Who syncs the connection now, in words; None where nobody does.

    A sync has the rate of the connection to itself: while it is under way, the API is not asked for a plan.
    """
    holder = is_held(location, connection.name)
    if holder is None:
        return None
    return f"{connection.name} is being synced by {holder}; the API is not asked meanwhile"


def read_plans(connection: Connection, location: WarehouseLocation, api: Api | None) -> Plans:
    """Plans all resources of a connection, with one request for each.

    Args:
        connection: The connection.
        location: The warehouse. One that is missing, or held by another process, is done without.
        api: The connection's API, None to ask it nothing.
    """
    notes: list[str] = []
    resources = [resource for resource in connection.resources if resource.selected]
    syncs: Mapping[str, tuple[LedgerEntry, ...]] = {}
    try:
        syncs = _last_syncs(connection, resources, location)
    except WarehouseMissingError:
        notes.append("nothing was synced yet")
    except MessagingError as error:
        notes.append(f"planned without the last syncs: {error}")
    plans = []
    for resource in resources:
        facts = _facts(connection, resource, syncs.get(resource.name, ()))
        if api is not None:
            try:
                facts = _asked(facts, api, resource)
            except ApiError as error:
                notes.append(f"{resource.name} is planned without the API: {error}")
                if isinstance(error, UnreachableError | AuthenticationError):
                    api = None
        plans.append(plan(facts))
    return Plans(tuple(plans), tuple(dict.fromkeys(notes)))


def plan_before_sync(connection: Connection, resource: Resource, location: WarehouseLocation) -> Plan | None:
    """Plans a resource without a request, from the ledger alone.

    Returns:
        The plan; None where it was never synced, so that its first page tells how much there is, and where
        the warehouse can't be read, which is the sync's to tell.
    """
    try:
        syncs = _last_syncs(connection, [resource], location)[resource.name]
    except MessagingError:
        return None
    return plan(_facts(connection, resource, syncs)) if syncs else None


def _last_syncs(
    connection: Connection, resources: Sequence[Resource], location: WarehouseLocation
) -> dict[str, tuple[LedgerEntry, ...]]:
    with (
        typed_failures(location.database),
        open_database(location.database, timeout=PATIENCE_SECONDS, read_only=True) as database,
    ):
        return {
            resource.name: tuple(
                entry
                for entry in last_syncs(database, connection.name, resource=resource.name, limit=ENTRIES)
                if entry.error is None
            )
            for resource in resources
        }


def _facts(connection: Connection, resource: Resource, syncs: tuple[LedgerEntry, ...]) -> Facts:
    settings = offset_settings(resource)
    return Facts(
        resource=resource.name,
        limit=None if settings is None else settings.limit,
        rate=connection.client.get("requests_per_second"),
        in_flight=connection.client.get("in_flight", Facts.in_flight),
        syncs=syncs,
    )


def _asked(facts: Facts, api: Api, resource: Resource) -> Facts:
    """The facts with what the first page says; a list that is not paged by offset is not asked for."""
    if not is_swept(resource):
        return facts
    pages = EndpointPages(api, resource)
    started = time.monotonic()
    page = pages.fetch(pages.start, pages.limit).result()
    return replace(
        facts,
        total=page.total,
        page_rows=len(page.records),
        page_seconds=time.monotonic() - started,
    )
