"""How the transport keeps to a budget: over real HTTP, by a clock that a test and the sandbox share."""

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from messaging_assets.api.connection import connection_from_dict
from messaging_assets.api.endpoint import EndpointPages
from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import ResponseStatusError
from messaging_assets.api.glance import glance, hurried
from messaging_assets.api.lane import Lane
from messaging_assets.api.rate import RateBudget
from messaging_assets.api.reading import open_reading
from messaging_assets.api.row_index import RowIndex
from messaging_assets.api.source import Api
from messaging_assets.api.transport import ApiRequest, Transport, Usage
from messaging_assets.api.window import PendingPage
from messaging_assets.sandbox import Broken, Sandbox
from messaging_assets_tests.api.fake_clock import FakeClock, OrderlyClock
from messaging_assets_tests.api.small_server import Received, Reply, SmallServer


@pytest.fixture
def clock() -> OrderlyClock:
    return OrderlyClock()


@pytest.fixture
def sandbox(clock: OrderlyClock) -> Iterator[Sandbox]:
    """A sandbox whose rate limit counts by the test's clock."""
    clock.advance(1000)
    with Sandbox(users=60, channels=8, messages=600, seconds=clock.now) as sandbox:
        yield sandbox


def guide(sandbox: Sandbox, **client: Any) -> dict[str, Any]:
    return {
        "client": {
            "base_url": sandbox.base_url,
            "auth": {
                "type": "oauth2",
                "client_id": sandbox.client_id,
                "client_secret": sandbox.client_secret,
                "token_url": f"{sandbox.base_url}/oauth/token",
            },
            **client,
        },
        "resource_defaults": {
            "primary_key": "id",
            "endpoint": {"data_selector": "data", "paginator": {"type": "offset", "limit": 20}},
        },
        "resources": [{"name": name, "endpoint": f"/v1/{name}"} for name in ("users", "messages")],
    }


def opened(sandbox: Sandbox, clock: OrderlyClock, **client: Any) -> Api:
    api = Api(guide(sandbox, **client), name="chat", clock=clock)
    clock.under_way = lambda: api.transport.under_way
    return api


def transport_by(clock: OrderlyClock, **settings: Any) -> Transport:
    transport = Transport(clock=clock, **settings)
    clock.under_way = lambda: transport.under_way
    return transport


def swept(api: Api, sandbox: Sandbox, name: str) -> tuple[int, str]:
    """Sweep a resource; return how many rows it gave and what it could prove."""
    resource = connection_from_dict("chat", guide(sandbox)).resource(name)
    reading = open_reading(api, resource, RowIndex())
    rows = sum(len(delivery.records) for delivery in reading)
    assert reading.progress.verdict is not None
    return rows, reading.progress.verdict.verified


def gaps(sandbox: Sandbox) -> list[float]:
    moments = sorted(asked.seconds for asked in sandbox.requests)
    return [round(later - earlier, 6) for earlier, later in pairwise(moments)]


# --- the configured rate


def test_all_resources_share_the_rate_and_the_token_counts(sandbox: Sandbox, clock: OrderlyClock) -> None:
    with opened(sandbox, clock, requests_per_second=4, in_flight=3) as api:
        resources = connection_from_dict("chat", guide(sandbox)).resources
        pages: list[PendingPage] = []
        for offset in range(0, 60, 20):
            pages += [EndpointPages(api, resource).fetch(offset, 20) for resource in resources]
        assert [len(page.result().records) for page in pages] == [20] * 6
        assert (api.transport.rate, api.transport.in_flight) == (4, 3)
    assert sandbox.count() == 7
    assert gaps(sandbox) == [0.25] * 6


def test_redirects_keep_to_the_rate_as_well(sandbox: Sandbox, clock: OrderlyClock) -> None:
    sandbox.order(broken=[Broken("redirect")])
    with opened(sandbox, clock, requests_per_second=2) as api:
        users = connection_from_dict("chat", guide(sandbox)).resource("users")
        assert len(EndpointPages(api, users).fetch(0, 20).result().records) == 20
    assert gaps(sandbox) == [0.5, 0.5], "a token, a page and its redirect"


def test_nothing_is_waited_for_where_nothing_is_configured(sandbox: Sandbox, clock: OrderlyClock) -> None:
    with opened(sandbox, clock) as api:
        assert swept(api, sandbox, "messages") == (600, "full")
        assert api.transport.rate is None
    assert clock.sleeps == []


def test_a_glance_keeps_to_the_rate_of_the_connection(sandbox: Sandbox, clock: OrderlyClock) -> None:
    config = guide(sandbox, requests_per_second=0.5)
    messages = connection_from_dict("chat", config).resource("messages")
    with Api({**config, "client": hurried(config["client"])}, name="chat", clock=clock) as api:
        glance(api, messages)
    assert gaps(sandbox) == [2, 2]


# --- a host that limits the rate


def test_a_sweep_of_a_host_that_limits_the_rate_ends_well(sandbox: Sandbox, clock: OrderlyClock) -> None:
    sandbox.order(rate_limit=5)
    with opened(sandbox, clock) as api:
        assert swept(api, sandbox, "messages") == (600, "full")
    refused = sandbox.count(status=429)
    asked = sandbox.count("/v1/messages")
    assert 1 <= refused <= asked / 3
    assert clock.now() - 1000 <= 3 * asked / 5, "three times as long as the limit allows at best"


@pytest.mark.parametrize("headers", ["seconds", "draft"])
def test_a_host_that_says_what_is_left_is_never_asked_for_more(
    sandbox: Sandbox, clock: OrderlyClock, headers: Any
) -> None:
    sandbox.order(rate_limit=5, rate_limit_seconds=10, rate_limit_headers=headers)
    with opened(sandbox, clock) as api:
        assert swept(api, sandbox, "messages") == (600, "full")
    assert sandbox.count(status=429) == 0
    periods = sandbox.count("/v1/messages") // 5
    assert periods * 10 <= clock.now() - 1000 <= (periods + 1) * 11


def test_after_429s_the_rate_drops_and_recovers(sandbox: Sandbox, clock: OrderlyClock) -> None:
    sandbox.order(broken=[Broken("status", status=429, times=3)])
    with opened(sandbox, clock) as api:
        pages = EndpointPages(api, connection_from_dict("chat", guide(sandbox)).resource("messages"))
        for page in [pages.fetch(offset, 20) for offset in range(0, 160, 20)]:
            page.result()
        slowed = api.transport.rate
        assert slowed is not None
        assert slowed < 8
        rates = []
        for offset in range(0, 600, 5):
            pages.fetch(offset, 5).result()
            rates.append(api.transport.rate)
        assert rates[-1] is None
        recovering = [rate for rate in rates if rate is not None]
        assert recovering == sorted(recovering)
    # Before it has recovered, its requests are spaced; then they follow each other at once.
    assert gaps(sandbox)[-len(rates) // 4 :] == [0.0] * (len(rates) // 4)


def test_a_reset_further_away_than_a_wait_may_take_is_not_obeyed() -> None:
    clock = FakeClock()
    headers = (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "86400"))
    with SmallServer(lambda _: Reply(headers=headers)) as server, Transport(clock=clock) as transport:
        for longest in (86399, 86400):
            request = ApiRequest(server.url, error_handler=ErrorHandler(longest_wait=longest))
            for _ in range(2):
                transport.call(request, lambda _: None, Usage())
    assert clock.sleeps == [pytest.approx(86400)]


def test_what_is_left_for_tokens_is_not_what_is_left_for_pages() -> None:
    clock = FakeClock()
    headers = (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "600"))

    def answer(asked: Received) -> Reply:
        if asked.target == "/oauth/token":
            return Reply(body=b'{"access_token": "t", "expires_in": 3600}', headers=headers)
        return Reply(body=b'{"data": []}')

    with SmallServer(answer) as server:
        auth = {
            "type": "oauth2",
            "client_id": "a",
            "client_secret": "b",
            "token_url": f"{server.url}/oauth/token",
        }
        endpoint = {"path": "/users", "data_selector": "data", "paginator": {"type": "offset", "limit": 5}}
        config: dict[str, Any] = {
            "client": {"base_url": server.url, "auth": auth},
            "resources": [{"name": "users", "endpoint": endpoint}],
        }
        with Api(config, name="chat", clock=clock) as api:
            EndpointPages(api, connection_from_dict("chat", config).resource("users")).fetch(0, 5).result()
    assert clock.sleeps == []


# --- what is told


def test_a_long_wait_is_told_once_for_all_who_wait(clock: OrderlyClock) -> None:
    together = threading.Barrier(4, timeout=10)
    refusals = iter([Reply(429, headers=(("Retry-After", "40"),))] * 4)

    def answer(_: Received) -> Reply:
        if (refusal := next(refusals, None)) is not None:
            together.wait()
        return refusal or Reply()

    told: list[str] = []
    with SmallServer(answer) as server, transport_by(clock) as transport:
        transport.waiting = told.append
        sendings = [
            transport.submit(transport.send(ApiRequest(server.url), lambda _: 1, Usage())) for _ in range(4)
        ]
        assert [sending.result() for sending in sendings] == [1] * 4
    assert told == ["waiting 40 s as the API asks (Retry-After)"]


def test_each_reason_of_a_wait_has_its_words(sandbox: Sandbox, clock: OrderlyClock) -> None:
    told: list[str] = []
    users = ApiRequest(sandbox.base_url + "/", params={"limit": 1})
    with transport_by(clock, requests_per_second=0.1) as transport:
        transport.waiting = told.append
        for _ in range(3):
            transport.call(users, lambda _: None, Usage())
    assert told == ["waiting 10 s between requests, at 0.1 a second"], "not again within a minute"
    told.clear()
    sandbox.order(rate_limit=1, rate_limit_seconds=300, rate_limit_headers="seconds")
    with opened(sandbox, clock) as api:
        api.transport.waiting = told.append
        pages = EndpointPages(api, connection_from_dict("chat", guide(sandbox)).resource("users"))
        pages.fetch(0, 20).result()
        pages.fetch(20, 20).result()
    assert told == ["waiting 300 s until the API's rate limit begins anew"]
    told.clear()
    sandbox.order(broken=[Broken("status", status=503, times=2)])
    handler = ErrorHandler(backoff_factor=4)
    with opened(sandbox, clock) as api:
        api.transport.waiting = told.append
        pages = EndpointPages(
            api, connection_from_dict("chat", guide(sandbox)).resource("users"), error_handler=handler
        )
        pages.fetch(0, 20).result()
    [line] = told
    assert line.endswith("before it asks again: the API answered 503")


def test_short_waits_are_not_told(sandbox: Sandbox, clock: OrderlyClock) -> None:
    sandbox.order(broken=[Broken("status", status=429, retry_after=5, times=1)])
    with opened(sandbox, clock, requests_per_second=1) as api:
        api.transport.waiting = lambda words: pytest.fail(words)
        assert swept(api, sandbox, "users") == (60, "full")


def test_a_glance_does_not_wait_for_long(sandbox: Sandbox, clock: OrderlyClock) -> None:
    sandbox.order(rate_limit=1, rate_limit_seconds=300, rate_limit_headers="seconds")
    config = guide(sandbox)
    messages = connection_from_dict("chat", config).resource("messages")
    with (
        Api({**config, "client": hurried(config["client"])}, name="chat", clock=clock) as api,
        pytest.raises(ResponseStatusError),
    ):
        glance(api, messages)
    assert clock.sleeps == []


# --- the line


def test_those_who_were_refused_go_before_those_who_ask_for_the_first_time() -> None:
    async def scene() -> list[str]:
        lane, order = Lane(RateBudget(lambda: 0.0), in_flight=8), []

        async def go(name: str, attempt: int) -> None:
            async with lane.in_line(attempt):
                await asyncio.sleep(0)
                order.append(name)

        names = [("a", 1), ("b", 1), ("c", 2), ("d", 1), ("e", 3), ("f", 3)]
        await asyncio.gather(*(go(name, attempt) for name, attempt in names))
        return order

    assert asyncio.run(scene()) == ["a", "e", "f", "c", "b", "d"]


def test_whoever_leaves_the_line_does_not_stop_it() -> None:
    async def scene() -> list[str]:
        lane, order = Lane(RateBudget(lambda: 0.0), in_flight=8), []
        gate = asyncio.Event()

        async def go(name: str) -> None:
            async with lane.in_line(1):
                await gate.wait()
                order.append(name)

        tasks = [asyncio.create_task(go(name)) for name in "abcd"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.sleep(0)
        # Called to be the first, and gone before it could be.
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await go("e")
        return order

    assert asyncio.run(scene()) == ["a", "d", "e"]
