"""A filter that the API offers for what is new: asking for the rows since the last sync, and no others.

A connection declares it in dlt's words (`incremental`). Here is what to ask for and how far a sync came;
reading the shorter list is `sweep`'s, and keeping the cursor between syncs the warehouse's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from messaging_assets.api.connection import Resource
from messaging_assets.api.delivery import Delivery
from messaging_assets.api.proof import Verdict, instants_of
from messaging_assets.api.row_index import RowIndex, UnseenKeys
from messaging_assets.api.sweep import CLOCK_TOLERANCE, Sweep, SweepProgress

# dlt's words that a filter over a list by offset can follow; with others the resource is read through dlt.
_WORDS = frozenset({"cursor_path", "start_param", "initial_value", "lag", "row_order", "type"})
_PLACEHOLDERS = ("{incremental.start_value}", "{incremental.last_value}")
# Epoch timestamps from 2001 on, by their size: microseconds, milliseconds, seconds.
_EPOCH_UNITS = ((10**14, 10**6), (10**11, 10**3), (10**8, 1))


@dataclass(frozen=True, slots=True)
class Filter:
    """What a resource says about asking for new rows alone.

    Attributes:
        parameter: The query parameter that takes the start.
        field: The field of a record that it is compared with.
        initial_value: Where the first sync starts, None for everything.
        lag: How far to look back for late edits: seconds, of numbers their own unit.
    """

    parameter: str
    field: str
    initial_value: Any = None
    lag: float = 0.0

    def params(self, cursor: Any) -> dict[str, Any]:
        """The query parameters for the rows since a cursor, or since the initial value for None."""
        start = self.initial_value if cursor is None else _earlier(cursor, self.lag)
        return {} if start is None else {self.parameter: start}

    def since(self, cursor: Any) -> datetime | None:
        """The instant from which on rows are asked for, None where the cursor is none."""
        return _as_instant(_earlier(cursor, self.lag))


def filter_of(resource: Resource) -> Filter | None:
    """The filter that a resource declares, None where it has none or dlt alone can follow it."""
    params = resource.endpoint.get("params") or {}
    bound = {
        name: value
        for name, value in params.items()
        if isinstance(value, Mapping) and value.get("type") == "incremental"
    }
    words = resource.endpoint.get("incremental")
    if isinstance(words, Mapping) and not bound:
        named = [name for name, value in params.items() if value in _PLACEHOLDERS]
        parameter = words.get("start_param") or (named[0] if len(named) == 1 else None)
    elif len(bound) == 1 and words is None:
        parameter, words = next(iter(bound.items()))
    else:
        return None
    if parameter is None or not set(words) <= _WORDS or not str(words["cursor_path"]).isidentifier():
        return None
    return Filter(parameter, words["cursor_path"], words.get("initial_value"), float(words.get("lag") or 0))


class Cursor:
    """How far the rows seen reach: the latest value of a field, compared as instants where they are.

    Args:
        field: The field; empty where nothing is filtered.
        latest: The latest value so far.

    Example:
        >>> cursor = Cursor("at")
        >>> cursor.add([{"at": "2026-01-01T02:10:00+01:00"}, {"at": "2026-01-01T02:50:00+02:00"}])
        >>> cursor.latest
        '2026-01-01T02:10:00+01:00'
    """

    def __init__(self, field: str, latest: Any = None) -> None:
        self.latest = latest
        self._field = field

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Takes note of records; those without a comparable value are left out."""
        for record in records if self._field else ():
            value = record.get(self._field)
            if self.latest is None or _is_later(value, self.latest):
                self.latest = value

    def settled(self, began: datetime) -> Any:
        """The latest value, but none so near to a reading's beginning that earlier ones may still come.

        A row that is edited while the list is read can be missed by the reading, although rows that were
        edited later are seen.
        """
        limit = began - CLOCK_TOLERANCE
        value = _as_instant(self.latest)
        if value is None or value <= limit:
            return self.latest
        if isinstance(self.latest, str):
            return _as_text(limit)
        unit = next(unit for size, unit in _EPOCH_UNITS if self.latest >= size)
        return int(limit.timestamp() * unit)


class FilteredList:
    """Reads the rows since a cursor. Iterates and gives the account as `Sweep` does.

    Args:
        sweep: Sweeps the filtered list.
        start: Where it starts, for the account.
    """

    def __init__(self, sweep: Sweep, start: Any) -> None:
        self._sweep = sweep
        self._start = start

    @property
    def progress(self) -> SweepProgress:
        """The account; its verdict is `filter` once the shorter list is proved to be read."""
        return self._sweep.progress

    @property
    def index(self) -> RowIndex:
        """The rows held, as far as they may be among those since the cursor."""
        return self._sweep.index

    def __iter__(self) -> Iterator[Delivery]:
        """Reads the filtered list."""
        yield from self._sweep
        verdict = self.progress.verdict
        assert verdict is not None
        since = f"of what the API filters by {self._start} "
        told = "filter" if verdict.verified == "full" else "no"
        self.progress.verdict = Verdict("filter" if told == "filter" else "no", since + verdict.reason)

    def unseen(self) -> UnseenKeys:
        """None: what is gone does not come through a filter."""
        return UnseenKeys()

    def checkpoint(self) -> None:
        """None: it is read again as quickly."""


def _is_later(value: Any, than: Any) -> bool:
    instants = instants_of([value, than])
    if instants is not None:
        return bool(instants[0] > instants[1])
    return isinstance(value, str) and isinstance(than, str) and value > than


def _as_instant(value: Any) -> datetime | None:
    if isinstance(value, str):
        instants = instants_of([value])
        return instants[0] if instants else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        unit = next((unit for size, unit in _EPOCH_UNITS if value >= size), None)
        return datetime.fromtimestamp(value / unit, UTC) if unit else None
    return None


def _earlier(value: Any, lag: float) -> Any:
    if not lag:
        return value
    if isinstance(value, str):
        instant = _as_instant(value)
        return value if instant is None else _as_text(instant - timedelta(seconds=lag))
    return type(value)(value - lag)


def _as_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
