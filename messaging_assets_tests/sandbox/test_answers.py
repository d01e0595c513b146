"""Answers that go wrong, as a client sees them."""

import gzip
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from messaging_assets.sandbox import Broken, Faults, Sandbox
from messaging_assets.sandbox.answers import bomb
from messaging_assets_tests.sandbox.client import Client

MESSAGES = "/v1/messages"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(messages=250) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    sandbox.order()
    with Client(sandbox) as client:
        sandbox.reset_counters()
        yield client


def _order(sandbox: Sandbox, kind: Any, **conditions: Any) -> None:
    sandbox.order(broken=[Broken(kind, **conditions)])


def test_statuses_for_some_requests(sandbox: Sandbox, client: Client) -> None:
    _order(sandbox, "status", status=503, times=2, resource="messages")
    assert client.get("/v1/users").status_code == 200
    assert [client.get(MESSAGES).status_code for _ in range(3)] == [503, 503, 200]
    _order(sandbox, "status", status=403, resource="channels")
    assert [client.get("/v1/channels").status_code for _ in range(3)] == [403] * 3
    assert sandbox.count(status=403) == 3
    sandbox.order(statuses={500: 0.5})
    statuses = [client.get(MESSAGES).status_code for _ in range(60)]
    assert 15 < statuses.count(500) < 45


@pytest.mark.parametrize("offset", [151, 200, 250])
def test_a_page_that_always_fails(sandbox: Sandbox, client: Client, offset: int) -> None:
    _order(sandbox, "status", status=500, position=250)
    assert [client.get(MESSAGES, limit=100, offset=offset).status_code for _ in range(2)] == [500] * 2
    assert client.get(MESSAGES, limit=100, offset=150).status_code == 200


def test_retry_after_as_seconds_and_as_a_date(sandbox: Sandbox, client: Client) -> None:
    _order(sandbox, "status", status=429, retry_after=2)
    assert client.get(MESSAGES).headers["retry-after"] == "2"
    _order(sandbox, "status", status=429, retry_after=2, retry_after_as="date")
    before = datetime.now(UTC)
    date = parsedate_to_datetime(client.get(MESSAGES).headers["retry-after"])
    assert 2 <= (date - before).total_seconds() < 4


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("html", b"<!DOCTYPE html>"),
        ("empty", b""),
        ("not_ok", b'{"ok":false,"error":"internal_error"}'),
        ("null_data", b'{"data":null,"total":0}'),
        ("no_data", b'{"total":0,'),
        ("malformed", b'{"data":[{"id":"M000000001"'),
    ],
)
def test_bodies_with_status_200(sandbox: Sandbox, client: Client, kind: Any, content: bytes) -> None:
    _order(sandbox, kind, times=1)
    answer = client.get(MESSAGES)
    assert answer.status_code == 200
    assert answer.content.startswith(content)
    assert int(answer.headers["content-length"]) == len(answer.content)
    if kind in ("html", "empty", "malformed"):
        with pytest.raises(requests.JSONDecodeError):
            answer.json()
    assert len(client.page(MESSAGES)) == 100


@pytest.mark.parametrize("kind", ["cut", "long_length"])
def test_a_connection_cut_in_mid_body(sandbox: Sandbox, client: Client, kind: Any) -> None:
    _order(sandbox, kind, times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(MESSAGES)
    assert len(client.page(MESSAGES)) == 100


def test_fewer_bytes_than_the_body_has(sandbox: Sandbox, client: Client) -> None:
    _order(sandbox, "short_length", times=1)
    answer = client.get(MESSAGES)
    assert int(answer.headers["content-length"]) == len(answer.content)
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert len(client.page(MESSAGES)) == 100


def test_a_request_that_hangs(sandbox: Sandbox, client: Client) -> None:
    _order(sandbox, "hang", times=1)
    with pytest.raises(requests.exceptions.ReadTimeout):
        client.get(MESSAGES, timeout=0.1)
    assert sandbox.requests[-1].status == 0
    _order(sandbox, "hang", times=1, seconds=0.05)
    assert client.get(MESSAGES).status_code == 504


def test_a_body_that_comes_a_byte_at_a_time(sandbox: Sandbox, client: Client) -> None:
    _order(sandbox, "slow", seconds=0.001)
    start = time.monotonic()
    body = client.get(MESSAGES, limit=1).content
    assert time.monotonic() - start > len(body) * 0.001
    assert b"M000000001" in body
    _order(sandbox, "slow", seconds=5)
    with pytest.raises(requests.exceptions.ConnectionError):
        client.get(MESSAGES, timeout=0.1)


def test_redirects(sandbox: Sandbox, client: Client) -> None:
    _order(sandbox, "redirect")
    answer = client.get(MESSAGES, limit=2)
    assert [step.status_code for step in answer.history] == [307]
    assert len(answer.json()["data"]) == 2
    _order(sandbox, "redirect", location="loop", status=302)
    with pytest.raises(requests.TooManyRedirects):
        client.get(MESSAGES)
    with Sandbox(messages=250) as other:
        _order(sandbox, "redirect", location=other.base_url)
        answer = client.get(MESSAGES, limit=2)
        assert answer.url == f"{other.base_url}/v1/messages?limit=2"
        assert answer.status_code == 401
        # requests takes another port for another host, and so leaves the token out.
        assert [(asked.path, asked.credentials) for asked in other.requests] == [(MESSAGES, False)]


def test_compressed_answers(sandbox: Sandbox, client: Client) -> None:
    sandbox.order(gzip=True)
    answer = client.get(MESSAGES)
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < len(answer.content) // 2
    client.session.headers["accept-encoding"] = "identity"
    assert "content-encoding" not in client.get(MESSAGES).headers
    assert len(client.page(MESSAGES)) == 100


def test_a_bomb_is_small_on_the_wire_and_valid(sandbox: Sandbox, client: Client) -> None:
    packed = b"".join(bomb(3))
    unpacked = gzip.decompress(packed)
    assert len(packed) < 10_000
    assert len(unpacked) > 3 << 20
    assert unpacked.strip() == b'{"data": [], "total": 0}'
    _order(sandbox, "bomb", megabytes=3)
    assert len(client.get(MESSAGES).content) == len(unpacked)


def test_it_stops_while_requests_hang() -> None:
    faults = Faults(broken=[Broken("hang"), Broken("slow", resource="users", seconds=60)])
    with Sandbox(faults=faults) as sandbox, Client(sandbox) as client:
        failures: list[Exception] = []

        def hang() -> None:
            try:
                client.get(MESSAGES, timeout=30)
            except requests.exceptions.ConnectionError as error:
                failures.append(error)

        thread = threading.Thread(target=hang)
        thread.start()
        while sandbox.count(MESSAGES) == 0:
            time.sleep(0.005)
        start = time.monotonic()
        sandbox.stop()
        assert time.monotonic() - start < 0.5
        thread.join(5)
        assert len(failures) == 1
