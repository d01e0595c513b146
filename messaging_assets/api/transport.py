"""Asynchronous HTTP: one event loop in a thread, with retries, time-outs, redirects, limits and counters.

Everything that goes over the wire goes through here, whoever asks: the sweep (many requests in flight),
dlt's RESTClient (through `session.py`) and the token endpoint (through `auth.py`). What does not belong
here: what an answer means (`page.py`), which request comes next (`paging.py`), what is tried again
(`error_handler.py`), and how credentials are obtained (`auth.py`).

The client is aiohttp because it was the cheapest of those measured: 1,000 pages of 35 KB, 8 in flight,
parsed by orjson, took 0.20 s, against 0.32 s with threads on http.client, 0.63 s with urllib3, 0.95 s
with httpx, 1.4 s with requests and 1.7 s with dlt's session. With 20 ms of latency all of them take 2.6 to
2.9 s, but aiohttp uses 0.3 s of processor time and the others 0.8 to 1.9 s.
"""

import asyncio
import concurrent.futures
import errno
import itertools
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import aiohttp
import yarl
from requests.structures import CaseInsensitiveDict
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
from messaging_assets.api.loop_thread import LoopThread
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
# A request whose token was replaced by somebody else while it was under way is sent again with the new
# one. Where tokens are replaced faster than requests are answered that has to end somewhere.
MAX_SENDINGS = 6
# A body may take this many read time-outs as a whole, so that a byte a second ends too.
BODY_TIMEOUTS = 10
# A host that could not be reached is not tried again for so long: the other resources of a run find out at
# once. A source that outlives a run, in a notebook, may try again later.
UNREACHABLE_SECONDS = 60.0
# Shorter than the five seconds after which uvicorn and Node close an idle connection: a connection that
# the server is about to close costs a failed request.
KEEP_ALIVE_SECONDS = 4.0
READ_BYTES = 64 * 1024


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


class Transport(AbstractContextManager["Transport"]):
    """The one way to an API: sends requests, as many at once as allowed, from any thread.

    Args:
        timeouts: How long to wait for the server.
        proxy: The address of a proxy. Proxies of the environment are never used.
        ca_bundle: A file or folder of certificates to trust beside the usual ones.
        max_body_bytes: The largest body, after decompression.
        in_flight: How many requests are under way at once.
        clock: The time.
        name: The connection's name, to name settings in error messages.

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
        clock: Clock | None = None,
        name: str | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.name = name
        self.in_flight = in_flight
        self.usage = Usage()
        self._timeouts = timeouts or Timeouts()
        self._proxy = proxy
        self._ca_bundle = ca_bundle
        self._max_body_bytes = max_body_bytes
        self._turn = asyncio.Semaphore(in_flight)
        self._http: aiohttp.ClientSession | None = None
        # By origin: when the server allows the next request, and why it cannot be reached at all.
        self._not_before: dict[str, float] = {}
        self._unreachable: dict[str, tuple[float, _LineFailure]] = {}
        self._answered: set[str] = set()
        if ca_bundle is not None:
            _ = self._tls
        self._thread = LoopThread()
        self._close = weakref.finalize(self, self._thread.stop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        try:
            loop = self._thread.loop()
        except RuntimeError:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def call(self, request: ApiRequest, decode: Callable[[ApiResponse], T], usage: Usage) -> T:
        """Do what `send` does and wait for it, from any thread but the loop's own."""
        return self.wait_for(self.send(request, decode, usage))

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

    async def send(self, request: ApiRequest, decode: Callable[[ApiResponse], T], usage: Usage) -> T:
        """Ask, again and again as the error handler allows, and return what was asked for.

        Args:
            request: What to ask for.
            decode: Turns an answer with a status of success into a value. It raises MalformedPageError
                for one that is not what was asked for, which is then tried again.
            usage: Counts this request; the transport's own total does as well.

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

        return await self.exchange(request, accept, usage)

    async def exchange(self, request: ApiRequest, decode: Callable[[ApiResponse], T], usage: Usage) -> T:
        """Do what `send` does, but hand the last answer to `decode` whatever its status."""
        handler = request.error_handler
        origin = origin_of(request.url)
        for attempt in itertools.count(1):
            self._raise_if_known_unreachable(request, origin)
            last = attempt > handler.max_retries
            asked, status = None, 0
            try:
                response = replace(await self._attempt(request, origin, usage), attempts=attempt)
                status = response.status
                asked = self._asked_to_wait(response, origin)
                if last or response.status not in handler.retry_on_status_codes:
                    return decode(response)
            except _LineFailure as failure:
                if last or not failure.again:
                    self._give_up(failure, request, origin, attempt)
            except MalformedPageError as error:
                if last:
                    raise _placed(error, request.url, attempt) from None
            self._refuse_to_wait_longer(asked, request, status=status)
            await self._sleep(handler.wait(attempt, asked), usage)
            self._count(usage, retries=1)
        raise AssertionError("the last attempt returns or raises")

    # --- one attempt

    async def _attempt(self, request: ApiRequest, origin: str, usage: Usage) -> ApiResponse:
        """Send, and send again with fresh credentials where the first ones are refused."""
        async with self._turn_for(request, origin, usage):
            may_renew = True
            for sending in itertools.count(1):
                outgoing = request.outgoing()
                # Credentials come after the wait for a turn, which may have outlived a token.
                if request.authoriser is not None:
                    await request.authoriser.authorise(outgoing)
                response = await self._send_along_redirects(outgoing, usage)
                if response.status != 401 or request.authoriser is None or sending == MAX_SENDINGS:
                    break
                after = await request.authoriser.renew_after_refusal(outgoing, may_renew=may_renew)
                if after is AfterRefusal.FINAL:
                    break
                may_renew = may_renew and after is not AfterRefusal.RENEWED
        return response

    @asynccontextmanager
    async def _turn_for(self, request: ApiRequest, origin: str, usage: Usage) -> AsyncIterator[None]:
        if not request.in_turn:
            await self._wait_as_asked(request, origin, usage)
            yield
            return
        while True:
            await self._wait_as_asked(request, origin, usage)
            async with self._turn:
                # Another request may have been asked to wait while this one waited for its turn.
                if self._not_before.get(origin, 0.0) <= self.clock.now():
                    yield
                    return

    async def _send_along_redirects(self, outgoing: Outgoing, usage: Usage) -> ApiResponse:
        current = outgoing
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send_once(current, usage)
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
            current = _redirected(current, response.status, target)
        raise ApiError(
            f"more than {MAX_REDIRECTS} redirects",
            where=shown(outgoing.url),
            remedy=f"check {self.setting('base_url')}",
        )

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
                names = {name.title() for name in response.headers}
                return ApiResponse(
                    response.status,
                    CaseInsensitiveDict({n: ", ".join(response.headers.getall(n)) for n in names}),
                    body,
                    outgoing.url,
                )
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
        async for chunk in response.content.iter_chunked(READ_BYTES):
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
                    limit=self.in_flight + 1, keepalive_timeout=KEEP_ALIVE_SECONDS
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

    def _asked_to_wait(self, response: ApiResponse, origin: str) -> float | None:
        """Return what Retry-After asks for. That of a 429 holds for every request to the host."""
        # A date is meant by the server's clock, which may differ from this machine's.
        now = http_date(response.headers.get("Date")) or self.clock.wall()
        asked = retry_after_seconds(response.headers.get("Retry-After"), now=now)
        if asked and response.status == 429:
            until = self.clock.now() + asked
            self._not_before[origin] = max(until, self._not_before.get(origin, 0.0))
        return asked

    async def _wait_as_asked(self, request: ApiRequest, origin: str, usage: Usage) -> None:
        while (remaining := self._not_before.get(origin, 0.0) - self.clock.now()) > 0:
            self._refuse_to_wait_longer(remaining, request, status=429)
            await self._sleep(remaining, usage)

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

    async def _sleep(self, seconds: float, usage: Usage) -> None:
        self._count(usage, waited_seconds=seconds)
        await self.clock.sleep(seconds)

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


def _without_userinfo(outgoing: Outgoing) -> tuple[str, CaseInsensitiveDict[str]]:
    """Turn user and password in the address into a header, unless there is a better one."""
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
