import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.exceptions import IgnoreResponseException

from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import (
    ApiError,
    AuthenticationError,
    ForbiddenError,
    MalformedPageError,
    ResponseStatusError,
)
from messaging_assets.api.session import DeferredAuth, Sending, TransportSession
from messaging_assets.api.transport import Transport, Usage
from messaging_assets_tests.api.fake_clock import FakeClock
from messaging_assets_tests.api.small_server import Reply, SmallServer


@pytest.fixture
def transport() -> Iterator[Transport]:
    with Transport(clock=FakeClock(), name="messaging") as transport:
        yield transport


@pytest.fixture
def session(transport: Transport) -> TransportSession:
    return TransportSession(transport)


def raise_for_status(response: requests.Response, *_: Any, **__: Any) -> None:
    response.raise_for_status()


def test_a_response_is_one_of_requests_in_every_way(session: TransportSession) -> None:
    reply = Reply(
        body='{"name": "ä"}'.encode(), headers=(("Content-Type", "application/json"), ("Link", "a"))
    )
    with SmallServer(lambda _: reply) as server:
        response = session.get(server.url + "/v1/users", params={"limit": 1})
    assert isinstance(response, requests.Response)
    assert (response.status_code, response.reason, response.ok) == (200, "OK", True)
    assert response.headers["link"] == "a"
    assert response.url == server.url + "/v1/users?limit=1"
    assert response.request.method == "GET"
    assert response.json() == {"name": "ä"}
    assert response.text == '{"name": "ä"}'
    assert response.encoding == "utf-8"
    assert response.content == reply.body
    assert response.history == []


def test_json_is_read_without_loss(session: TransportSession) -> None:
    with SmallServer(
        lambda _: Reply(body=b'{"n": 123456789012345678901234567890, "s": "\\ud800"}')
    ) as server:
        assert session.get(server.url).json() == {"n": 123456789012345678901234567890, "s": "\ud800"}


def test_json_in_another_encoding_is_read(session: TransportSession) -> None:
    reply = Reply(
        body='{"n": "ä"}'.encode("latin-1"), headers=(("Content-Type", "text/json; charset=latin-1"),)
    )
    with SmallServer(lambda _: reply) as server:
        assert session.get(server.url).json() == {"n": "ä"}


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ({"json": {"a": [1]}}, b'{"a": [1]}', "application/json"),
        ({"data": {"a": "b c"}}, b"a=b+c", "application/x-www-form-urlencoded"),
        ({"data": "text"}, b"text", None),
        ({"data": iter([b"a", b"b"])}, b"ab", None),
    ],
)
def test_bodies_arrive_in_each_attempt(
    session: TransportSession, body: dict[str, Any], sent: bytes, content_type: str | None
) -> None:
    replies = iter([Reply(status=503), Reply()])
    with SmallServer(lambda _: next(replies)) as server:
        session.post(server.url, **body)
        assert [received.body for received in server.received] == [sent, sent]
        assert server.received[1].headers.get("Content-Type", "").startswith(content_type or "")


def test_sending_says_how_and_counts(session: TransportSession) -> None:
    sending = Sending(error_handler=ErrorHandler(frozenset({418}), max_retries=2), usage=Usage())
    replies = iter([Reply(status=418), Reply(status=418), Reply()])
    with SmallServer(lambda _: next(replies)) as server:
        assert session.get(server.url, auth=DeferredAuth(sending)).ok
    assert (sending.usage.requests, sending.usage.retries) == (3, 2)


def test_html_is_tried_again_unless_the_endpoint_judges_for_itself(session: TransportSession) -> None:
    with SmallServer(lambda _: Reply(body=b"<html>a message</html>")) as server:
        with pytest.raises(MalformedPageError, match="HTML") as raised:
            session.get(server.url)
        assert len(server.received) == 4
        assert "a message" not in str(raised.value)
        response = session.get(server.url, auth=DeferredAuth(Sending(check=None)))
        assert len(server.received) == 5
        with pytest.raises(MalformedPageError, match="HTML"):
            response.json()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, ForbiddenError),
        (404, ResponseStatusError),
        (500, ResponseStatusError),
    ],
)
def test_a_status_that_a_hook_refuses_is_a_typed_error_without_content(
    session: TransportSession, status: int, kind: type[ApiError]
) -> None:
    hooks = {"response": raise_for_status}
    with (
        SmallServer(lambda _: Reply(status=status, body=b"a message")) as server,
        pytest.raises(kind, match=str(status)) as raised,
    ):
        session.get(server.url, params={"key": "hidden"}, hooks=hooks)
    assert raised.value.__suppress_context__
    assert "a message" not in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_a_hook_sees_the_last_answer_and_may_ignore_it(session: TransportSession) -> None:
    seen: list[tuple[int, str]] = []

    def ignore(response: requests.Response, *_: Any, **__: Any) -> None:
        seen.append((response.status_code, response.text))
        raise IgnoreResponseException

    with SmallServer(lambda _: Reply(status=503, body=b"sorry")) as server:
        with pytest.raises(IgnoreResponseException):
            session.get(server.url, hooks={"response": ignore})
        assert len(server.received) == 4
    assert seen == [(503, "sorry")]


def test_without_a_hook_a_refused_answer_comes_back_as_it_is(session: TransportSession) -> None:
    with SmallServer(lambda _: Reply(status=404)) as server:
        assert session.get(server.url).status_code == 404


def test_304_is_not_taken_for_a_page(session: TransportSession) -> None:
    with SmallServer(lambda _: Reply(status=304, body=b"")) as server, pytest.raises(ResponseStatusError):
        session.get(server.url)


def test_dlts_client_runs_on_it(session: TransportSession) -> None:
    def reply(received: Any) -> Reply:
        page = int(received.target.partition("page=")[2] or 0)
        return Reply(
            body=json.dumps({"rows": [page], "next": f"/?page={page + 1}" if page < 2 else None}).encode()
        )

    with SmallServer(reply) as server:
        client = RESTClient(server.url, session=session, data_selector="rows", paginator=None)
        pages = [list(page) for page in client.paginate("/")]
    assert pages == [[0], [1], [2]]


def test_a_changed_record_does_not_come_back_from_the_response(session: TransportSession) -> None:
    with SmallServer(lambda _: Reply(body=b'{"a": 1}')) as server:
        response = session.get(server.url)
    response.json()["a"] = 2
    assert response.json() == {"a": 1}


def test_credentials_do_not_follow_an_answer_to_another_host(session: TransportSession) -> None:
    with SmallServer(lambda _: Reply()) as server, SmallServer(lambda _: Reply()) as other:
        origins = frozenset({f"http://127.0.0.1:{server.port}"})
        auth = DeferredAuth(Sending(origins=origins))
        assert session.get(server.url, auth=auth).ok
        with pytest.raises(ApiError, match="leads to another host"):
            session.get(other.url, auth=auth)
        assert other.received == []


def test_netrc_and_the_environments_proxies_are_not_looked_at(
    session: TransportSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with SmallServer(lambda _: Reply()) as server:
        assert session.get(server.url).ok
        assert "Authorization" not in server.received[0].headers


def test_copies_are_the_same_object_since_there_is_one_transport(session: TransportSession) -> None:
    auth = DeferredAuth(Sending())
    copied = copy.deepcopy({"session": session, "auth": auth})
    assert copied["session"] is session
    assert copied["auth"] is auth


def test_closing_a_session_leaves_the_transport_open(session: TransportSession, transport: Transport) -> None:
    session.close()
    with SmallServer(lambda _: Reply()) as server:
        assert TransportSession(transport).get(server.url).ok
