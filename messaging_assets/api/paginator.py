"""The offset paginator's settings, and anchored paging as a paginator for dlt's own REST client.

dlt drives this one page after the other; it serves plain dlt pipelines and endpoints below a parent. The
platform's own syncs read pages side by side (see `sweep`). The rule itself stands in `paging`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests import Request, Response

from messaging_assets.api.delivery import compare
from messaging_assets.api.digests import key_digests, keys_there
from messaging_assets.api.errors import PagingError
from messaging_assets.api.page import PageDecoder
from messaging_assets.api.paging import AnchoredPaging
from messaging_assets.api.request import shown
from messaging_assets.api.row_index import RowIndex


@dataclass(frozen=True)
class OffsetSettings:
    """What dlt's offset paginator can be told, under the same names and with the same defaults.

    `stop_after_empty_page` is accepted and has no effect: the end is always looked for.
    """

    limit: int = 100
    offset: int = 0
    offset_param: str | None = "offset"
    limit_param: str | None = "limit"
    offset_body_path: str | None = None
    limit_body_path: str | None = None
    total_path: str | None = "total"
    maximum_offset: int | None = None
    stop_after_empty_page: bool = True
    has_more_path: str | None = None

    @classmethod
    def from_config(cls, paginator: Mapping[str, Any]) -> "OffsetSettings":
        """Reads `{type: offset, limit: 100, ...}`; where limit or offset is null, it has its default."""
        given = {key: value for key, value in paginator.items() if key != "type"}
        for setting in ("limit", "offset"):
            if given.get(setting) is None:
                given.pop(setting, None)
        if given.get("offset_body_path"):
            given["offset_param"] = None
        if given.get("limit_body_path"):
            given["limit_param"] = None
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in given.items() if key in known})

    def place(self, offset: int, limit: int, params: dict[str, Any], body: dict[str, Any]) -> None:
        """Writes offset and limit to where the API wants them: query parameters or the JSON body."""
        for value, param, path in (
            (offset, self.offset_param, self.offset_body_path),
            (limit, self.limit_param, self.limit_body_path),
        ):
            if path:
                _set_at(body, path, value)
            elif param:
                params[param] = value


def _set_at(body: dict[str, Any], path: str, value: int) -> None:
    *parents, last = path.removeprefix("$.").split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
    body[last] = value


class AnchoredOffsetPaginator(BasePaginator):
    """Reads an offset endpoint completely, whatever page size the server really uses.

    Rows that a page repeats are left out unless they changed.

    Args:
        settings: Limit, start and names of the parameters.
        primary_key: The fields that tell rows apart.
        data_selector: The JSON path of the records. An answer without it is refused; dlt takes it for an
            empty page.

    Example:
        >>> paginator = AnchoredOffsetPaginator(OffsetSettings(limit=100))
    """

    def __init__(
        self,
        settings: OffsetSettings,
        primary_key: tuple[str, ...] = ("id",),
        data_selector: str | None = None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._primary_key = primary_key
        self._data_selector = data_selector
        self._decoder = PageDecoder(data_selector, settings.total_path, settings.has_more_path)
        self._start()

    def _start(self) -> None:
        self._index = RowIndex()
        self._index.begin_pass()
        self._known: set[int] = set()
        self._paging = AnchoredPaging(
            self._settings.limit,
            lambda key: key in self._known,
            start=self._settings.offset,
            maximum_offset=self._settings.maximum_offset,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "AnchoredOffsetPaginator":
        """dlt copies a paginator for each parent: each list is read by a paging of its own."""
        return type(self)(self._settings, self._primary_key, self._data_selector)

    def init_request(self, request: Request) -> None:
        """Asks for the first page."""
        self._start()
        self._has_next_page = True
        self.update_request(request)

    def update_request(self, request: Request) -> None:
        """Asks for the page that `update_state` settled on."""
        if self._paging.next_offset is None:
            return
        request.params = dict(request.params or {})
        body = dict(request.json or {})
        self._settings.place(self._paging.next_offset, self._paging.limit, request.params, body)
        if body:
            request.json = body

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Takes note of a page; leaves in `data` only the rows that are new, changed or without a key.

        Raises:
            PagingError: The server ignores the offset, or the list changes faster than it is read.
            MalformedPageError: The answer holds no list of records.
        """
        records = data if data is not None else []
        keys = key_digests(records, self._primary_key)
        self._known = self._index.seen_among(keys_there(keys))
        offset = self._paging.next_offset
        assert offset is not None
        page = self._decoder(response.content)
        try:
            step = self._paging.receive(offset, keys, total=page.total, has_more=page.has_more)
        except PagingError as error:
            error.add_place(shown(response.url))
            raise
        fresh = compare(self._index, records, keys) if step.accepted else None
        records[:] = [*fresh.records, *fresh.keyless] if fresh else []
        self._has_next_page = not step.finished
