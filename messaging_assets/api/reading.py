"""How a resource is read: as a list by offset, swept; anything else through dlt's own paginators.

Both ways give the same: deliveries of what differs from the rows held, and at the end a verdict. The rules
of sweeping stand in `sweep`, those of the verdict in `proof`.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from dlt.common.exceptions import DltException

from messaging_assets.api.connection import Resource
from messaging_assets.api.delivery import Delivery, compare
from messaging_assets.api.digests import key_digests
from messaging_assets.api.endpoint import EndpointPages
from messaging_assets.api.errors import ApiError, MessagingError
from messaging_assets.api.filter import Filter, FilteredList, filter_of
from messaging_assets.api.page_memory import PageMemory
from messaging_assets.api.proof import Verdict
from messaging_assets.api.row_index import RowIndex, UnseenKeys
from messaging_assets.api.source import Api, offset_settings
from messaging_assets.api.sweep import MAX_PASSES, Checkpoint, Sweep, SweepProgress

# Records of a stream that are looked at together.
STREAM_BATCH = 1_000
# What a resource may say beyond a plain list; dlt's own machinery understands it.
_WORDS_FOR_DLT = ("processing_steps", "response_actions")


class Reading(Protocol):
    """One reading of a resource, to its end and to a verdict."""

    @property
    def progress(self) -> SweepProgress:
        """The account; it has a verdict at the end."""

    @property
    def index(self) -> RowIndex:
        """The rows held; it is brought up to date."""

    def __iter__(self) -> Iterator[Delivery]:
        """Reads, and gives what differs from the rows held."""

    def unseen(self) -> UnseenKeys:
        """The living rows that count as gone, if the verdict is `full`."""

    def checkpoint(self) -> Checkpoint | None:
        """Where the reading stands between two deliveries, None where it can't be resumed."""


def open_reading(
    api: Api,
    resource: Resource,
    index: RowIndex,
    resume_from: Checkpoint | None = None,
    memory: PageMemory | None = None,
) -> Reading:
    """Chooses how to read a resource.

    Args:
        api: The connection's API.
        resource: The resource.
        index: The rows held; it is brought up to date.
        resume_from: Where an earlier run stopped, for a resource that is swept.
        memory: What is remembered of its pages, for a resource whose pages are.
    """
    if is_swept(resource):
        by_filter = filter_of(resource)
        pages = EndpointPages(api, resource, params=by_filter.params(None) if by_filter else {})
        return Sweep(
            pages,
            index,
            resource.primary_key,
            resume_from=resume_from,
            remembers=remembers_pages(resource),
            memory=memory,
        )
    return Stream(api, resource, index)


def remembers_pages(resource: Resource) -> bool:
    """Whether the pages of a resource are remembered, to be recognised when it is swept again.

    What is appended is compared with nothing. With a filter whole sweeps are rare, and the cursor takes every
    row.
    """
    is_compared = resource.write_disposition != "append"
    return is_compared and is_swept(resource) and filter_of(resource) is None


def open_filtered(
    api: Api, resource: Resource, index: RowIndex, by: Filter, cursor: Any, *, page_size: int = 0
) -> FilteredList:
    """Reads what is new since a cursor, by the API's own filter.

    Args:
        api: The connection's API.
        resource: The resource.
        index: The rows held that may be among the new ones; it is brought up to date.
        by: The filter.
        cursor: How far the last sync came.
        page_size: The largest page that the server has returned.
    """
    params = by.params(cursor)
    pages = EndpointPages(api, resource, params=params)
    sweep = Sweep(pages, index, resource.primary_key, page_size=page_size)
    return FilteredList(sweep, params[by.parameter])


def first_records(api: Api, resource: Resource, count: int) -> list[Any]:
    """The first records of a resource, by one request where it is a list of its own.

    Raises:
        ApiError: The API did not give them.
    """
    if is_swept(resource):
        pages = EndpointPages(api, resource)
        return pages.fetch(pages.start, count).result().records[:count]
    return _next_records(iter(api.source().resources[resource.name]), count, resource.name)


def _next_records(records: Iterator[Any], count: int, resource: str) -> list[Any]:
    """The next records of a dlt resource.

    Raises:
        ApiError: The error that stopped dlt, or one in its place: dlt's own texts may hold content.
    """
    try:
        return list(islice(records, count))
    except DltException as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, MessagingError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        raise ApiError(
            f"dlt could not read the resource ({type(error.__cause__ or error).__name__})",
            where=resource,
            remedy="check its endpoint: path, paginator, data_selector",
        ) from None


def is_swept(resource: Resource) -> bool:
    """Whether a resource is a list of its own by limit and offset, so that paging can be proved."""
    if resource.instance is not None or offset_settings(resource) is None:
        return False
    words = {**resource.definition, **resource.endpoint}
    if any(words.get(word) for word in _WORDS_FOR_DLT) or depends_on_parent(resource):
        return False
    params = (resource.endpoint.get("params") or {}).values()
    is_bound = bool(words.get("incremental")) or any(isinstance(value, dict) for value in params)
    return not is_bound or filter_of(resource) is not None


def depends_on_parent(resource: Resource) -> bool:
    """Whether a resource is read once for each row of another one."""
    texts = str([resource.endpoint.get(word) for word in ("path", "params", "json", "data", "headers")])
    return "{resources." in texts or "'type': 'resolve'" in texts


class Stream:
    """Reads what dlt's own paginators give, again until two readings in a row agree.

    Args:
        api: The connection's API.
        resource: The resource.
        index: The rows held; it is brought up to date.
    """

    def __init__(self, api: Api, resource: Resource, index: RowIndex) -> None:
        self.progress = SweepProgress()
        self.index = index
        self._api = api
        self._name = resource.name
        self._primary_key: Sequence[str] = resource.primary_key

    def __iter__(self) -> Iterator[Delivery]:
        """Reads the resource twice at least."""
        before: int | None = None
        verdict = Verdict("no", "no two readings in a row gave the same rows")
        for _ in range(MAX_PASSES):
            yield from self._read()
            if before is not None and before == self.index.seen == self.index.seen_again:
                verdict = Verdict("full", "two readings in a row gave the same rows")
                break
            before = self.index.seen
        self.progress.verdict = verdict

    def unseen(self) -> UnseenKeys:
        """The living rows that neither of the last two readings gave."""
        return self.index.unseen(passes=2)

    def checkpoint(self) -> None:
        """None: what dlt's paginators read can't be resumed."""

    def _read(self) -> Iterator[Delivery]:
        self.index.begin_pass()
        self.progress.passes += 1
        records = iter(self._api.source().resources[self._name])
        while batch := _next_records(records, STREAM_BATCH, self._name):
            yield self._deliver(batch)

    def _deliver(self, records: list[Any]) -> Delivery:
        keys = key_digests(records, self._primary_key)
        delivery = compare(self.index, records, keys)
        self.progress.note(delivery, self.index)
        return delivery
