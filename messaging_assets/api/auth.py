"""Credentials: OAuth2 client credentials, and every other authorisation that dlt knows.

An authoriser adds credentials to each attempt anew, so that a retry never carries an old token. Sending
the request for a token, and its retries, belong to the transport; where the values of secrets come from
belongs to `settings.py`.
"""

import asyncio
import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote_plus, urlencode

import requests
from dlt.sources.helpers.requests import Session as DltSession
from dlt.sources.helpers.rest_client.auth import (
    APIKeyAuth,
    BearerTokenAuth,
    HttpBasicAuth,
    OAuth2ClientCredentials,
)
from dlt.sources.rest_api.config_setup import create_auth
from multidict import CIMultiDict
from requests.auth import AuthBase

from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import ApiError, AuthenticationError, MalformedPageError, ResponseStatusError
from messaging_assets.api.page import parse_json
from messaging_assets.api.request import (
    AfterRefusal,
    ApiRequest,
    ApiResponse,
    Authoriser,
    Outgoing,
    basic_authorization,
    shown,
)
from messaging_assets.api.status import status_text
from messaging_assets.api.transport import Transport
from messaging_assets.api.usage import Usage

__all__ = ["Authoriser", "Authorisers", "ClientCredentials", "OAuth2Authoriser", "RequestsAuthoriser"]

REFUSALS = frozenset({400, 401, 403})
LONGEST_MARGIN = 30.0
SHARE_OF_LIFE_AS_MARGIN = 0.2
# The codes that OAuth2 itself defines, with what to look at; a server's own words are never shown.
OAUTH2_CODES = {
    "invalid_client": "the client is unknown or its secret is wrong",
    "invalid_scope": "the scope is unknown or not granted; check `scope` as well",
    "unauthorized_client": "the client may not use the grant type client_credentials",
    "unsupported_grant_type": "the server does not offer the grant type client_credentials",
    "invalid_request": "something is missing; perhaps `client_authentication`, `scope` or `audience`",
    "invalid_grant": "the server refuses the grant",
}


@dataclass(frozen=True)
class ClientCredentials:
    """What it takes to get a token.

    Attributes:
        token_url: The token endpoint.
        client_id: The client's id.
        client_secret: The client's secret.
        basic: Whether id and secret go in an HTTP Basic header instead of the body.
        fields: Further fields of the body: scope, audience, and what the configuration adds.
        default_life: A token's life in seconds where the server does not say.
    """

    token_url: str
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    basic: bool = False
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    default_life: float = 3600.0

    @classmethod
    def from_guide(cls, words: Mapping[str, Any]) -> "ClientCredentials":
        """Read the guide's `auth` of type oauth2, or dlt's oauth2_client_credentials.

        Args:
            words: The dictionary, or dlt's own object, which reads like one. What it lacks is looked
                up by dlt as dlt does for its own authorisation.

        Returns:
            The credentials. Words that dlt does not know (scope, audience, client_authentication) are
            read from the dictionary alone.
        """
        url = words.get("token_url") or words.get("access_token_url")
        client_id, client_secret = words.get("client_id"), words.get("client_secret")
        if not (url and client_id and client_secret):
            given = {
                key: value for key, value in words.items() if key in ("client_id", "client_secret") and value
            }
            given |= {"access_token_url": url} if url else {}
            looked_up = create_auth(cast(Any, {"type": "oauth2_client_credentials", **given}))
            assert isinstance(looked_up, OAuth2ClientCredentials)
            url = looked_up.access_token_url
            client_id, client_secret = looked_up.client_id, looked_up.client_secret
        further = dict(words.get("access_token_request_data") or {})
        for name in ("scope", "audience"):
            if words.get(name):
                further[name] = words[name]
        return cls(
            str(url),
            str(client_id),
            str(client_secret),
            words.get("client_authentication") == "basic",
            tuple((str(name), str(value)) for name, value in further.items()),
            float(words.get("default_token_expiration") or 3600),
        )

    def request(self, error_handler: ErrorHandler) -> ApiRequest:
        """Return the request for a token."""
        form = {"grant_type": "client_credentials"}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if self.basic:
            # RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
            user, password = quote_plus(self.client_id), quote_plus(self.client_secret)
            headers["Authorization"] = basic_authorization(user, password)
        else:
            form |= {"client_id": self.client_id, "client_secret": self.client_secret}
        return ApiRequest(
            self.token_url,
            method="POST",
            headers=headers,
            body=urlencode({**form, **dict(self.fields)}).encode(),
            error_handler=ErrorHandler(
                error_handler.retry_on_status_codes - REFUSALS,
                error_handler.max_retries,
                error_handler.backoff_factor,
                error_handler.longest_wait,
            ),
            address_setting="token_url",
            in_turn=False,
        )


@dataclass(frozen=True)
class Token:
    """An access token.

    Attributes:
        authorization: The header's value.
        fresh_until: When to get a new one, by the transport's clock.
    """

    authorization: str = field(repr=False)
    fresh_until: float


class OAuth2Authoriser:
    """One token for all requests of a transport, renewed before it expires and after a refusal.

    All of it runs in the transport's event loop, so that requests of any number of threads that need a
    token at the same time wait for one and the same renewal.

    Args:
        credentials: What it takes to get a token.
        transport: Sends the request for it, and whose clock counts.
        error_handler: Which failures of the token endpoint are tried again.
    """

    def __init__(
        self, credentials: ClientCredentials, transport: Transport, error_handler: ErrorHandler
    ) -> None:
        self._credentials = credentials
        self._transport = transport
        self._error_handler = error_handler
        self._token: Token | None = None
        self._renewal: asyncio.Task[Token] | None = None
        self._refusal: AuthenticationError | None = None

    async def authorise(self, request: Outgoing) -> None:
        """Add the token, a new one where there is none or it is about to expire.

        Raises:
            AuthenticationError: The client's id or secret is refused; found out once.
            ApiError: The token endpoint does not answer as it should.
        """
        token = self._token
        if token is None or token.fresh_until <= self._transport.clock.now():
            token = await self._renew()
        request.headers["Authorization"] = token.authorization

    async def renew_after_refusal(self, request: Outgoing, *, may_renew: bool) -> AfterRefusal:
        """Get a new token, unless the refused one has been replaced already, or is about to be."""
        current = self._token
        if current is None or request.headers.get("Authorization") != current.authorization:
            return AfterRefusal.REPLACED
        if self._renewal is not None:
            await self._renew()
            return AfterRefusal.REPLACED
        if not may_renew:
            return AfterRefusal.FINAL
        await self._renew()
        return AfterRefusal.RENEWED

    async def _renew(self) -> Token:
        if self._renewal is None:
            self._renewal = asyncio.ensure_future(self._fetch())
            self._renewal.add_done_callback(self._renewed)
        # One of those who wait may be cancelled; the others still want the token.
        return await asyncio.shield(self._renewal)

    def _renewed(self, renewal: asyncio.Task[Token]) -> None:
        self._renewal = None
        if not renewal.cancelled() and renewal.exception() is None:
            self._token = renewal.result()

    async def _fetch(self) -> Token:
        if self._refusal is not None:
            raise self._refused(self._refusal.what)
        # A token's life is counted from before it was asked for, whatever time the answer took.
        asked_at = self._transport.clock.now()
        try:
            value, life = await self._transport.exchange(
                self._credentials.request(self._error_handler), self._decode, Usage()
            )
        except AuthenticationError as error:
            self._refusal = error
            raise
        margin = min(LONGEST_MARGIN, life * SHARE_OF_LIFE_AS_MARGIN)
        return Token(f"Bearer {value}", asked_at + life - margin)

    def _decode(self, response: ApiResponse) -> tuple[str, float]:
        """Return the token and its life in seconds. Nothing of the body may get into an error."""
        if response.status in REFUSALS:
            raise self._refused(
                f"the token endpoint refuses the client ({response.status}){_reason(response)}"
            )
        if not response.succeeded:
            raise ResponseStatusError(
                f"the token endpoint answers {status_text(response.status)}",
                status=response.status,
                where=shown(response.url),
                remedy=f"check {self._transport.setting('token_url')}",
            )
        answer = _parsed(response)
        if answer is None:
            raise MalformedPageError(
                "the token endpoint's answer is not a JSON object",
                where=shown(response.url),
                remedy=f"check {self._transport.setting('token_url')}",
            )
        value = answer.get("access_token")
        if not isinstance(value, str) or not value:
            raise self._refused(f"the token endpoint answers without an access_token{_reason(response)}")
        if not (value.isascii() and value.isprintable()):
            raise self._refused("the token endpoint's access_token cannot be sent in a header")
        return value, _life(answer.get("expires_in"), self._credentials.default_life)

    def _refused(self, what: str) -> AuthenticationError:
        names = [self._transport.setting(key) for key in ("client_id", "client_secret", "token_url")]
        return AuthenticationError(
            what,
            where=shown(self._credentials.token_url),
            remedy=f"check {names[0]} and {names[1]} (and {names[2]})",
        )


def _parsed(response: ApiResponse) -> Mapping[str, Any] | None:
    try:
        answer = parse_json(response.body)
    except ApiError:
        return None
    return answer if isinstance(answer, dict) else None


def _reason(response: ApiResponse) -> str:
    code = (_parsed(response) or {}).get("error")
    reason = OAUTH2_CODES.get(code) if isinstance(code, str) else None
    return f": {reason}" if reason else ""


def _life(expires_in: Any, default: float) -> float:
    """Read expires_in, which some servers leave out or send as a text."""
    if isinstance(expires_in, bool):
        return default
    try:
        life = float(expires_in)
    except (TypeError, ValueError, OverflowError):
        return default
    return life if math.isfinite(life) and life > 0 else default


class RequestsAuthoriser:
    """Any authorisation that is written for the library requests, applied to each attempt.

    Args:
        auth: For example dlt's bearer, API key or basic authorisation, or one of the user's own.
    """

    def __init__(self, auth: AuthBase) -> None:
        self._auth = auth
        # What is known not to do any I/O of its own is called right in the event loop.
        self._in_loop = type(auth) in (APIKeyAuth, BearerTokenAuth, HttpBasicAuth)
        self._one_at_a_time = asyncio.Lock()

    async def authorise(self, request: Outgoing) -> None:
        """Have the authorisation change a request of its kind, and take over the changes."""
        prepared = requests.PreparedRequest()
        prepared.prepare(method=request.method, url=request.url, headers=request.headers, data=request.body)
        if self._in_loop:
            prepared = self._auth(prepared)
        else:
            await self._in_thread(self._auth, prepared)
        request.url = prepared.url or request.url
        request.headers = CIMultiDict(
            {name: value for name, value in prepared.headers.items() if name.lower() != "content-length"}
        )

    async def renew_after_refusal(self, request: Outgoing, *, may_renew: bool) -> AfterRefusal:  # noqa: ARG002
        """Get a new token where that is possible: from a subclass of dlt's client credentials."""
        if not may_renew or not isinstance(self._auth, OAuth2ClientCredentials):
            return AfterRefusal.FINAL
        await self._in_thread(self._auth.obtain_token)
        return AfterRefusal.RENEWED

    async def _in_thread(self, function: Any, *args: Any) -> None:
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(function, *args)
            except requests.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                raise AuthenticationError(
                    f"{type(self._auth).__name__} did not get its token ({status_text(status)})",
                    remedy="check what it is configured with",
                ) from None


class Authorisers:
    """Makes the authoriser for what a configuration says, one for all who say the same.

    Args:
        transport: The transport that sends.
        session: Sends for authorisations that obtain tokens by themselves, out of turn.
        error_handler: Which failures of token endpoints are tried again.
    """

    def __init__(self, transport: Transport, session: requests.Session, error_handler: ErrorHandler) -> None:
        self._transport = transport
        self._session = session
        self._error_handler = error_handler
        self._shared: dict[ClientCredentials, OAuth2Authoriser] = {}

    def of(self, auth: Any) -> Authoriser | None:
        """Return the authoriser for a value of `auth`.

        Args:
            auth: The guide's or dlt's dictionary, the name of a type, an object, or None.

        Returns:
            The authoriser; None where there is nothing to add.
        """
        if auth is None:
            return None
        if isinstance(auth, Mapping) and auth.get("type") in ("oauth2", "oauth2_client_credentials"):
            return self._oauth2(ClientCredentials.from_guide(auth))
        if isinstance(auth, str) and auth in ("oauth2", "oauth2_client_credentials"):
            return self._oauth2(ClientCredentials.from_guide({}))
        made = auth if isinstance(auth, AuthBase) else create_auth(auth)
        assert made is not None
        if type(made) is OAuth2ClientCredentials:
            return self._oauth2(ClientCredentials.from_guide(made))
        return RequestsAuthoriser(self._sending_by_transport(made))

    def _oauth2(self, credentials: ClientCredentials) -> OAuth2Authoriser:
        if credentials not in self._shared:
            self._shared[credentials] = OAuth2Authoriser(credentials, self._transport, self._error_handler)
        return self._shared[credentials]

    def _sending_by_transport(self, auth: AuthBase) -> AuthBase:
        """Have a token obtained through the transport, unless a session of the user's own was given."""
        if isinstance(getattr(auth, "session", None), DltSession):
            auth = copy.copy(auth)
            auth.session = self._session  # type: ignore[attr-defined]
        return auth
