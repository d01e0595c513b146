"""Requests and answers as plain values, and addresses as they may be shown.

What the transport takes and gives stands here, with what it needs from an authoriser. Nothing here
sends anything.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from multidict import CIMultiDict
from requests.utils import requote_uri

from messaging_assets.api.error_handler import ErrorHandler

# They belong to the connection, which the transport looks after.
UNSENT_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})


@dataclass
class Outgoing:
    """One request as it goes out, open to the authoriser's changes. A retry makes a new one."""

    method: str
    url: str
    headers: CIMultiDict[str]
    body: bytes | None


class AfterRefusal(Enum):
    """What an authoriser has to offer after a request came back with 401."""

    FINAL = "nothing else to try"
    RENEWED = "fresh credentials, obtained for this request"
    REPLACED = "other credentials, obtained for another request meanwhile"


class Authoriser(Protocol):
    """Adds credentials to requests. Called in the transport's event loop, for each attempt anew."""

    async def authorise(self, request: Outgoing) -> None:
        """Add credentials to the request's headers or address."""

    async def renew_after_refusal(self, request: Outgoing, *, may_renew: bool) -> AfterRefusal:
        """Say what to do now that the request's credentials were refused.

        Args:
            request: The request with the credentials that were refused.
            may_renew: Whether new ones may be obtained; False where that was done for it already and no
                other request has been accepted since.
        """


@dataclass(frozen=True)
class ApiRequest:
    """What to ask for; the transport turns it into as many requests as it takes.

    Attributes:
        url: The address; a query in it is kept.
        method: The HTTP method.
        params: Added to the query. None values are left out, lists repeat the parameter.
        headers: Sent as they are.
        body: The body, unless `json` has one.
        json: The body as a value, sent as JSON.
        authoriser: Adds the credentials, None where there are none.
        error_handler: Which failures are tried again.
        address_setting: The name of the setting that holds the address, for error messages.
        in_turn: Whether it counts among the requests that may be in flight at once. A request for a token
            does not: those who wait for it hold all the turns.
    """

    url: str
    method: str = "GET"
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    json: Mapping[str, Any] | None = None
    authoriser: Authoriser | None = None
    error_handler: ErrorHandler = field(default_factory=ErrorHandler)
    address_setting: str = "base_url"
    in_turn: bool = True

    def outgoing(self) -> Outgoing:
        """Return the request as it goes out, without credentials."""
        headers = CIMultiDict({"User-Agent": "messaging-assets", "Accept": "application/json, */*;q=0.1"})
        headers.update({n: v for n, v in self.headers.items() if n.lower() not in UNSENT_HEADERS})
        # What the transport can decompress within its bounds, whatever another library would accept.
        headers["Accept-Encoding"] = "gzip, deflate"
        body = self.body
        if self.json is not None:
            body = json.dumps(self.json, allow_nan=False).encode()
            headers.setdefault("Content-Type", "application/json")
        return Outgoing(self.method, with_params(self.url, self.params), headers, body)


@dataclass(frozen=True)
class ApiResponse:
    """What came back.

    Attributes:
        status: The status code.
        headers: The headers; names without regard to case.
        body: The decompressed body.
        url: The address that answered, after redirects.
        attempts: How many attempts it took.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    attempts: int = 1

    @property
    def succeeded(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


def form_encoded(params: Mapping[str, Any] | None) -> str:
    """Write parameters as the library requests writes them.

    Args:
        params: None values are left out, lists repeat the parameter.

    Example:
        >>> form_encoded({"limit": 1, "ids": [2, 3], "cursor": None})
        'limit=1&ids=2&ids=3'
    """
    return urlencode(
        [
            (name, item)
            for name, value in (params or {}).items()
            for item in (value if isinstance(value, list | tuple | set) else (value,))
            if item is not None
        ]
    )


def with_params(url: str, params: Mapping[str, Any] | None) -> str:
    """Add parameters to an address and its query."""
    address = _quoted(url)
    query = form_encoded(params)
    if not query:
        return address
    return f"{address}{'&' if '?' in address else '?'}{query}"


def shown(url: str) -> str:
    """Return an address as it may be shown: without query, user and password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


# Each request of a list has the address of the one before, but for its query.
@lru_cache
def _quoted(url: str) -> str:
    parts = urlsplit(url)
    return requote_uri(urlunsplit((parts.scheme, parts.netloc, parts.path or "/", parts.query, "")))


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address: credentials for one origin don't go to another."""
    return _origin(url.partition("?")[0])


@lru_cache
def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def setting_name(connection: str | None, key: str) -> str:
    """Return the name under which a user finds a setting.

    Args:
        connection: The connection's name; None for a dictionary that was handed over in Python.
        key: For example `base_url`.

    Returns:
        The key for dlt's configuration, or the place in the dictionary.
    """
    if connection is not None:
        return f"sources.{connection}.{key}"
    return f"client.auth.{key}" if key in ("client_id", "client_secret", "token_url") else f"client.{key}"


def basic_authorization(user: str, password: str) -> str:
    """Return the value of an Authorization header for HTTP Basic."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
