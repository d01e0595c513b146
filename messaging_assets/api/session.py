"""A requests.Session that sends through the transport, for dlt's RESTClient and whatever stands on it.

dlt prepares a request and reads the response as it always does; retries, credentials, time-outs and
counting happen in the transport. How the transport works, and what dlt is configured with, stand
elsewhere (`transport.py`, `source.py`).
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import requests
from dlt.sources.helpers.rest_client.auth import AuthConfigBase
from requests.adapters import BaseAdapter
from requests.utils import get_encoding_from_headers

from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import ApiError, MalformedPageError
from messaging_assets.api.page import parse_json
from messaging_assets.api.request import ApiRequest, ApiResponse, Authoriser, origin_of, shown
from messaging_assets.api.status import status_error, status_text
from messaging_assets.api.transport import Transport
from messaging_assets.api.usage import Usage

_TAG = "messaging_assets_sending"


def _is_json(body: bytes) -> None:
    """Accept any JSON."""
    parse_json(body)


@dataclass(frozen=True)
class Sending:
    """How the requests of one endpoint are sent.

    Attributes:
        authoriser: Adds the credentials.
        error_handler: Which failures are tried again.
        usage: Counts the requests.
        check: Raises MalformedPageError for the body of an answer that is not a page, which is then
            tried again. None leaves all judgement to the endpoint's response actions.
        origins: Where the requests may go; empty for anywhere. An answer that names the next address
            does not lead credentials to another host.
    """

    authoriser: Authoriser | None = None
    error_handler: ErrorHandler = field(default_factory=ErrorHandler)
    usage: Usage = field(default_factory=Usage)
    check: Callable[[bytes], object] | None = _is_json
    origins: frozenset[str] = frozenset()


class DeferredAuth(AuthConfigBase):
    """What dlt attaches to a request in place of credentials: a note for the transport how to send it.

    dlt authorises a request once, before it is sent; the transport authorises each attempt.
    """

    def __init__(self, sending: Sending) -> None:
        self.sending = sending
        self.__is_resolved__ = True

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Leave the note on the request."""
        vars(request)[_TAG] = self.sending
        return request

    def __deepcopy__(self, memo: dict[int, Any]) -> "DeferredAuth":
        """Stay the same object: dlt copies its configuration, and there is one transport."""
        return self


class TransportResponse(requests.Response):
    """A response whose JSON is read without loss, and whose errors hold nothing of its body."""

    def json(self, **kwargs: Any) -> Any:
        """Return the body as a value; integers of any size and lone surrogates are kept.

        Raises:
            MalformedPageError: The body is not JSON.
        """
        if kwargs:
            return super().json(**kwargs)
        try:
            return parse_json(self.content)
        except MalformedPageError as error:
            try:
                # In an encoding that only the headers, or a response action, know.
                return super().json()
            except ValueError:
                raise MalformedPageError(
                    error.what, where=shown(self.url or ""), remedy=error.remedy
                ) from None


class TransportAdapter(BaseAdapter):
    """Sends prepared requests through the transport.

    Args:
        transport: The transport; it is not closed with the adapter.
        in_turn: Whether requests count among those in flight, see `ApiRequest`.
    """

    def __init__(self, transport: Transport, *, in_turn: bool = True) -> None:
        super().__init__()
        self._transport = transport
        self._in_turn = in_turn

    def send(  # type: ignore[override]
        self,
        request: requests.PreparedRequest,
        **settings: Any,  # noqa: ARG002
    ) -> requests.Response:
        """Send a request.

        Args:
            request: The request, tagged by DeferredAuth or not.
            settings: What a session passes on; time-outs, proxies and certificates are the transport's.

        Returns:
            The last answer, whatever its status: what it means is for the hooks to say.
        """
        sending: Sending = vars(request).get(_TAG) or Sending()
        url = request.url or ""
        self._refuse_other_origins(url, sending)

        def decode(answer: ApiResponse) -> requests.Response:
            response = _response(answer, request)
            if answer.succeeded and sending.check is not None:
                try:
                    sending.check(answer.body)
                except MalformedPageError:
                    if not _has_other_encoding(response):
                        raise
                    sending.check(response.text.encode("utf-8", "surrogatepass"))
            return response

        return self._transport.wait_for(
            self._transport.exchange(
                ApiRequest(
                    url,
                    method=request.method or "GET",
                    headers={_text(name): _text(value) for name, value in request.headers.items()},
                    body=_bytes(request.body),
                    authoriser=sending.authoriser,
                    error_handler=sending.error_handler,
                    in_turn=self._in_turn,
                ),
                decode,
                sending.usage,
            )
        )

    def close(self) -> None:
        """Leave the transport to who owns it."""

    def _refuse_other_origins(self, url: str, sending: Sending) -> None:
        if sending.origins and origin_of(url) not in sending.origins:
            raise ApiError(
                "the API's answer leads to another host, and credentials never follow there",
                where=shown(url),
                remedy=f"if that address is right, make it {self._transport.setting('base_url')}",
            )


class TransportSession(requests.Session):
    """A session without .netrc, cookies and proxies of the environment, whose requests the transport sends.

    Args:
        transport: The transport; it is not closed with the session.
        in_turn: Whether requests count among those in flight, see `ApiRequest`.
    """

    def __init__(self, transport: Transport, *, in_turn: bool = True) -> None:
        super().__init__()
        self.trust_env = False
        self.headers.clear()
        self._transport = transport
        for scheme in ("http://", "https://"):
            self.mount(scheme, TransportAdapter(transport, in_turn=in_turn))

    def __deepcopy__(self, memo: dict[int, Any]) -> "TransportSession":
        """Stay the same object: dlt copies its configuration, and there is one transport."""
        return self

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        """Send a request and have its hooks judge the response.

        Raises:
            ApiError: The error for the response's status, where a hook refuses it, or the transport's.
        """
        try:
            response = super().send(request, **settings)
        except requests.HTTPError as error:
            raise self._typed(error) from None
        if 300 <= response.status_code < 400:
            raise _status_error(response, self._transport.name)
        return response

    def _typed(self, error: requests.HTTPError) -> ApiError:
        if error.response is None:
            return ApiError("a response action refuses the answer")
        return _status_error(error.response, self._transport.name)


def _status_error(response: requests.Response, name: str | None) -> ApiError:
    attempts = vars(response).get("attempts", 1)
    answer = ApiResponse(response.status_code, response.headers, b"", response.url or "", attempts)
    return status_error(answer, name=name)


def _response(answer: ApiResponse, request: requests.PreparedRequest) -> TransportResponse:
    response = TransportResponse()
    response.status_code = answer.status
    response.headers.update(answer.headers)
    response.raw = io.BytesIO(answer.body)
    response.url = answer.url
    response.request = request
    response.reason = status_text(answer.status).partition(" ")[2]
    response.encoding = get_encoding_from_headers(response.headers)
    response.elapsed = timedelta(0)
    vars(response)["attempts"] = answer.attempts
    return response


def _has_other_encoding(response: requests.Response) -> bool:
    """Tell whether the headers name an encoding in which JSON is rarely written, but may be."""
    named = "charset" in response.headers.get("Content-Type", "").lower()
    return named and (response.encoding or "utf-8").lower() not in ("utf-8", "utf8")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(body: Any) -> bytes | None:
    """Return the whole body: a retry has to be able to send it again."""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, Mapping) or body is None or isinstance(body, bytes):
        return body if isinstance(body, bytes) else None
    return b"".join(part if isinstance(part, bytes) else str(part).encode() for part in body)
