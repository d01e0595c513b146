"""The pages of one endpoint by limit and offset: asking for one, at any place.

Which pages to ask for belongs to `sweep` and `glance`; how a request travels, to `transport`.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from messaging_assets.api.connection import Resource
from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.page import Page, PageDecoder
from messaging_assets.api.source import Api, offset_settings


class EndpointPages:
    """Fetches pages of a resource that is a list of its own, paged by offset.

    Args:
        api: The connection's API.
        resource: The resource.
        params: Query parameters beyond what the resource says.
        error_handler: Which failures are tried again, where that differs from what the resource says.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        *,
        params: Mapping[str, Any] | None = None,
        error_handler: ErrorHandler | None = None,
    ) -> None:
        settings = offset_settings(resource)
        assert settings is not None
        self.limit = settings.limit
        self.start = settings.offset
        self.maximum_offset = settings.maximum_offset
        self.in_flight = api.transport.in_flight
        self._api = api
        self._settings = settings
        self._request = api.endpoint_request(resource.name)
        if params:
            self._request = replace(self._request, params={**(self._request.params or {}), **params})
        if error_handler is not None:
            self._request = replace(self._request, error_handler=error_handler)
        self._usage = api.usage(resource.name)
        selector = resource.endpoint.get("data_selector")
        self._decode = PageDecoder(selector, settings.total_path, settings.has_more_path)

    def fetch(self, offset: int, limit: int) -> "Future[Page]":
        """Asks for a page and returns at once."""
        params = dict(self._request.params or {})
        body = dict(self._request.json or {})
        self._settings.place(offset, limit, params, body)
        request = replace(self._request, params=params, json=body or None)
        sending = self._api.transport.send(request, lambda response: self._decode(response.body), self._usage)
        return self._api.transport.submit(sending)
