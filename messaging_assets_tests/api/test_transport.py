import asyncio
import gc
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import (
    ApiError,
    ConfigurationError,
    ForbiddenError,
    MalformedPageError,
    ResponseStatusError,
    UnreachableError,
)
from messaging_assets.api.page import PageDecoder
from messaging_assets.api.transport import ApiRequest, ApiResponse, Timeouts, Transport, Usage
from messaging_assets.sandbox import Broken, Faults, Sandbox
from messaging_assets_tests.api.fake_clock import FakeClock
from messaging_assets_tests.api.small_server import Received, Reply, SmallServer

CERTIFICATE = Path(__file__).parent / "certificates" / "localhost.pem"
PAGE = PageDecoder("data")
SHORT = Timeouts(connect=0.3, read=0.15)


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox(users=20, messages=50, authentication="none") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    shared_sandbox.order(Faults())
    shared_sandbox.reset_counters()
    return shared_sandbox


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def transport(clock: FakeClock) -> Iterator[Transport]:
    with Transport(clock=clock, name="messaging", timeouts=SHORT) as transport:
        yield transport


def users(sandbox: Sandbox, **settings: Any) -> ApiRequest:
    return ApiRequest(sandbox.base_url + "/v1/users", params={"limit": 5}, **settings)


def records(response: ApiResponse) -> list[Any]:
    return PAGE(response.body).records


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_it_asks_and_decodes_and_counts(sandbox: Sandbox, transport: Transport) -> None:
    usage = Usage()
    rows = transport.call(users(sandbox), records, usage)
    assert rows == sandbox.rows("users")[:5]
    assert (usage.requests, usage.retries, usage.waited_seconds) == (1, 0, 0)
    assert usage.bytes_received == transport.usage.bytes_received > 100


# --- what is tried again


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_listed_statuses_are_tried_again_after_growing_waits(
    sandbox: Sandbox, transport: Transport, clock: FakeClock, status: int
) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=status, times=3)]))
    usage = Usage()
    assert len(transport.call(users(sandbox), records, usage)) == 5
    assert (usage.requests, usage.retries) == (4, 3)
    assert usage.waited_seconds == sum(clock.sleeps)
    for wait, bare in zip(clock.sleeps, (2, 4, 8), strict=True):
        assert bare <= wait <= bare * 1.25


def test_after_the_last_retry_the_status_is_the_error(sandbox: Sandbox, transport: Transport) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=503)]))
    with pytest.raises(ResponseStatusError, match=r"503 Service Unavailable, in 4 attempts") as raised:
        transport.call(users(sandbox), records, Usage())
    assert raised.value.status == 503
    assert raised.value.where == sandbox.base_url + "/v1/users"
    assert sandbox.count() == 4


@pytest.mark.parametrize("status", [400, 404, 409, 418, 501])
def test_other_statuses_are_not_tried_again(sandbox: Sandbox, transport: Transport, status: int) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=status)]))
    with pytest.raises(ResponseStatusError, match=str(status)):
        transport.call(users(sandbox), records, Usage())
    assert sandbox.count() == 1


def test_the_error_handler_says_which_and_how_often(
    sandbox: Sandbox, transport: Transport, clock: FakeClock
) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=418)]))
    handler = ErrorHandler(frozenset({418}), max_retries=1, backoff_factor=10)
    with pytest.raises(ResponseStatusError):
        transport.call(users(sandbox, error_handler=handler), records, Usage())
    assert sandbox.count() == 2
    assert 10 <= clock.sleeps[0] <= 12.5


def test_403_is_an_error_of_its_own(sandbox: Sandbox, transport: Transport) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=403)]))
    with pytest.raises(ForbiddenError, match="403"):
        transport.call(users(sandbox), records, Usage())
    assert sandbox.count() == 1


@pytest.mark.parametrize("kind", ["cut", "long_length", "short_length", "html", "malformed", "empty"])
@pytest.mark.parametrize("compressed", [False, True])
def test_answers_that_are_not_whole_pages_are_tried_again(
    sandbox: Sandbox, transport: Transport, kind: Any, compressed: bool
) -> None:
    sandbox.order(Faults(broken=[Broken(kind, times=2)], gzip=compressed))
    usage = Usage()
    assert transport.call(users(sandbox), records, usage) == sandbox.rows("users")[:5]
    assert usage.retries == 2


@pytest.mark.parametrize("kind", ["not_ok", "null_data", "no_data", "html"])
def test_an_answer_that_stays_no_page_is_an_error_without_its_content(
    sandbox: Sandbox, transport: Transport, kind: Any
) -> None:
    sandbox.order(Faults(broken=[Broken(kind)]))
    with pytest.raises(MalformedPageError, match="in 4 attempts") as raised:
        transport.call(users(sandbox), records, Usage())
    assert raised.value.where == sandbox.base_url + "/v1/users"
    assert "internal_error" not in str(raised.value)
    assert raised.value.__suppress_context__
    assert sandbox.count() == 4


def test_a_line_that_stays_cut_is_an_error(sandbox: Sandbox, transport: Transport) -> None:
    sandbox.order(Faults(broken=[Broken("cut")]))
    with pytest.raises(UnreachableError, match=r"cut off.* in 4 attempts"):
        transport.call(users(sandbox), records, Usage())
    sandbox.order(Faults())
    assert transport.call(users(sandbox), records, Usage()), "a cut line is not remembered"


# --- time-outs and bounds


def test_silence_ends_by_the_read_timeout_and_is_tried_again(sandbox: Sandbox, transport: Transport) -> None:
    sandbox.order(Faults(broken=[Broken("hang", times=1)]))
    usage = Usage()
    assert transport.call(users(sandbox), records, usage)
    assert usage.retries == 1
    sandbox.order(Faults(broken=[Broken("hang")]))
    with pytest.raises(UnreachableError, match="time-out"):
        transport.call(users(sandbox, error_handler=ErrorHandler(max_retries=0)), records, Usage())


def test_a_body_of_a_byte_now_and_then_ends(sandbox: Sandbox, transport: Transport) -> None:
    sandbox.order(Faults(broken=[Broken("slow", seconds=0.05)]))
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match="took longer"):
        transport.call(users(sandbox, error_handler=ErrorHandler(max_retries=0)), records, Usage())
    assert time.monotonic() - begun < 4


def test_a_bomb_is_given_up_while_it_is_unpacked(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("bomb", megabytes=64)]))
    with (
        Transport(max_body_bytes=1024 * 1024) as transport,
        pytest.raises(ApiError, match="larger than 1 MB") as raised,
    ):
        transport.call(users(sandbox), records, Usage())
    assert "limit" in raised.value.remedy
    assert sandbox.count() == 1


# --- Retry-After


@pytest.mark.parametrize("written_as", ["seconds", "date"])
def test_a_wait_is_never_shorter_than_retry_after(
    sandbox: Sandbox, transport: Transport, clock: FakeClock, written_as: Any
) -> None:
    sandbox.order(
        Faults(broken=[Broken("status", status=429, retry_after=90, retry_after_as=written_as, times=1)])
    )
    assert transport.call(users(sandbox), records, Usage())
    # A date holds whole seconds, and the server's own clock tells what they mean.
    assert 88 <= sum(clock.sleeps) <= 91


def test_a_wait_that_is_too_long_is_refused_with_what_the_server_asks(
    sandbox: Sandbox, transport: Transport, clock: FakeClock
) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=429, retry_after=7200, times=1)]))
    with pytest.raises(ResponseStatusError, match=r"asks to wait 7200 s .*more than the 3600 s"):
        transport.call(users(sandbox), records, Usage())
    with pytest.raises(ResponseStatusError, match="asks to wait 7200 s"):
        transport.call(users(sandbox), records, Usage())
    assert sandbox.count() == 1
    assert clock.sleeps == []


def test_the_retry_after_of_a_429_holds_for_everyone_at_once(
    sandbox: Sandbox, transport: Transport, clock: FakeClock
) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=429, retry_after=40, times=1)]))
    with pytest.raises(ResponseStatusError):
        transport.call(users(sandbox, error_handler=ErrorHandler(max_retries=0)), records, Usage())
    other = Usage()
    messages = ApiRequest(sandbox.base_url + "/v1/messages", params={"limit": 1})
    assert transport.call(messages, records, other)
    assert (other.requests, other.retries, other.waited_seconds) == (1, 0, 40)


def test_a_503_with_retry_after_holds_back_its_own_request_alone(
    sandbox: Sandbox, transport: Transport
) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=503, retry_after=40, resource="users")]))
    with pytest.raises(ResponseStatusError):
        transport.call(users(sandbox, error_handler=ErrorHandler(max_retries=0)), records, Usage())
    other = Usage()
    transport.call(ApiRequest(sandbox.base_url + "/v1/messages"), records, other)
    assert other.waited_seconds == 0


# --- many at once


def test_no_more_requests_are_in_flight_than_allowed(sandbox: Sandbox) -> None:
    sandbox.order(Faults(latency=0.05))
    with Transport(in_flight=3) as transport:
        futures = [transport.submit(transport.send(users(sandbox), records, Usage())) for _ in range(12)]
        assert all(len(future.result()) == 5 for future in futures)
    assert sandbox.most_in_flight == 3
    assert transport.usage.requests == 12
    assert sandbox.count() == 12


def test_of_several_asked_for_at_once_one_can_be_given_up() -> None:
    given_up = threading.Event()

    async def long() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.set()
            raise
        return "long"

    async def short() -> str:
        return "short"

    async def wrong() -> str:
        raise ValueError("wrong")

    with Transport() as transport:
        first, second, third = transport.submit_all([long(), short(), wrong()])
        assert second.result() == "short"
        with pytest.raises(ValueError, match="wrong"):
            third.result()
        assert not first.done()
        assert first.cancel()
        assert given_up.wait(5)
        assert first.cancelled()


def test_as_many_are_in_flight_as_allowed_from_several_threads() -> None:
    gate = threading.Barrier(4, timeout=5)

    def together(_: Received) -> Reply:
        gate.wait()
        return Reply()

    with SmallServer(together) as server, Transport(in_flight=4) as transport:
        results: list[bytes] = []
        threads = [
            threading.Thread(
                target=lambda: results.append(
                    transport.call(ApiRequest(server.url), lambda response: response.body, Usage())
                )
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [b"{}"] * 4


def test_what_is_under_way_does_not_outlive_close(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("hang")]))
    transport = Transport()
    future = transport.submit(transport.send(users(sandbox), records, Usage()))
    while sandbox.count() == 0 and transport.usage.requests == 0:
        time.sleep(0.005)
    transport.close()
    assert future.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        transport.call(users(sandbox), records, Usage())
    transport.close()


def test_a_transport_that_nobody_holds_ends_its_thread(sandbox: Sandbox) -> None:
    transport = Transport()
    transport.call(users(sandbox), records, Usage())
    threads = [thread for thread in threading.enumerate() if thread.name == "messaging-transport"]
    assert threads
    del transport
    gc.collect()
    assert not any(thread.is_alive() for thread in threads)


def test_the_loops_own_thread_does_not_wait_for_itself(sandbox: Sandbox, transport: Transport) -> None:
    async def wrong() -> None:
        await asyncio.sleep(0)
        transport.call(users(sandbox), records, Usage())

    with pytest.raises(RuntimeError, match="cannot wait"):
        transport.submit(wrong()).result()


# --- no way to the host


def test_an_unknown_host_is_found_out_once(transport: Transport, clock: FakeClock) -> None:
    for path in ("users", "channels"):
        with pytest.raises(UnreachableError, match=r"no-such-host\.invalid.*\(DNS\), in 4") as raised:
            transport.call(ApiRequest(f"http://no-such-host.invalid/v1/{path}?a=b"), records, Usage())
        assert "sources.messaging.base_url" in raised.value.remedy
        assert raised.value.where == f"http://no-such-host.invalid/v1/{path}"
    assert transport.usage.requests == 4
    assert len(clock.sleeps) == 3


def test_a_closed_port_is_found_out_once_and_only_for_its_host(
    sandbox: Sandbox, transport: Transport
) -> None:
    port = unused_port()
    for _ in range(2):
        with pytest.raises(UnreachableError, match=f"127.0.0.1:{port} refuses the connection"):
            transport.call(ApiRequest(f"http://127.0.0.1:{port}/"), records, Usage())
    assert transport.usage.requests == 4
    assert transport.call(users(sandbox), records, Usage())


def test_an_untrusted_certificate_is_named_at_once_and_can_be_trusted(clock: FakeClock) -> None:
    with SmallServer(lambda _: Reply(body=b'{"data": [1]}'), certificate=CERTIFICATE) as server:
        with (
            Transport(clock=clock, name="messaging") as transport,
            pytest.raises(UnreachableError, match=r"not trusted \(TLS\)") as raised,
        ):
            transport.call(ApiRequest(server.url), records, Usage())
        assert "sources.messaging.ca_bundle" in raised.value.remedy
        assert clock.sleeps == []
        with Transport(ca_bundle=CERTIFICATE) as transport:
            assert transport.call(ApiRequest(server.url), records, Usage()) == [1]


def test_tls_to_a_port_without_tls_says_tls(sandbox: Sandbox, transport: Transport) -> None:
    address = sandbox.base_url.replace("http:", "https:")
    with pytest.raises(UnreachableError, match="TLS"):
        transport.call(ApiRequest(address), records, Usage())


def test_a_ca_bundle_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for path in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        with pytest.raises(ConfigurationError, match=r"sources\.messaging\.ca_bundle"):
            Transport(ca_bundle=path, name="messaging")


def test_an_answer_that_is_not_http_is_an_error(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            for _ in range(4):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        with pytest.raises(UnreachableError, match="not HTTP"):
            transport.call(ApiRequest(f"http://127.0.0.1:{listener.getsockname()[1]}/"), records, Usage())
        thread.join()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "nonsense"])
def test_an_address_that_is_none_is_a_clear_error(transport: Transport, url: str) -> None:
    with pytest.raises(ApiError, match="not valid"):
        transport.call(ApiRequest(url), records, Usage())


def test_a_header_that_cannot_be_sent_is_an_error_without_its_value(
    sandbox: Sandbox, transport: Transport
) -> None:
    with pytest.raises(ApiError, match="not valid") as raised:
        transport.call(users(sandbox, headers={"X-Key": "hidden\r\nvalue"}), records, Usage())
    assert "hidden" not in repr(raised.value)


# --- redirects and proxies


def test_redirects_on_the_same_host_are_followed(sandbox: Sandbox, transport: Transport) -> None:
    sandbox.order(Faults(broken=[Broken("redirect", times=1)]))
    usage = Usage()
    assert transport.call(users(sandbox), records, usage) == sandbox.rows("users")[:5]
    assert (usage.requests, usage.retries) == (2, 0)


def test_redirects_for_ever_end(sandbox: Sandbox, transport: Transport) -> None:
    sandbox.order(Faults(broken=[Broken("redirect", location="loop")]))
    with pytest.raises(ApiError, match="more than 5 redirects"):
        transport.call(users(sandbox), records, Usage())
    assert sandbox.count() == 6


def test_nothing_follows_a_redirect_to_another_host(sandbox: Sandbox, transport: Transport) -> None:
    with SmallServer(lambda _: Reply()) as other:
        sandbox.order(Faults(broken=[Broken("redirect", location=other.url)]))
        with pytest.raises(ApiError, match="redirects to another host") as raised:
            transport.call(users(sandbox, headers={"X-Api-Key": "hidden"}), records, Usage())
        assert other.received == []
    assert f"127.0.0.1:{other.port}" in str(raised.value)


def test_a_post_stays_a_post_or_becomes_a_get_as_http_has_it(transport: Transport) -> None:
    for status, methods in ((307, ["POST", "POST"]), (308, ["POST", "POST"]), (303, ["POST", "GET"])):
        replies = iter([Reply(status, headers=(("Location", "/there"),)), Reply()])
        with SmallServer(lambda _, replies=replies: next(replies)) as server:  # type: ignore[misc]
            transport.call(ApiRequest(server.url, "POST", json={"a": 1}), lambda _: None, Usage())
            assert [asked.method for asked in server.received] == methods
            bodies = [asked.body for asked in server.received]
            assert bodies == [b'{"a": 1}', b'{"a": 1}' if methods[1] == "POST" else b""]


def test_the_configured_proxy_is_used_and_those_of_the_environment_are_not(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = f"http://127.0.0.1:{unused_port()}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, dead)
    with Transport() as transport:
        assert transport.call(users(sandbox), records, Usage())
    with SmallServer(lambda _: Reply(body=b'{"data": [7]}')) as proxy:
        address = proxy.url.replace("//", "//user:hidden@")
        with Transport(proxy=address) as transport:
            assert transport.call(ApiRequest("http://api.invalid/v1/users"), records, Usage()) == [7]
        assert proxy.received[0].target == "http://api.invalid/v1/users"
        assert proxy.received[0].headers["Proxy-Authorization"].startswith("Basic ")
    with (
        Transport(proxy=address, clock=FakeClock(), name="messaging") as transport,
        pytest.raises(UnreachableError, match="proxy") as raised,
    ):
        transport.call(ApiRequest("http://api.invalid/v1/users"), records, Usage())
    assert "sources.messaging.proxy" in raised.value.remedy
    assert "hidden" not in str(raised.value)


# --- what is sent


def test_parameters_headers_and_bodies_arrive_as_they_are_given(transport: Transport) -> None:
    with SmallServer(lambda _: Reply()) as server:
        request = ApiRequest(
            server.url + "/v1/a b?kept=1",
            "POST",
            params={"limit": 2, "ids": ["x&y", "ä"], "none": None, "yes": True},
            headers={"X-Own": "1", "Accept-Encoding": "br", "Host": "elsewhere"},
            json={"offset": 0},
        )
        transport.call(request, lambda _: None, Usage())
    received = server.received[0]
    assert received.target == "/v1/a%20b?kept=1&limit=2&ids=x%26y&ids=%C3%A4&yes=True"
    assert received.headers["X-Own"] == "1"
    assert received.headers["Accept-Encoding"] == "gzip, deflate"
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Host"] == f"127.0.0.1:{server.port}"
    assert json.loads(received.body) == {"offset": 0}


def test_user_and_password_of_an_address_are_sent_and_never_shown(transport: Transport) -> None:
    with SmallServer(lambda _: Reply(status=404)) as server:
        address = server.url.replace("//", "//ann:s%40cret@") + "/x?key=hidden"
        with pytest.raises(ResponseStatusError) as raised:
            transport.call(ApiRequest(address), records, Usage())
    assert server.received[0].headers["Authorization"] == "Basic YW5uOnNAY3JldA=="
    for hidden in ("ann", "cret", "hidden"):
        assert hidden not in str(raised.value)


def test_bodies_of_errors_are_never_shown(transport: Transport) -> None:
    with (
        SmallServer(lambda _: Reply(status=400, body=b"a message text")) as server,
        pytest.raises(ResponseStatusError) as raised,
    ):
        transport.call(ApiRequest(server.url), records, Usage())
    assert "message text" not in repr(raised.value)


def test_a_host_that_never_says_a_word_is_found_out_once(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("hang")]))
    clock = FakeClock()
    with Transport(timeouts=Timeouts(read=0.1), clock=clock) as transport:
        for _ in range(3):
            with pytest.raises(UnreachableError, match="time-out"):
                transport.call(users(sandbox, error_handler=ErrorHandler(max_retries=1)), records, Usage())
        assert sandbox.count() == 2


def test_an_unreachable_host_is_tried_again_after_a_while(sandbox: Sandbox) -> None:
    """A source that outlives a run, in a notebook, is not dead for ever."""
    clock = FakeClock()
    with Transport(clock=clock) as transport:
        sandbox.stop()
        for _ in range(2):
            with pytest.raises(UnreachableError, match="refuses the connection"):
                transport.call(users(sandbox), records, Usage())
        sandbox.start()
        with pytest.raises(UnreachableError):
            transport.call(users(sandbox), records, Usage())
        clock.advance(61)
        assert transport.call(users(sandbox), records, Usage())


def test_requests_one_after_the_other_share_a_connection() -> None:
    with SmallServer(lambda _: Reply()) as server, Transport() as transport:
        for _ in range(20):
            transport.call(ApiRequest(server.url), lambda response: response.body, Usage())
        assert len(server.received) == 20
        assert len({received.connection for received in server.received}) == 1
