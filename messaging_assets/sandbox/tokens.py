"""Tokens of OAuth2's client credentials: who may have one, and how long it is good.

No HTTP here beyond the two places in which a client writes its id and secret.
"""

import hmac
import secrets
import time
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from messaging_assets.sandbox.faults import Faults


@dataclass
class _Token:
    expires: float
    uses_left: int | None


class TokenDesk:
    """Hands out tokens and knows which are good.

    Args:
        client_id: The id that it accepts.
        client_secret: The secret that it accepts.
        clock: Returns seconds that only go forwards.
    """

    def __init__(
        self, client_id: str, client_secret: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._tokens: dict[str, _Token] = {}

    def answer(
        self, form: Mapping[str, str], authorization: str | None, faults: Faults
    ) -> tuple[int, dict[str, Any]]:
        """Return status and body of the token endpoint's answer.

        Args:
            form: The fields of the request's body.
            authorization: The request's header of that name.
            faults: How long the token is good, and what the endpoint insists on.
        """
        given = self._given(form, authorization, faults)
        if given is None or not self._known(*given):
            return 401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"}
        if form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        if faults.token_scope is not None and faults.token_scope not in form.get("scope", "").split():
            return 400, {"error": "invalid_scope"}
        if faults.token_audience is not None and form.get("audience") != faults.token_audience:
            return 400, {"error": "invalid_target"}
        return 200, self._issued(faults)

    def accepts(self, authorization: str | None) -> bool:
        """Tell whether a request with this header is authorised; it counts as a use of the token."""
        scheme, _, text = (authorization or "").partition(" ")
        token = self._tokens.get(text.strip()) if scheme.lower() == "bearer" else None
        if token is None or self._clock() >= token.expires or token.uses_left == 0:
            return False
        if token.uses_left is not None:
            token.uses_left -= 1
        return True

    def accepts_basic(self, authorization: str | None) -> bool:
        """Tell whether the header holds the client's id and secret as HTTP Basic."""
        given = _basic(authorization)
        return given is not None and self._known(*given)

    def accepts_secret(self, secret: str | None) -> bool:
        """Tell whether this is the client's secret."""
        return secret is not None and self._known(self._client_id, secret)

    def revoke_all(self) -> None:
        """Make every token invalid that was handed out."""
        self._tokens.clear()

    def _given(
        self, form: Mapping[str, str], authorization: str | None, faults: Faults
    ) -> tuple[str, str] | None:
        basic = _basic(authorization)
        if faults.client_authentication != "body" and basic is not None:
            return basic
        if faults.client_authentication != "basic" and "client_id" in form and "client_secret" in form:
            return form["client_id"], form["client_secret"]
        return None

    def _known(self, client_id: str, client_secret: str) -> bool:
        # OAuth2 (RFC 6749, section 2.3.1) has both encoded as in a form before they are joined for HTTP
        # Basic; many clients leave that out.
        given = ((client_id, client_secret), (unquote_plus(client_id), unquote_plus(client_secret)))
        return any(self._equal(*pair) for pair in given)

    def _equal(self, client_id: str, client_secret: str) -> bool:
        same_id = hmac.compare_digest(client_id.encode(), self._client_id.encode())
        return hmac.compare_digest(client_secret.encode(), self._client_secret.encode()) and same_id

    def _issued(self, faults: Faults) -> dict[str, Any]:
        now = self._clock()
        self._tokens = {text: token for text, token in self._tokens.items() if token.expires > now}
        text = secrets.token_urlsafe(24)
        self._tokens[text] = _Token(now + faults.token_life, faults.token_uses)
        body: dict[str, Any] = {"access_token": text, "token_type": "Bearer"}
        life = int(faults.token_life) if faults.token_life == int(faults.token_life) else faults.token_life
        if faults.expires_in != "missing":
            body["expires_in"] = str(life) if faults.expires_in == "text" else life
        return body


def _basic(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = b64decode(encoded, validate=True).decode().partition(":")
    except (NotBase64, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
