"""Who gets a token, and how long it is good."""

from base64 import b64encode
from typing import Any

import pytest

from messaging_assets.sandbox.faults import Faults
from messaging_assets.sandbox.tokens import TokenDesk

GRANT = {"grant_type": "client_credentials"}
BODY = {**GRANT, "client_id": "me", "client_secret": "p+ss wörd"}


class Seconds:
    """A clock to turn by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


def _desk(clock: Seconds | None = None) -> TokenDesk:
    return TokenDesk("me", "p+ss wörd", clock or Seconds())


def _issued(desk: TokenDesk, faults: Faults | None = None, **fields: str) -> dict[str, Any]:
    status, body = desk.answer(BODY | fields, None, faults or Faults())
    assert status == 200
    return body


@pytest.mark.parametrize("basic", ["me:p+ss wörd", "me:p%2Bss+w%C3%B6rd", "me:p%2Bss%20w%C3%B6rd"])
def test_id_and_secret_in_the_body_or_as_basic(basic: str) -> None:
    assert _desk().answer(BODY, None, Faults())[0] == 200
    assert _desk().answer(GRANT, _basic(basic), Faults())[0] == 200


@pytest.mark.parametrize(
    ("form", "authorization"),
    [
        (GRANT, None),
        ({**BODY, "client_secret": "wrong"}, None),
        ({**BODY, "client_id": "you"}, None),
        (GRANT, _basic("me:wrong")),
        (GRANT, _basic("no colon")),
        (GRANT, "Basic ???"),
        (GRANT, "Bearer x"),
    ],
)
def test_whoever_is_not_known_gets_no_token(form: dict[str, str], authorization: str | None) -> None:
    status, body = _desk().answer(form, authorization, Faults())
    assert (status, body["error"]) == (401, "invalid_client")


def test_a_server_that_wants_one_way_refuses_the_other() -> None:
    basic = _basic("me:p+ss wörd")
    assert _desk().answer(BODY, None, Faults(client_authentication="basic"))[0] == 401
    assert _desk().answer(GRANT, basic, Faults(client_authentication="basic"))[0] == 200
    assert _desk().answer(BODY, None, Faults(client_authentication="body"))[0] == 200
    assert _desk().answer(GRANT, basic, Faults(client_authentication="body"))[0] == 401


def test_grant_scope_and_audience_are_looked_at() -> None:
    desk = _desk()
    assert (
        desk.answer({**BODY, "grant_type": "password"}, None, Faults())[1]["error"]
        == "unsupported_grant_type"
    )
    assert desk.answer(BODY, None, Faults(token_scope="read"))[1]["error"] == "invalid_scope"
    assert desk.answer(BODY, None, Faults(token_audience="api"))[1]["error"] == "invalid_target"
    faults = Faults(token_scope="read", token_audience="api")
    assert desk.answer({**BODY, "scope": "write read", "audience": "api"}, None, faults)[0] == 200


def test_a_token_is_good_until_it_expires() -> None:
    clock = Seconds()
    desk = _desk(clock)
    body = _issued(desk, Faults(token_life=60))
    assert body["expires_in"] == 60
    assert body["token_type"] == "Bearer"
    header = f"Bearer {body['access_token']}"
    clock.now = 59.9
    assert desk.accepts(header)
    assert desk.accepts(header.replace("Bearer", "bearer"))
    clock.now = 60
    assert not desk.accepts(header)


def test_a_token_is_revoked_early_after_so_many_uses() -> None:
    desk = _desk()
    first, second = (f"Bearer {_issued(desk, Faults(token_uses=2))['access_token']}" for _ in range(2))
    assert [desk.accepts(first) for _ in range(4)] == [True, True, False, False]
    assert desk.accepts(second)
    desk.revoke_all()
    assert not desk.accepts(second)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic eDp5"])
def test_other_headers_are_not_good(header: str | None) -> None:
    desk = _desk()
    _issued(desk)
    assert not desk.accepts(header)


def test_expires_in_can_be_text_or_missing() -> None:
    assert _issued(_desk(), Faults(expires_in="text", token_life=1.5))["expires_in"] == "1.5"
    assert "expires_in" not in _issued(_desk(), Faults(expires_in="missing"))
