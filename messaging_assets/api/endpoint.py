"""The pages of one endpoint by limit and offset: asking for one, at any place.

Which pages to ask for belongs to `sweep` and `glance`; how a request travels, to `transport`.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from messaging_assets.api.connection import Resource
from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import MalformedPageError
from messaging_assets.api.page import Page, PageDecoder
from messaging_assets.api.request import ApiRequest, ApiResponse
from messaging_assets.api.source import Api, offset_settings
from messaging_assets.api.transport import SpoiledAnswer, Transport
from messaging_assets.api.usage import Usage


class _PendingPage:
    """A page that was asked for, decoded by whoever takes it and when it is taken.

    Decoded in the event loop, pages would leave the processor's caches before anybody looks at them, which
    costs a tenth of a first sync.

    Args:
        transport: Has been asked for it.
        request: The request.
        answer: The answer, once it is there.
        decode: Turns an answer into the page.
        usage: Counts the request.
    """

    def __init__(
        self,
        transport: Transport,
        request: ApiRequest,
        answer: Future[ApiResponse],
        decode: Callable[[ApiResponse], Page],
        usage: Usage,
    ) -> None:
        self._transport = transport
        self._request = request
        self._answer = answer
        self._decode = decode
        self._usage = usage
        # The answer that was asked for again.
        self._decoded: ApiResponse | None = None

    def body(self) -> bytes:
        """Waits for the answer as it came; after `result` it is the body of that page."""
        return (self._decoded or self._answer.result()).body

    def result(self) -> Page:
        """Waits for the page; what is no page is asked for again, as the error handler allows."""
        answer = self._answer.result()
        try:
            return self._decode(answer)
        except MalformedPageError as error:
            spoiled = SpoiledAnswer(error, answer.attempts)
        return self._transport.call(self._request, self._decode_again, self._usage, spoiled)

    def _decode_again(self, answer: ApiResponse) -> Page:
        self._decoded = answer
        return self._decode(answer)

    def cancel(self) -> bool:
        """Gives it up."""
        return self._answer.cancel()


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
        self._decoder = PageDecoder(selector, settings.total_path, settings.has_more_path)

    def fetch(self, offset: int, limit: int) -> _PendingPage:
        """Asks for a page and returns at once."""
        return self.fetch_all([offset], limit)[0]

    def fetch_all(self, offsets: Sequence[int], limit: int) -> list[_PendingPage]:
        """Asks for several pages and returns at once."""
        transport, usage = self._api.transport, self._usage
        requests = [self._request_for(offset, limit) for offset in offsets]
        answers = transport.submit_all([transport.send(request, _as_it_is, usage) for request in requests])
        return [
            _PendingPage(transport, request, answer, self._decode, usage)
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _request_for(self, offset: int, limit: int) -> ApiRequest:
        params = dict(self._request.params or {})
        body = dict(self._request.json or {})
        self._settings.place(offset, limit, params, body)
        return replace(self._request, params=params, json=body or None)

    def _decode(self, response: ApiResponse) -> Page:
        return self._decoder(response.body)


def _as_it_is(response: ApiResponse) -> ApiResponse:
    return response
