"""Asynchronous HTTP: one event loop in a thread, with retries, time-outs, redirects, limits and counters.

Everything that goes over the wire goes through here, whoever asks: the sweep (many requests in flight),
dlt's RESTClient (through `session.py`) and the token endpoint (through `auth.py`). What does not belong
here: what an answer means (`page.py`), which request comes next (`paging.py`), what is tried again
(`error_handler.py`), how fast a host may be asked (`rate.py`), and how credentials are obtained (`auth.py`).

The client is aiohttp. Of the clients that are installed anyway it is the cheapest (`make benchmark
ARGS=clients`): 1,000 pages of 32 KB, 8 in flight, parsed by orjson, take 0.2 s, against 0.3 s with urllib3 in
threads and 0.7 s with requests and with dlt's session. With 20 ms of latency all of them take 2.8 to 2.9 s,
of processor time aiohttp 0.3, urllib3 0.5 and the others 0.6 to 0.8. One event loop makes a rate budget, a
line and a cancellation for all requests simple, which threads do not.
"""

import concurrent.futures
import errno
import itertools
import math
import ssl
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import aiohttp
import yarl
from multidict import CIMultiDict, CIMultiDictProxy
from requests.utils import DEFAULT_CA_BUNDLE_PATH, requote_uri

from messaging_assets.api.clock import Clock, SystemClock
from messaging_assets.api.error_handler import http_date, retry_after_seconds
from messaging_assets.api.errors import (
    ApiError,
    ConfigurationError,
    MalformedPageError,
    ResponseStatusError,
    UnreachableError,
)
from messaging_assets.api.lane import Lane
from messaging_assets.api.loop_thread import LoopThread
from messaging_assets.api.rate import AS_ASKED, RateBudget, allowance_of
from messaging_assets.api.request import (
    AfterRefusal,
    ApiRequest,
    ApiResponse,
    Authoriser,
    Outgoing,
    basic_authorization,
    origin_of,
    setting_name,
    shown,
)
from messaging_assets.api.status import status_error
from messaging_assets.api.usage import Usage

__all__ = [
    "AfterRefusal",
    "ApiRequest",
    "ApiResponse",
    "Authoriser",
    "Clock",
    "Outgoing",
    "SystemClock",
    "Timeouts",
    "Transport",
    "Usage",
]

T = TypeVar("T")

MEBIBYTE = 1024 * 1024
MAX_REDIRECTS = 5
# A request whose token was replaced or revoked while it was under way is sent again with a new one. Where
# tokens are revoked faster than requests are answered that has to end somewhere.
MAX_SENDINGS = 6
# A body may take this many read time-outs as a whole, so that a byte a second ends too.
BODY_TIMEOUTS = 10
# A host that could not be reached is not tried again for so long: the other resources of a run find out at
# once. A source that outlives a run, in a notebook, may try again later.
UNREACHABLE_SECONDS = 60.0
# Shorter than the five seconds after which uvicorn and Node close an idle connection: a connection that
# the server is about to close costs a failed request.
KEEP_ALIVE_SECONDS = 4.0
# A wait up to this long is told to nobody, and a line about waiting stands for as long a time as it names,
# for a minute at least.
QUIET_SECONDS = 5.0
SECONDS_OF_A_LINE = 60.0


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for a server, in seconds.

    Attributes:
        connect: Name resolution, connecting and TLS together.
        read: The longest time without a byte; a whole answer may take ten times as long.
    """

    connect: float = 10.0
    read: float = 60.0


@dataclass(eq=False)
class _LineFailure(Exception):  # noqa: N818 - it never leaves this module
    """No answer, or not a whole one.

    Attributes:
        what: What happened, with the host in it.
        remedy: What to do about it.
        again: Whether to try again: a certificate does not become valid by asking twice.
        lasting: Whether it is the same for all requests to this host, so that one finds it out for all.
    """

    what: str
    remedy: str
    again: bool = True
    lasting: bool = False


@dataclass(frozen=True)
class SpoiledAnswer:
    """An answer with a status of success that turned out to be none, after it was handed over.

    Attributes:
        error: What is wrong with it.
        attempts: How many attempts it took.
    """

    error: MalformedPageError
    attempts: int


class Transport(AbstractContextManager["Transport"]):
    """The one way to an API: sends requests, as many at once as allowed, from any thread.

    Args:
        timeouts: How long to wait for the server.
        proxy: The address of a proxy. Proxies of the environment are never used.
        ca_bundle: A file or folder of certificates to trust beside the usual ones.
        max_body_bytes: The largest body, after decompression.
        in_flight: How many requests are under way at once.
        requests_per_second: How many requests may start in a second, None for as many as it goes.
        clock: The time.
        name: The connection's name, to name settings in error messages.

    Attributes:
        waiting: Told in words when a request has to wait long; called in the event loop's thread.

    Raises:
        ConfigurationError: The CA bundle cannot be read.

    Example:
        >>> with Transport() as transport:
        ...     request = ApiRequest("https://api.example.com/v1/users", params={"limit": 1})
        ...     body = transport.call(request, lambda response: response.body, Usage())
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        proxy: str | None = None,
        ca_bundle: str | Path | None = None,
        max_body_bytes: int = 256 * MEBIBYTE,
        in_flight: int = 8,
        requests_per_second: float | None = None,
        clock: Clock | None = None,
        name: str | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.name = name
        self.in_flight = in_flight
        self.usage = Usage()
        self.waiting: Callable[[str], None] | None = None
        self._timeouts = timeouts or Timeouts()
        self._proxy = proxy
        self._ca_bundle = ca_bundle
        self._max_body_bytes = max_body_bytes
        self._requests_per_second = requests_per_second
        self._http: aiohttp.ClientSession | None = None
        # By origin: the way to it, and why it cannot be reached at all.
        self._lanes: dict[str, Lane] = {}
        self._unreachable: dict[str, tuple[float, _LineFailure]] = {}
        self._answered: set[str] = set()
        self._told_until = 0.0
        if ca_bundle is not None:
            _ = self._tls
        self._thread = LoopThread()
        self._close = weakref.finalize(self, self._thread.stop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def rate(self) -> float | None:
        """Requests per second that may start now, None for as many as it goes."""
        rates = [lane.budget.rate for lane in list(self._lanes.values())]
        return min((rate for rate in rates if rate is not None), default=self._requests_per_second)

    @property
    def under_way(self) -> int:
        """How many requests have started and are not answered yet."""
        return sum(lane.budget.under_way for lane in list(self._lanes.values()))

    def setting(self, key: str) -> str:
        """Return the name under which a user finds a setting of this connection."""
        return setting_name(self.name, key)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the transport's event loop.

        Args:
            coroutine: For example `send(...)`, or anything that awaits several of them.

        Returns:
            Its future result, for the calling thread to wait for.
        """
        return self.submit_all([coroutine])[0]

    def submit_all(self, coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[concurrent.futures.Future[T]]:
        """Run several coroutines side by side, as `submit` does, but wake the event loop once for all.

        Args:
            coroutines: For example one `send(...)` for each of the next pages of a list.

        Returns:
            Their future results, in the same order.
        """
        try:
            return self._thread.start_all(coroutines)
        except RuntimeError:
            for coroutine in coroutines:
                coroutine.close()
            raise

    def call(
        self,
        request: ApiRequest,
        decode: Callable[[ApiResponse], T],
        usage: Usage,
        spoiled: SpoiledAnswer | None = None,
    ) -> T:
        """Do what `send` does and wait for it, from any thread but the loop's own."""
        return self.wait_for(self.send(request, decode, usage, spoiled))

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop and wait for its result; an interrupt cancels it."""
        if self._thread.is_current():
            coroutine.close()
            raise RuntimeError("the event loop's own thread cannot wait for the event loop")
        future = self.submit(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End all that is under way, close the connections and join the thread. For good."""
        self._close()

    async def send(
        self,
        request: ApiRequest,
        decode: Callable[[ApiResponse], T],
        usage: Usage,
        spoiled: SpoiledAnswer | None = None,
    ) -> T:
        """Ask, again and again as the error handler allows, and return what was asked for.

        Args:
            request: What to ask for.
            decode: Turns an answer with a status of success into a value. It raises MalformedPageError
                for one that is not what was asked for, which is then tried again.
            usage: Counts this request; the transport's own total does as well.
            spoiled: What came of asking so far, where the answer was found to be none by the caller.

        Returns:
            What `decode` made of the answer.

        Raises:
            UnreachableError: No answer, or not a whole one.
            AuthenticationError: The credentials are refused.
            ForbiddenError: 403.
            ResponseStatusError: Any other status that is no success.
            MalformedPageError: `decode` found no page in any attempt.
            ApiError: A redirect that cannot be followed, or a body that is too large.
        """

        def accept(response: ApiResponse) -> T:
            if not response.succeeded:
                raise status_error(response, name=self.name)
            return decode(response)

        return await self.exchange(request, accept, usage, spoiled)

    async def exchange(
        self,
        request: ApiRequest,
        decode: Callable[[ApiResponse], T],
        usage: Usage,
        spoiled: SpoiledAnswer | None = None,
    ) -> T:
        """Do what `send` does, but hand the last answer to `decode` whatever its status."""
        handler = request.error_handler
        origin = origin_of(request.url)
        for attempt in itertools.count(spoiled.attempts if spoiled else 1):
            self._raise_if_known_unreachable(request, origin)
            last = attempt > handler.max_retries
            asked, status, why = None, 0, "before it asks again: there was no answer"
            try:
                if spoiled is not None:
                    error, spoiled = spoiled.error, None
                    raise error
                response = await self._attempt(request, attempt, usage)
                if attempt > 1:
                    response = replace(response, attempts=attempt)
                status = response.status
                asked = self._asked_to_wait(response)
                why = AS_ASKED if asked else f"before it asks again: the API answered {status}"
                if last or response.status not in handler.retry_on_status_codes:
                    return decode(response)
            except _LineFailure as failure:
                if last or not failure.again:
                    self._give_up(failure, request, origin, attempt)
            except MalformedPageError as error:
                if last:
                    raise _placed(error, request.url, attempt) from None
            self._refuse_to_wait_longer(asked, request, status=status)
            await self._sleep(handler.wait(attempt, asked), usage, why)
            self._count(usage, retries=1)
        raise AssertionError("the last attempt returns or raises")

    # --- one attempt

    async def _attempt(self, request: ApiRequest, attempt: int, usage: Usage) -> ApiResponse:
        """Send, and send again with fresh credentials where the first ones are refused."""
        lane = self._lane(origin_of(request.url))
        async with lane.turns if request.in_turn else nullcontext():
            accepted_before: int | None = None
            for sending in itertools.count(1):
                outgoing = await self._admitted(request, lane, attempt, usage)
                response = await self._send_along_redirects(request, outgoing, lane, attempt, usage)
                if request.authoriser is None:
                    break
                if response.status != 401:
                    lane.accepted += 1
                    break
                if sending == MAX_SENDINGS:
                    break
                # Fresh credentials that are refused are wrong, unless they have served others meanwhile.
                may_renew = lane.accepted != accepted_before
                after = await request.authoriser.renew_after_refusal(outgoing, may_renew=may_renew)
                if after is AfterRefusal.FINAL:
                    break
                if after is AfterRefusal.RENEWED:
                    accepted_before = lane.accepted
        return response

    async def _admitted(
        self, request: ApiRequest, lane: Lane, attempt: int, usage: Usage, ready: Outgoing | None = None
    ) -> Outgoing:
        """Wait until one more request may start, and count it as started.

        A request for a token waits beside the line, whose first may be waiting for the token.

        Returns:
            What to send: `ready`, or the request with credentials that are fresh now.
        """
        async with lane.in_line(attempt) if request.in_turn else nullcontext():
            while True:
                await self._wait_as_asked(request, lane, usage)
                outgoing = ready or request.outgoing()
                # Credentials come after the wait, which may have outlived a token.
                if ready is None and request.authoriser is not None:
                    await request.authoriser.authorise(outgoing)
                if lane.budget.pause().seconds <= 0:
                    lane.budget.start()
                    return outgoing

    async def _send_along_redirects(
        self, request: ApiRequest, outgoing: Outgoing, lane: Lane, attempt: int, usage: Usage
    ) -> ApiResponse:
        current = outgoing
        for redirects in itertools.count():
            response = await self._send_admitted(request, current, lane, usage)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            target = urljoin(current.url, location)
            if origin_of(target) != origin_of(current.url):
                raise ApiError(
                    f"the API redirects to another host, {shown(origin_of(target))}, and credentials"
                    " never follow there",
                    where=shown(current.url),
                    remedy=f"if that address is right, make it {self.setting('base_url')}",
                )
            if redirects == MAX_REDIRECTS:
                raise ApiError(
                    f"more than {MAX_REDIRECTS} redirects",
                    where=shown(outgoing.url),
                    remedy=f"check {self.setting('base_url')}",
                )
            redirected = _redirected(current, response.status, target)
            current = await self._admitted(request, lane, attempt, usage, redirected)
        raise AssertionError("the last redirect returns or raises")

    async def _send_admitted(
        self, request: ApiRequest, outgoing: Outgoing, lane: Lane, usage: Usage
    ) -> ApiResponse:
        """Send a request that has started, and let the budget know what came of it."""
        started = self.clock.now()
        try:
            response = await self._send_once(outgoing, usage)
            self._note_pace(request, response, lane.budget, started)
        finally:
            lane.end()
        return response

    async def _send_once(self, outgoing: Outgoing, usage: Usage) -> ApiResponse:
        self._count(usage, requests=1)
        url, headers = _without_userinfo(outgoing)
        try:
            async with self._session().request(
                outgoing.method,
                yarl.URL(url, encoded=True),
                headers=headers,
                data=outgoing.body,
                allow_redirects=False,
                proxy=self._proxy,
                ssl=self._tls if "https:" in (url[:6], (self._proxy or "")[:6]) else True,
            ) as response:
                self._answered.add(origin_of(outgoing.url))
                body = await self._read(response, url)
                self._count(usage, bytes_received=len(body))
                return ApiResponse(response.status, _joined(response.headers), body, outgoing.url)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise self._not_valid(url) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._line_failure(error, url) from None
        except ValueError:
            raise self._not_valid(url) from None

    async def _read(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        """Read a body, bounded while it is read: a small one may decompress into a huge one."""
        chunks = []
        size = 0
        # What has arrived: of a body that decompresses into much, less than 1 MB at once (measured).
        while chunk := await response.content.readany():
            size += len(chunk)
            if size > self._max_body_bytes:
                raise ApiError(
                    f"the answer is larger than {self._max_body_bytes // MEBIBYTE} MB",
                    where=shown(url),
                    remedy="ask for smaller pages (the paginator's `limit`), or raise"
                    " client.max_body_megabytes",
                )
            chunks.append(chunk)
        return b"".join(chunks)

    def _session(self) -> aiohttp.ClientSession:
        """Return the client, which has to be made inside the running loop."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                # One more than may be in flight, for the request for a token.
                connector=aiohttp.TCPConnector(
                    limit=0, limit_per_host=self.in_flight + 1, keepalive_timeout=KEEP_ALIVE_SECONDS
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=self._timeouts.connect + BODY_TIMEOUTS * self._timeouts.read,
                    connect=self._timeouts.connect,
                    sock_connect=self._timeouts.connect,
                    sock_read=self._timeouts.read,
                ),
                # Neither proxies of the environment nor .netrc.
                trust_env=False,
            )
            self._thread.at_stop(self._http.close)
        return self._http

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Trust the machine's certificates, those of requests, and the configured ones."""
        context = ssl.create_default_context()
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        if self._ca_bundle is not None:
            path = Path(self._ca_bundle)
            try:
                context.load_verify_locations(
                    cafile=None if path.is_dir() else path, capath=path if path.is_dir() else None
                )
            except OSError:
                raise ConfigurationError(
                    [f"{self.setting('ca_bundle')}: {path} is not a readable file of certificates (PEM)"]
                ) from None
        return context

    # --- waiting and counting

    def _lane(self, origin: str) -> Lane:
        if origin not in self._lanes:
            budget = RateBudget(self.clock.now, self._requests_per_second)
            self._lanes[origin] = Lane(budget, self.in_flight)
        return self._lanes[origin]

    def _note_pace(
        self, request: ApiRequest, response: ApiResponse, budget: RateBudget, started: float
    ) -> None:
        """Let the budget learn from an answer. A token endpoint's limits are its own, but for its 429s."""
        if response.status == 429:
            budget.hold(self._asked_to_wait(response) or 0.0)
        if not request.in_turn:
            return
        allowance = allowance_of(response.headers, now=lambda: self._time_of(response))
        # More than a single wait may take is not believed: if it is meant so, a 429 will say it.
        is_near = allowance is not None and allowance.seconds <= request.error_handler.longest_wait
        budget.note_allowance(allowance if is_near else None)
        if response.status == 429:
            budget.note_refusal(started)
        elif response.status < 500:
            budget.note_success()

    def _asked_to_wait(self, response: ApiResponse) -> float | None:
        """Return what Retry-After asks for. That of a 429 holds for every request to the host."""
        value = response.headers.get("Retry-After")
        return None if value is None else retry_after_seconds(value, now=self._time_of(response))

    def _time_of(self, response: ApiResponse) -> datetime:
        """Return the server's time: dates are meant by its clock, which may differ from this machine's."""
        return http_date(response.headers.get("Date")) or self.clock.wall()

    async def _wait_as_asked(self, request: ApiRequest, lane: Lane, usage: Usage) -> None:
        while (pause := lane.budget.pause()).seconds > 0:
            if pause.seconds == math.inf:
                await lane.until_answered()
                continue
            self._refuse_to_wait_longer(lane.budget.held(), request, status=429)
            await self._sleep(pause.seconds, usage, pause.why)

    def _refuse_to_wait_longer(self, asked: float | None, request: ApiRequest, *, status: int) -> None:
        longest = request.error_handler.longest_wait
        if asked is not None and asked > longest:
            raise ResponseStatusError(
                f"the API asks to wait {asked:.0f} s before the next request, more than the {longest:.0f} s"
                " that a single wait may take",
                status=status,
                where=shown(request.url),
                remedy="run the sync later, or less often; `longest_wait` of the error_handler is the limit",
            )

    async def _sleep(self, seconds: float, usage: Usage, why: str) -> None:
        self._tell(seconds, why)
        self._count(usage, waited_seconds=seconds)
        await self.clock.sleep(seconds)

    def _tell(self, seconds: float, why: str) -> None:
        """Tell of a long wait, once for all who wait for the same."""
        now = self.clock.now()
        if self.waiting is None or seconds <= QUIET_SECONDS or now + seconds <= self._told_until:
            return
        self._told_until = now + max(seconds + QUIET_SECONDS, SECONDS_OF_A_LINE)
        self.waiting(f"waiting {seconds:,.0f} s {why}")

    def _count(self, usage: Usage, **amounts: Any) -> None:
        usage.add(**amounts)
        self.usage.add(**amounts)

    # --- no answer

    def _not_valid(self, url: str) -> ApiError:
        return ApiError(
            "the address or a header of the request is not valid",
            where=shown(url),
            remedy=f"check {self.setting('base_url')}, the path and the headers",
        )

    def _raise_if_known_unreachable(self, request: ApiRequest, origin: str) -> None:
        until, failure = self._unreachable.get(origin, (0.0, None))
        if failure is not None and self.clock.now() < until:
            raise UnreachableError(failure.what, where=shown(request.url), remedy=failure.remedy)

    def _give_up(self, failure: _LineFailure, request: ApiRequest, origin: str, attempts: int) -> NoReturn:
        # The address that counts is that of the request, whose setting may be another one.
        settings = dict.fromkeys([self.setting("base_url"), self.setting(request.address_setting)])
        remedy = failure.remedy.format(address=" or ".join(settings))
        what = failure.what + (f", in {attempts} attempts" if attempts > 1 else "")
        if failure.lasting or origin not in self._answered:
            # A host that accepts connections and never says a word is as good as none.
            until = self.clock.now() + UNREACHABLE_SECONDS
            self._unreachable[origin] = (until, replace(failure, what=what, remedy=remedy))
        raise UnreachableError(what, where=shown(request.url), remedy=remedy) from None

    def _line_failure(self, error: Exception, url: str) -> _LineFailure:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
            return _LineFailure(
                "the proxy cannot be reached or refuses", f"check {self.setting('proxy')}", lasting=True
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return _LineFailure(
                f"the certificate of {host} is not trusted (TLS)",
                f"check {{address}}; for a certificate authority of your own set {self.setting('ca_bundle')}",
                again=False,
                lasting=True,
            )
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return _LineFailure(
                _no_connection(error, host, origin_of(url).rpartition(":")[2], self._timeouts.connect),
                "check {address} and the network",
                lasting=True,
            )
        return _LineFailure(_cut_line(error, host, self._timeouts), "try again later; check {address}")


def _placed(error: MalformedPageError, url: str, attempts: int) -> MalformedPageError:
    """Return the error with the place, which whoever decodes a body does not know."""
    what = error.what + (f", in {attempts} attempts" if attempts > 1 else "")
    return MalformedPageError(what, where=error.where or shown(url), remedy=error.remedy)


def _redirected(outgoing: Outgoing, status: int, target: str) -> Outgoing:
    """Return the request for the redirect's target; a POST becomes a GET where HTTP has it so."""
    becomes_get = status == 303 or (status in (301, 302) and outgoing.method == "POST")
    headers = outgoing.headers.copy()
    if becomes_get:
        headers.pop("Content-Type", None)
    return Outgoing(
        "GET" if becomes_get else outgoing.method,
        requote_uri(target),
        headers,
        None if becomes_get else outgoing.body,
    )


def _joined(headers: CIMultiDictProxy[str]) -> Mapping[str, str]:
    """Return headers each of which is there once: what came several times is one list."""
    names = set(map(str.title, headers))
    if len(names) == len(headers):
        return headers
    return CIMultiDict({name: ", ".join(headers.getall(name)) for name in names})


def _without_userinfo(outgoing: Outgoing) -> tuple[str, CIMultiDict[str]]:
    """Turn user and password in the address into a header, unless there is a better one."""
    if "@" not in outgoing.url:
        return outgoing.url, outgoing.headers
    parts = urlsplit(outgoing.url)
    if "@" not in parts.netloc:
        return outgoing.url, outgoing.headers
    headers = outgoing.headers.copy()
    headers.setdefault(
        "Authorization", basic_authorization(unquote(parts.username or ""), unquote(parts.password or ""))
    )
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), headers


def _no_connection(error: Exception, host: str, port: str, seconds: float) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host name {host} cannot be resolved (DNS)"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"no secure connection to {host}:{port} (TLS)"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection to {host}:{port} within {seconds:g} s (time-out)"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return f"{host}:{port} refuses the connection"
    return f"no connection to {host}:{port}"


def _cut_line(error: Exception, host: str, timeouts: Timeouts) -> str:
    if isinstance(error, aiohttp.SocketTimeoutError):
        return f"{host} sent nothing for {timeouts.read:g} s (time-out)"
    if isinstance(error, TimeoutError):
        total = timeouts.connect + BODY_TIMEOUTS * timeouts.read
        return f"the answer of {host} took longer than {total:g} s (time-out)"
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"the answer of {host} was cut off or its length is wrong"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the answer of {host} is not HTTP"
    return f"{host} cut the connection before it answered"
