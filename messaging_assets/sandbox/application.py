"""The messaging API as an ASGI application: endpoints, paging, authorisation, what was asked.

Rows come from the workspace, faults on the wire from `answers`; starting and ending a server is
`server`'s matter.
"""

import asyncio
import math
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl, unquote, urlencode

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from messaging_assets.sandbox.answers import Answer, Choice, broken_answer
from messaging_assets.sandbox.faults import Broken, Faults
from messaging_assets.sandbox.listing import Key
from messaging_assets.sandbox.rows import microseconds
from messaging_assets.sandbox.tokens import TokenDesk
from messaging_assets.sandbox.workspace import Workspace

Authentication = Literal["oauth2", "basic", "api_key", "none"]

_DEFAULT_LIMIT = 100
_REMEMBERED = 200_000
_STYLES = ("cursor", "pages", "links", "next")
_KEPT_TOKEN_FIELDS = ("grant_type", "scope", "audience")
_SECRET_PARAMETERS = ("api_key",)


@dataclass(frozen=True)
class Asked:
    """One request that the sandbox got; neither bodies nor secrets are kept.

    Args:
        method: Such as GET.
        path: Such as /v1/users, as it came, percent signs and all.
        params: Query parameters; of a token request the grant type, scope and audience.
        status: Of the answer; 0 if none was ever given.
        authorised: Whether the request had what it needs to be answered.
        credentials: Whether it had any header Authorization at all.
        seconds: When it arrived, on a clock that only goes forwards.
    """

    method: str
    path: str
    params: Mapping[str, str]
    status: int
    authorised: bool
    credentials: bool
    seconds: float


@dataclass(frozen=True)
class _Page:
    """What one request asks of a list."""

    resource: str
    offset: int
    limit: int
    since: int | None = None


class _RefusedError(Exception):
    """A request is answered with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = Answer.json({"error": message}, status)


class Application:
    """Serves a workspace, with faults.

    Args:
        workspace: What is served.
        tokens: Who may have it.
        faults: What goes wrong.
        seed: Decides the draws of the faults.
        authentication: What the lists want: a token, HTTP Basic, the secret as `X-Api-Key` (or as the
            parameter `api_key`), or nothing.
        maximum_limit: The largest page that it serves.
        seconds: What time is counted by for `rate_limit` and in what was asked.
    """

    def __init__(
        self,
        workspace: Workspace,
        tokens: TokenDesk,
        faults: Faults,
        *,
        seed: int = 1,
        authentication: Authentication = "oauth2",
        maximum_limit: int = 1000,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workspace = workspace
        self.tokens = tokens
        # A server that runs for weeks remembers its latest requests only.
        self.asked: deque[Asked] = deque(maxlen=_REMEMBERED)
        self.in_flight = 0
        self.most_in_flight = 0
        self._seed = seed
        self._authentication = authentication
        self._maximum_limit = maximum_limit
        self._seconds = seconds
        self._random = Random(seed)  # noqa: S311 - latencies and orders, no secrets
        self.order(faults)
        self._starlette = Starlette(
            routes=[
                Route("/", self._welcome, methods=["GET"]),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/v1/{path:path}", self._list, methods=["GET", "POST"]),
                Route("/{path:path}", self._nowhere, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count how many are being answered."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._starlette(scope, receive, send)
        finally:
            self.in_flight -= 1

    def order(self, faults: Faults) -> None:
        """Do other things wrong from now on; scripts and `times` begin anew."""
        self.faults = faults
        self._choice = Choice(faults, self._seed)
        self._pages: dict[str, int] = {}
        self._window = (0.0, 0)
        self.workspace.arrange(faults.order)

    def reset_counters(self) -> None:
        """Forget what was asked so far."""
        self.asked.clear()
        self.most_in_flight = self.in_flight

    def visible(self, keys: Sequence[Key]) -> Sequence[Key]:
        """Return the keys without those of hidden rows."""
        faults = self.faults
        if not (faults.hidden_share or faults.hidden_first is not None or faults.hidden_last is not None):
            return keys
        return [key for key in keys if not faults.hides(key, self._seed)]

    # The endpoints

    async def _welcome(self, request: Request) -> Answer:
        lists = [f"/v1/{name}" for name in self.workspace.names()]
        answer = Answer.json({"name": "messaging sandbox", "token_url": "/oauth/token", "lists": lists})
        self._note(request, {}, answer, authorised=False)
        return answer

    async def _nowhere(self, request: Request) -> Answer:
        answer = Answer.json({"error": "there is nothing at this address"}, 404)
        self._note(request, {}, answer, authorised=False)
        return answer

    async def _token(self, request: Request) -> Answer:
        form = dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))
        await self._wait()
        authorization = request.headers.get("authorization")
        broken = self._choice.broken("token", 0, 1)
        if broken is not None and broken.kind == "status":
            status, answer = broken.status, broken_answer(broken, Answer(), "/oauth/token")
        else:
            status, body = self.tokens.answer(form, authorization, self.faults)
            answer = Answer.json(body, status, cache_control="no-store")
            if broken is not None:
                answer = broken_answer(broken, answer, "/oauth/token")
        params = {name: form[name] for name in _KEPT_TOKEN_FIELDS if name in form}
        self._note(request, params, answer, authorised=status == 200)
        return answer

    async def _list(self, request: Request) -> Answer:
        await self._wait()
        authorised = self._authorised(request)
        params = dict(request.query_params)
        if request.method == "POST":
            params |= _paging_of(await request.body())
        if authorised:
            answer = self._with_what_is_left(self._limited() or self._answer(request, params))
        else:
            answer = Answer.json(
                {"error": "invalid_token"}, 401, www_authenticate='Bearer error="invalid_token"'
            )
        params = {name: value for name, value in params.items() if name not in _SECRET_PARAMETERS}
        self._note(request, params, answer, authorised=authorised)
        return answer

    # From a request to an answer

    def _answer(self, request: Request, params: Mapping[str, str]) -> Answer:
        raw: bytes = request.scope["raw_path"]
        parts = [unquote(part) for part in raw.decode("ascii").split("/")[2:]]
        try:
            style, page = self._page(parts, params)
            broken = self._choice.broken(page.resource, page.offset, page.limit)
            target = _target(raw, request)
            if broken is not None and broken.kind in ("status", "hang"):
                return broken_answer(broken, Answer(), target)
            answer = self._served(style, parts, page, params)
        except _RefusedError as refused:
            return refused.answer
        return self._sent(broken, answer, target, request)

    def _sent(self, broken: Broken | None, answer: Answer, target: str, request: Request) -> Answer:
        if broken is not None:
            answer = broken_answer(broken, answer, target)
        plain = answer.length is None and answer.chunks is None and not answer.pause
        if self.faults.gzip and plain and "gzip" in request.headers.get("accept-encoding", ""):
            return answer.compressed()
        return answer

    def _page(self, parts: Sequence[str], params: Mapping[str, str]) -> tuple[str, _Page]:
        """Return the style of paging and what is asked; styles other than offset turn into an offset."""
        style = parts[0] if len(parts) == 2 and parts[0] in _STYLES else "offset"
        if len(parts) == 3 and parts[0] == "channels" and parts[2] == "members":
            style = resource = "members"
        else:
            resource = parts[1] if style != "offset" else parts[0]
            if not self.workspace.has(resource) or len(parts) > 2:
                _refuse(404, "there is no such resource")
            style = "one" if len(parts) == 2 and style == "offset" else style
        limit = self._limit(params)
        offset = 0 if self.faults.ignore_offset else self._offset(style, resource, params, limit)
        since = _moment(params["updated_since"]) if params.get("updated_since") else None
        return style, _Page(resource, offset, limit, since)

    def _limit(self, params: Mapping[str, str]) -> int:
        faults = self.faults
        if faults.ignore_limit:
            return faults.page_cap or 1 << 62
        limit = min(_number(params, "limit", _DEFAULT_LIMIT), self._maximum_limit)
        # A server that gives more than asked does so for every page, also for the last.
        return min(limit, faults.page_cap or limit) + faults.extra_rows

    def _offset(self, style: str, resource: str, params: Mapping[str, str], limit: int) -> int:
        if style == "pages":
            return (max(_number(params, "page", 1), 1) - 1) * limit
        if style == "cursor":
            return self._cursor_offset(resource, params.get("cursor", ""))
        return _number(params, "offset", 0)

    def _cursor_offset(self, resource: str, cursor: str) -> int:
        if not cursor:
            return 0
        try:
            identity, offset = orjson.loads(urlsafe_b64decode(cursor))
            # The cursor names the last row of its page, so that changes before it do no harm.
            place = self.workspace.rank(resource, identity)
            return int(offset) if place is None else place + 1
        except (ValueError, TypeError):
            _refuse(400, "this is no cursor")

    def _served(self, style: str, parts: Sequence[str], page: _Page, params: Mapping[str, str]) -> Answer:
        self.workspace.arrange(self.faults.order)
        self._run_script(page.resource)
        if style == "members":
            members = self.workspace.members(parts[1], page.offset, page.limit)
            if members is None:
                _refuse(404, "there is no such channel")
            return Answer(body=_written({"data": members[0]} | self._total(members[1])))
        if style == "one":
            key = self.workspace.find(page.resource, parts[1])
            if key is None or not self.visible([key]):
                _refuse(404, "there is no such row")
            row = orjson.Fragment(self.workspace.written(page.resource, key))
            return Answer(body=_written({"data": row}))
        with self.workspace.lock:
            if style == "cursor" and not self.faults.ignore_offset:
                # The script may have moved the row that the cursor names.
                page = replace(page, offset=self._cursor_offset(page.resource, params.get("cursor", "")))
            return self._listed(style, page, params)

    def _listed(self, style: str, page: _Page, params: Mapping[str, str]) -> Answer:
        workspace, resource = self.workspace, page.resource
        if page.since is not None:
            total = workspace.count_since(resource, page.since)
        else:
            total = workspace.total(resource)
        if self.faults.order == "unstable":
            workspace.rotation = self._random.randrange(max(total, 1))
        keys = workspace.keys(resource, page.offset, page.limit, since=page.since)
        rows = orjson.Fragment(workspace.written_array(resource, self.visible(keys)))
        end = page.offset + len(keys)
        body: dict[str, Any] = {"data": rows, **self._total(total)}
        headers = {}
        if style == "pages":
            body["page"] = page.offset // max(page.limit, 1) + 1
            body["total_pages"] = math.ceil(total / max(page.limit, 1))
        elif style == "cursor":
            body["next_cursor"] = self._cursor(resource, keys, end) if end < total else None
        elif style in ("links", "next"):
            query = urlencode({**params, "offset": end, "limit": page.limit})
            link = f"/v1/{style}/{resource}?{query}" if end < total else None
            if style == "next":
                body["next"] = link
            elif link:
                headers["link"] = f'<{link}>; rel="next"'
        return Answer(body=_written(body), headers=headers)

    def _cursor(self, resource: str, keys: Sequence[Key], end: int) -> str:
        last = self.workspace.rows(resource, keys[-1:])
        identity = last[0].get("id") if last and isinstance(last[0], dict) else None
        return urlsafe_b64encode(orjson.dumps([identity, end])).decode()

    def _total(self, total: int) -> dict[str, Any]:
        kinds: dict[str, dict[str, Any]] = {
            "right": {"total": total},
            "absent": {},
            "null": {"total": None},
            "text": {"total": str(total)},
            "wrong": {"total": max(total + self.faults.total_error, 0)},
        }
        return kinds[self.faults.total]

    def _run_script(self, resource: str) -> None:
        page = self._pages[resource] = self._pages.get(resource, 0) + 1
        for at in self.faults.script:
            if at.resource == resource and at.due(page):
                at.apply(self.workspace)

    # What comes before

    async def _wait(self) -> None:
        seconds = self.faults.latency
        if self.faults.latency_jitter:
            seconds += self._random.random() * self.faults.latency_jitter
        if seconds:
            await asyncio.sleep(seconds)

    def _authorised(self, request: Request) -> bool:
        authorization = request.headers.get("authorization")
        if self._authentication == "oauth2":
            return self.tokens.accepts(authorization)
        if self._authentication == "basic":
            return self.tokens.accepts_basic(authorization)
        if self._authentication == "api_key":
            key = request.headers.get("x-api-key") or request.query_params.get("api_key")
            return self.tokens.accepts_secret(key)
        return True

    def _limited(self) -> Answer | None:
        if self.faults.rate_limit is None:
            return None
        now, (start, count) = self._seconds(), self._window
        if now >= start + self.faults.rate_limit_seconds:
            start, count = now, 0
        self._window = (start, count + 1)
        if count < self.faults.rate_limit:
            return None
        left = start + self.faults.rate_limit_seconds - now
        return Answer.json({"error": "rate_limited"}, 429, retry_after=str(math.ceil(left)))

    def _with_what_is_left(self, answer: Answer) -> Answer:
        limit, kind = self.faults.rate_limit, self.faults.rate_limit_headers
        if limit is None or kind == "none":
            return answer
        start, count = self._window
        reset = start + self.faults.rate_limit_seconds - self._seconds()
        if kind == "epoch":
            reset += time.time()
        prefix = "ratelimit" if kind == "draft" else "x-ratelimit"
        said = {"limit": limit, "remaining": max(limit - count, 0), "reset": max(math.ceil(reset), 0)}
        headers = {f"{prefix}-{name}": str(number) for name, number in said.items()}
        return replace(answer, headers={**answer.headers, **headers})

    def _note(self, request: Request, params: Mapping[str, str], answer: Answer, *, authorised: bool) -> None:
        never = answer.hang == math.inf
        self.asked.append(
            Asked(
                method=request.method,
                path=request.scope["raw_path"].decode("ascii"),
                params=params,
                status=0 if never else answer.status,
                authorised=authorised,
                credentials="authorization" in request.headers,
                seconds=self._seconds(),
            )
        )


def _refuse(status: int, message: str) -> NoReturn:
    raise _RefusedError(status, message)


def _number(params: Mapping[str, str], name: str, otherwise: int) -> int:
    text = params.get(name, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit()):
        _refuse(400, f"{name} is no number from 0")
    return int(text)


def _moment(text: str) -> int:
    try:
        # A plus sign that was not encoded arrives as a blank.
        return microseconds(datetime.fromisoformat(text.replace(" ", "+")))
    except ValueError:
        pass
    try:
        return int(float(text) * 1_000_000)
    except (ValueError, OverflowError):
        _refuse(400, "updated_since is neither an ISO date nor seconds since 1970")


def _paging_of(body: bytes) -> dict[str, str]:
    """Return limit and offset of a body such as {"limit": 100, "offset": 0} or {"page": {"limit": 100}}."""
    try:
        value = orjson.loads(body or b"{}")
    except ValueError:
        return {}
    page = value.get("page", value) if isinstance(value, dict) else {}
    page = page if isinstance(page, dict) else value
    return {name: str(page[name]) for name in ("limit", "offset") if name in page}


def _target(raw_path: bytes, request: Request) -> str:
    query: bytes = request.scope["query_string"]
    return (raw_path + b"?" + query if query else raw_path).decode("ascii", "replace")


def _written(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body)
