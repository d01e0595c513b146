import asyncio
import base64
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
from dlt.sources.helpers.rest_client.auth import (
    APIKeyAuth,
    BearerTokenAuth,
    HttpBasicAuth,
    OAuth2ClientCredentials,
)
from requests.auth import AuthBase

from messaging_assets.api.auth import Authorisers, ClientCredentials
from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import (
    ApiError,
    AuthenticationError,
    MalformedPageError,
    ResponseStatusError,
    UnreachableError,
)
from messaging_assets.api.page import PageDecoder
from messaging_assets.api.session import TransportSession
from messaging_assets.api.transport import ApiRequest, ApiResponse, Authoriser, Transport, Usage
from messaging_assets.sandbox import Broken, Faults, Sandbox
from messaging_assets_tests.api.fake_clock import FakeClock
from messaging_assets_tests.api.small_server import Received, Reply, SmallServer

PAGE = PageDecoder("data")


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox(users=20, messages=500) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    shared_sandbox.order(Faults())
    shared_sandbox.revoke_tokens()
    shared_sandbox.reset_counters()
    return shared_sandbox


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def transport(clock: FakeClock) -> Iterator[Transport]:
    with Transport(clock=clock, name="messaging") as transport:
        yield transport


def authoriser(transport: Transport, auth: Any) -> Authoriser | None:
    return Authorisers(transport, TransportSession(transport, in_turn=False), ErrorHandler()).of(auth)


def oauth2(sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    return {
        "type": "oauth2",
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
        "token_url": sandbox.base_url + "/oauth/token",
        **changes,
    }


def records(response: ApiResponse) -> list[Any]:
    return PAGE(response.body).records


def ask(transport: Transport, url: str, who: Authoriser | None, usage: Usage | None = None) -> list[Any]:
    return transport.call(ApiRequest(url + "/v1/users", authoriser=who), records, usage or Usage())


def token_server(**answer: Any) -> SmallServer:
    """A server with tokens t1, t2, ..., which it says good things to whoever has a token."""
    issued = iter(range(1, 1000))

    def reply(received: Received) -> Reply:
        if received.target == "/oauth/token":
            body = {"access_token": f"t{next(issued)}", **answer}
            return Reply(body=json.dumps(body).encode())
        return Reply(body=b'{"data": [1]}')

    return SmallServer(reply)


def bearers(server: SmallServer) -> list[str]:
    return [r.headers["Authorization"] for r in server.received if r.method == "GET"]


# --- what the token endpoint is asked


@pytest.mark.parametrize("where", ["body", "basic"])
def test_id_and_secret_go_where_the_server_wants_them(
    sandbox: Sandbox, transport: Transport, where: Any
) -> None:
    sandbox.order(Faults(client_authentication=where))
    who = authoriser(transport, oauth2(sandbox, client_authentication=where))
    assert ask(transport, sandbox.base_url, who)
    other = "basic" if where == "body" else "body"
    with pytest.raises(AuthenticationError):
        ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox, client_authentication=other)))


def test_odd_characters_in_id_and_secret_survive(transport: Transport) -> None:
    with token_server() as server:
        auth = {"type": "oauth2", "client_id": "a:b &", "client_secret": "c+d%é", "token_url": server.url}
        address = server.url + "/oauth/token"
        ask(transport, server.url, authoriser(transport, {**auth, "token_url": address}))
        form = parse_qs(server.received[0].body.decode())
        assert form == {
            "grant_type": ["client_credentials"],
            "client_id": ["a:b &"],
            "client_secret": ["c+d%é"],
        }
        basic = {**auth, "token_url": address, "client_authentication": "basic"}
        ask(transport, server.url, authoriser(transport, basic))
        asked = server.received[2]
        assert b"client" not in asked.body.replace(b"client_credentials", b"")
        sent = base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")).decode()
        assert sent == "a%3Ab+%26:c%2Bd%25%C3%A9"


def test_scope_and_audience_are_sent(sandbox: Sandbox, transport: Transport) -> None:
    sandbox.order(Faults(token_scope="read", token_audience="us"))
    who = authoriser(transport, oauth2(sandbox, scope="write read", audience="us"))
    assert ask(transport, sandbox.base_url, who)
    with pytest.raises(AuthenticationError, match="scope"):
        ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox, audience="us")))


def test_dlts_own_words_and_objects_go_the_same_way(sandbox: Sandbox, transport: Transport) -> None:
    given: dict[str, Any] = {
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
        "access_token_url": sandbox.base_url + "/oauth/token",
    }
    makers = Authorisers(transport, TransportSession(transport, in_turn=False), ErrorHandler())
    words = makers.of({"type": "oauth2_client_credentials", **given})
    instance = makers.of(OAuth2ClientCredentials(**given))
    guide = makers.of(oauth2(sandbox))
    assert words is instance is guide
    assert ask(transport, sandbox.base_url, words)
    assert sandbox.token_requests == 1


def test_what_the_dictionary_leaves_out_is_looked_up_by_dlt(
    sandbox: Sandbox, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS__CLIENT_ID", sandbox.client_id)
    monkeypatch.setenv("CREDENTIALS__CLIENT_SECRET", sandbox.client_secret)
    auth = {"type": "oauth2", "token_url": sandbox.base_url + "/oauth/token"}
    assert ask(transport, sandbox.base_url, authoriser(transport, auth))


# --- one token, renewed in time


def test_one_token_serves_all_requests_and_threads(sandbox: Sandbox) -> None:
    with Transport() as transport:
        makers = Authorisers(transport, TransportSession(transport, in_turn=False), ErrorHandler())
        results: list[list[Any]] = []
        threads = [
            threading.Thread(
                target=lambda: results.append(ask(transport, sandbox.base_url, makers.of(oauth2(sandbox))))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [sandbox.rows("users")] * 8
    assert sandbox.token_requests == 1


@pytest.mark.parametrize(
    ("answer", "fresh_for"),
    [
        ({"expires_in": 100}, 80),
        ({"expires_in": 1000}, 970),
        ({"expires_in": "100"}, 80),
        ({"expires_in": 10.5}, 8.4),
        ({}, 3570),
        ({"expires_in": None}, 3570),
        ({"expires_in": "soon"}, 3570),
        ({"expires_in": 0}, 3570),
        ({"expires_in": -5}, 3570),
        ({"expires_in": True}, 3570),
        ({"expires_in": "inf"}, 3570),
    ],
)
def test_a_token_is_renewed_by_a_margin_before_it_expires(
    transport: Transport, clock: FakeClock, answer: dict[str, Any], fresh_for: float
) -> None:
    with token_server(**answer) as server:
        auth = {"type": "oauth2", "client_id": "a", "client_secret": "b"}
        who = authoriser(transport, {**auth, "token_url": server.url + "/oauth/token"})
        ask(transport, server.url, who)
        clock.advance(fresh_for - 0.01)
        ask(transport, server.url, who)
        clock.advance(0.02)
        ask(transport, server.url, who)
    assert bearers(server) == ["Bearer t1", "Bearer t1", "Bearer t2"]


def test_a_default_life_can_be_configured(transport: Transport, clock: FakeClock) -> None:
    with token_server() as server:
        auth = {"type": "oauth2", "client_id": "a", "client_secret": "b", "default_token_expiration": 10}
        who = authoriser(transport, {**auth, "token_url": server.url + "/oauth/token"})
        ask(transport, server.url, who)
        clock.advance(8)
        ask(transport, server.url, who)
    assert bearers(server) == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize("expires_in", ["number", "text", "missing"])
def test_the_sandboxs_ways_of_saying_it(sandbox: Sandbox, transport: Transport, expires_in: Any) -> None:
    sandbox.order(Faults(expires_in=expires_in))
    assert ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox)))


def test_a_retry_after_a_long_wait_carries_a_fresh_token(
    sandbox: Sandbox, transport: Transport, clock: FakeClock
) -> None:
    sandbox.order(
        Faults(
            token_life=60, broken=[Broken("status", status=429, retry_after=500, times=1, resource="users")]
        )
    )
    assert ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox)))
    assert sandbox.token_requests == 2


def test_many_requests_live_through_tokens_of_a_second(sandbox: Sandbox) -> None:
    sandbox.order(Faults(token_life=0.15, latency=0.02))
    with Transport() as transport:
        who = authoriser(transport, oauth2(sandbox))
        for _ in range(20):
            assert ask(transport, sandbox.base_url, who)
    assert sandbox.count("/v1/users", status=401) <= 2
    assert 2 <= sandbox.token_requests <= 12


# --- refused tokens


def test_a_refused_token_is_renewed_once_and_the_request_sent_again(
    sandbox: Sandbox, transport: Transport, clock: FakeClock
) -> None:
    who = authoriser(transport, oauth2(sandbox))
    ask(transport, sandbox.base_url, who)
    sandbox.revoke_tokens()
    usage = Usage()
    assert ask(transport, sandbox.base_url, who, usage)
    assert (usage.requests, usage.retries, clock.sleeps) == (2, 0, [])
    assert sandbox.token_requests == 2


def test_many_refused_at_once_share_one_renewal(sandbox: Sandbox) -> None:
    with Transport() as transport:
        who = authoriser(transport, oauth2(sandbox))
        ask(transport, sandbox.base_url, who)
        sandbox.revoke_tokens()
        sandbox.order(Faults(latency=0.05))
        request = ApiRequest(sandbox.base_url + "/v1/users", authoriser=who)
        futures = [transport.submit(transport.send(request, records, Usage())) for _ in range(8)]
        assert all(future.result() for future in futures)
    assert sandbox.token_requests == 2


def test_tokens_that_are_revoked_all_the_time_cost_renewals_and_no_rows(sandbox: Sandbox) -> None:
    # More uses than requests under way: whoever gets a fresh token can use it.
    sandbox.order(Faults(token_uses=40))
    with Transport() as transport:
        request = ApiRequest(
            sandbox.base_url + "/v1/users", authoriser=authoriser(transport, oauth2(sandbox))
        )
        futures = [transport.submit(transport.send(request, records, Usage())) for _ in range(100)]
        assert [future.result() for future in futures] == [sandbox.rows("users")] * 100
    assert transport.usage.retries == 0
    assert sandbox.token_requests == 3


def test_a_fresh_token_that_others_have_used_up_is_renewed_again(transport: Transport) -> None:
    tokens = itertools.count(1)
    refused_again, others_are_served = threading.Event(), threading.Event()

    def reply(received: Received) -> Reply:
        if received.target == "/oauth/token":
            return Reply(body=b'{"access_token": "t%d"}' % next(tokens))
        token = received.headers["Authorization"].removeprefix("Bearer ")
        if received.target == "/v1/users" and token != "t3":
            if token == "t2":
                refused_again.set()
                others_are_served.wait(10)
            return Reply(status=401)
        return Reply(body=b'{"data": [{"id": "a"}]}')

    with SmallServer(reply) as server:
        auth = {"type": "oauth2", "client_id": "a", "client_secret": "hidden"}
        who = authoriser(transport, {**auth, "token_url": server.url + "/oauth/token"})
        unlucky = transport.submit(
            transport.send(ApiRequest(server.url + "/v1/users", authoriser=who), records, Usage())
        )
        assert refused_again.wait(10)
        request = ApiRequest(server.url + "/v1/channels", authoriser=who)
        assert transport.call(request, records, Usage()) == [{"id": "a"}]
        others_are_served.set()
        assert unlucky.result() == [{"id": "a"}]
    assert next(tokens) == 4


def test_a_second_refusal_is_final(transport: Transport) -> None:
    def reply(received: Received) -> Reply:
        if received.target == "/oauth/token":
            return Reply(body=b'{"access_token": "the-token"}')
        return Reply(status=401, body=b"a message")

    with SmallServer(reply) as server:
        auth = {"type": "oauth2", "client_id": "a", "client_secret": "hidden"}
        who = authoriser(transport, {**auth, "token_url": server.url + "/oauth/token"})
        with pytest.raises(AuthenticationError, match="401") as raised:
            ask(transport, server.url, who)
        assert [r.target for r in server.received] == ["/oauth/token", "/v1/users"] * 2
    assert "sources.messaging.client_id" in raised.value.remedy
    for secret in ("the-token", "hidden", "a message"):
        assert secret not in str(raised.value)


# --- a token endpoint that does not give one


def test_wrong_credentials_fail_at_once_and_once(
    sandbox: Sandbox, transport: Transport, clock: FakeClock
) -> None:
    who = authoriser(transport, oauth2(sandbox, client_secret="a wrong one"))
    for _ in range(3):
        with pytest.raises(AuthenticationError, match=r"refuses the client \(401\)") as raised:
            ask(transport, sandbox.base_url, who)
        assert "sources.messaging.client_id" in raised.value.remedy
        assert "sources.messaging.client_secret" in raised.value.remedy
        assert "a wrong one" not in str(raised.value)
    assert sandbox.token_requests == 1
    assert sandbox.count("/v1/users") == 0
    assert clock.sleeps == []


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refusals_are_not_tried_again_even_where_the_error_handler_lists_them(
    transport: Transport, status: int
) -> None:
    with SmallServer(lambda _: Reply(status, b'{"error": "my words", "secret": "echo"}')) as server:
        makers = Authorisers(
            transport,
            TransportSession(transport, in_turn=False),
            ErrorHandler(frozenset({400, 401, 403, 503})),
        )
        auth = {"type": "oauth2", "client_id": "a", "client_secret": "b", "token_url": server.url}
        with pytest.raises(AuthenticationError) as raised:
            ask(transport, server.url, makers.of(auth))
        assert len(server.received) == 1
    assert "my words" not in str(raised.value)
    assert "echo" not in str(raised.value)


def test_a_token_endpoint_in_trouble_is_tried_again(
    sandbox: Sandbox, transport: Transport, clock: FakeClock
) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=503, times=3, resource="token")]))
    assert ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox)))
    assert len(clock.sleeps) == 3
    sandbox.order(Faults(broken=[Broken("status", status=503, resource="token")]))
    with pytest.raises(ResponseStatusError, match="token endpoint answers 503"):
        ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox)))


@pytest.mark.parametrize("kind", ["html", "cut", "malformed", "empty"])
def test_a_token_endpoint_that_answers_nonsense_is_tried_again(
    sandbox: Sandbox, transport: Transport, kind: Any
) -> None:
    sandbox.order(Faults(broken=[Broken(kind, times=1, resource="token")]))
    assert ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox)))
    sandbox.order(Faults(broken=[Broken(kind, resource="token")]))
    with pytest.raises((MalformedPageError, UnreachableError)) as raised:
        ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox)))
    assert "sources.messaging.token_url" in raised.value.remedy


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": "invalid_client", "hidden": 1}',
        b'{"access_token": null}',
        b'{"access_token": 5}',
        b'{"access_token": ""}',
        b'{"access_token": "hidden\\r\\nX-Header: 1"}',
    ],
)
def test_an_answer_without_a_usable_token_is_a_clear_error(transport: Transport, body: bytes) -> None:
    with SmallServer(lambda _: Reply(body=body)) as server:
        auth = {"type": "oauth2", "client_id": "a", "client_secret": "b", "token_url": server.url}
        with pytest.raises(AuthenticationError, match="access_token") as raised:
            ask(transport, server.url, authoriser(transport, auth))
        assert len(server.received) == 1
    assert "hidden" not in str(raised.value)


def test_an_unreachable_token_endpoint_is_found_out_once(transport: Transport, clock: FakeClock) -> None:
    auth = {"type": "oauth2", "client_id": "a", "client_secret": "b", "token_url": "http://a.invalid/t"}
    who = authoriser(transport, auth)
    for _ in range(2):
        with pytest.raises(UnreachableError, match="DNS") as raised:
            ask(transport, "http://127.0.0.1:9", who)
        assert "sources.messaging.token_url" in raised.value.remedy
    assert transport.usage.requests == 4


def test_a_cancelled_request_leaves_the_renewal_to_the_others(sandbox: Sandbox) -> None:
    sandbox.order(Faults(latency=0.1))
    with Transport() as transport:
        who = authoriser(transport, oauth2(sandbox))
        request = ApiRequest(sandbox.base_url + "/v1/users", authoriser=who)

        async def both() -> list[Any]:
            first = asyncio.ensure_future(transport.send(request, records, Usage()))
            second = asyncio.ensure_future(transport.send(request, records, Usage()))
            await asyncio.sleep(0.03)
            first.cancel()
            return await second

        assert transport.wait_for(both())
    assert sandbox.token_requests == 1


# --- every other authorisation


class OwnAuth(AuthBase):
    """Counts, as a signature with a time in it would."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self.calls += 1
        request.headers["X-Signature"] = str(self.calls)
        return request


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": "t"}, "Authorization", "Bearer t"),
        ({"token": "t"}, "Authorization", "Bearer t"),
        (BearerTokenAuth(token="t"), "Authorization", "Bearer t"),
        ({"type": "api_key", "name": "X-Api-Key", "api_key": "k"}, "X-Api-Key", "k"),
        (APIKeyAuth(name="X-Api-Key", api_key="k"), "X-Api-Key", "k"),
        ({"type": "http_basic", "username": "u", "password": "p"}, "Authorization", "Basic dTpw"),
        (HttpBasicAuth(username="u", password="p"), "Authorization", "Basic dTpw"),
    ],
)
def test_dlts_other_authorisations_work(transport: Transport, auth: Any, header: str, value: str) -> None:
    with SmallServer(lambda _: Reply(body=b'{"data": [1]}')) as server:
        ask(transport, server.url, authoriser(transport, auth))
        assert server.received[0].headers[header] == value


def test_an_api_key_in_the_address_is_sent_and_not_shown(transport: Transport) -> None:
    auth = {"type": "api_key", "name": "key", "api_key": "hid den", "location": "query"}
    with SmallServer(lambda _: Reply(status=404)) as server:
        request = ApiRequest(server.url, params={"limit": 1}, authoriser=authoriser(transport, auth))
        with pytest.raises(ResponseStatusError) as raised:
            transport.call(request, records, Usage())
        assert server.received[0].target == "/?limit=1&key=hid+den"
    assert "hid" not in str(raised.value)


def test_an_authorisation_of_ones_own_is_applied_to_each_attempt(transport: Transport) -> None:
    replies = iter([Reply(status=503), Reply(status=503), Reply(body=b'{"data": [1]}')])
    with SmallServer(lambda _: next(replies)) as server:
        ask(transport, server.url, authoriser(transport, OwnAuth()))
        assert [received.headers["X-Signature"] for received in server.received] == ["1", "2", "3"]


def test_a_refused_key_is_final_and_names_what_to_check(transport: Transport) -> None:
    with SmallServer(lambda _: Reply(status=401)) as server:
        with pytest.raises(AuthenticationError, match="401"):
            ask(transport, server.url, authoriser(transport, {"token": "hidden"}))
        assert len(server.received) == 1


class OwnCredentials(OAuth2ClientCredentials):
    """As dlt's documentation shows it: a token request that differs a little."""

    def build_access_token_request(self) -> dict[str, Any]:
        return {"json": {"id": self.client_id, "secret": self.client_secret}}


def test_a_subclass_of_dlts_credentials_gets_its_tokens_through_the_transport(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    auth = OwnCredentials(client_id="a", client_secret="b")
    with token_server() as server:
        auth.access_token_url = server.url + "/oauth/token"
        ask(transport, server.url, authoriser(transport, auth))
        assert "Authorization" not in server.received[0].headers
        assert json.loads(server.received[0].body) == {"id": "a", "secret": "b"}
    assert bearers(server) == ["Bearer t1"]


def test_waiting_for_a_token_takes_no_turn_from_the_request_for_it() -> None:
    with token_server() as server, Transport(in_flight=1) as transport:
        for auth in (
            OwnCredentials(client_id="a", client_secret="b"),
            OAuth2ClientCredentials(client_id="a", client_secret="b"),
        ):
            auth.access_token_url = server.url + "/oauth/token"
            assert ask(transport, server.url, authoriser(transport, auth)) == [1]


def test_a_subclass_of_dlts_credentials_renews_after_a_refusal(transport: Transport) -> None:
    def reply(received: Received) -> Reply:
        if received.target == "/oauth/token":
            return Reply(body=b'{"access_token": "new"}')
        good = received.headers["Authorization"] == "Bearer new"
        return Reply(body=b'{"data": [1]}') if good else Reply(status=401)

    with SmallServer(reply) as server:
        auth = OwnCredentials(client_id="a", client_secret="b", access_token="old")
        auth.access_token_url = server.url + "/oauth/token"
        auth.token_expiry = auth.token_expiry.add(hours=1)
        assert ask(transport, server.url, authoriser(transport, auth)) == [1]


def test_no_authorisation_is_none() -> None:
    with Transport() as transport:
        assert authoriser(transport, None) is None


def test_credentials_do_not_show_themselves() -> None:
    credentials = ClientCredentials("https://a.example/t", "an id", "a secret", fields=(("k", "v1"),))
    assert repr(credentials) == (
        "ClientCredentials(token_url='https://a.example/t', basic=False, default_life=3600.0)"
    )


def test_netrc_never_stands_in_for_the_configured_authorisation(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Transport() as transport:
        assert ask(transport, sandbox.base_url, authoriser(transport, oauth2(sandbox)))


def test_errors_of_the_token_endpoint_are_errors_of_the_api() -> None:
    assert issubclass(AuthenticationError, ApiError)
