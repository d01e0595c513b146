"""Answers and the ways in which they go wrong on the wire.

An `Answer` is what the application says; `broken` turns it into what the client gets to see. Which
answers go wrong is decided by `Choice`. What is in the lists stands elsewhere.
"""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from messaging_assets.sandbox.faults import Broken, Faults
from messaging_assets.sandbox.rows import mixed

_HTML = b"<!DOCTYPE html>\n<html><head><title>Please sign in</title></head><body>Maintenance</body></html>\n"
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Answer:
    """One answer over HTTP, an ASGI application by itself.

    Args:
        status: As sent.
        body: As sent, but for what the other fields say.
        headers: Beside content-type and content-length.
        content_type: The header of that name.
        length: What content-length says, if that is not the truth.
        chunks: Sent in place of the body, without content-length.
        pause: Seconds between two bytes; 0 sends the body at once.
        hang: Seconds to say nothing; None: none at all, infinity: until the client or the server ends it.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    length: int | None = None
    chunks: Callable[[], AsyncIterator[bytes]] | None = None
    pause: float = 0.0
    hang: float | None = None

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> "Answer":
        """Return an answer that holds a JSON value."""
        return cls(
            status, orjson.dumps(value), {name.replace("_", "-"): text for name, text in headers.items()}
        )

    def compressed(self) -> "Answer":
        """Return the same answer, compressed."""
        return replace(
            self,
            body=gzip.compress(self.body, 1),
            headers={**self.headers, "content-encoding": "gzip", "vary": "accept-encoding"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        if self.hang is not None and await _gone_within(receive, self.hang):
            return
        await send({"type": "http.response.start", "status": self.status, "headers": self._headers()})
        if self.chunks is not None:
            async for chunk in self.chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
        elif self.pause and scope["method"] != "HEAD":
            await self._drip(receive, send)
        else:
            # An answer that is shorter than its length stays open: the server closes the connection.
            open_ended = self.length is not None and self.length > len(self.body)
            await send({"type": "http.response.body", "body": self.body, "more_body": open_ended})

    async def _drip(self, receive: Receive, send: Send) -> None:
        last = len(self.body) - 1
        for place in range(len(self.body)):
            byte = self.body[place : place + 1]
            await send({"type": "http.response.body", "body": byte, "more_body": place < last})
            if place < last and await _gone_within(receive, self.pause):
                return

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        headers.append((b"content-type", self.content_type.encode()))
        if self.chunks is None:
            length = len(self.body) if self.length is None else self.length
            headers.append((b"content-length", str(length).encode()))
        return headers


async def _gone_within(receive: Receive, seconds: float) -> bool:
    """Wait; return True as soon as the client has gone or the server ends."""
    try:
        async with asyncio.timeout(None if seconds == float("inf") else seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


class Choice:
    """Decides which answers go wrong, and counts for how many that was so.

    The draw for a rate depends on the seed, on what is asked and on how often it was asked before, not on
    the order in which concurrent requests arrive.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._seed = seed
        self._met: dict[tuple[int, Broken], int] = {}
        self._done: dict[tuple[int, Broken], int] = {}
        self._draws: dict[tuple[object, ...], int] = {}

    def broken(self, resource: str, offset: int, limit: int) -> Broken | None:
        """Return what goes wrong with the answer to a request, or None."""
        for place, broken in enumerate(self._faults.all_broken()):
            if self._chosen((place, broken), resource, offset, limit):
                return broken
        return None

    def _chosen(self, name: tuple[int, Broken], resource: str, offset: int, limit: int) -> bool:
        broken = name[1]
        if broken.resource not in (resource, None) or (broken.resource is None and resource == "token"):
            return False
        if broken.position is not None and not offset <= broken.position < offset + limit:
            return False
        self._met[name] = self._met.get(name, 0) + 1
        if self._met[name] <= broken.after or self._done.get(name, 0) == broken.times:
            return False
        if broken.rate < 1 and self._draw(name[0], resource, offset) >= broken.rate:
            return False
        self._done[name] = self._done.get(name, 0) + 1
        return True

    def _draw(self, place: int, resource: str, offset: int) -> float:
        asked = (place, resource, offset)
        self._draws[asked] = self._draws.get(asked, 0) + 1
        salt = zlib.crc32(f"{place} {resource} {self._draws[asked]}".encode()) + self._seed
        return mixed(offset, salt) / (1 << 64)


def broken_answer(broken: Broken, answer: Answer, target: str) -> Answer:
    """Return what becomes of an answer.

    Args:
        broken: What goes wrong with it.
        answer: What it would be.
        target: Path and query of the request, for redirects.
    """
    if broken.kind in _BODIES:
        content_type, make = _BODIES[broken.kind]
        return Answer(body=make(answer.body), content_type=content_type)
    return _WAYS[broken.kind](broken, answer, target)


def _status(broken: Broken, _answer: Answer, _target: str) -> Answer:
    headers: dict[str, str] = {}
    if broken.retry_after is not None:
        headers["retry-after"] = _retry_after(broken.retry_after, as_date=broken.retry_after_as == "date")
    answer = Answer.json({"error": f"ordered status {broken.status}"}, broken.status)
    return replace(answer, headers=headers, body=b"" if broken.status in (204, 304) else answer.body)


def _retry_after(seconds: float, *, as_date: bool) -> str:
    if not as_date:
        return f"{seconds:g}"
    # A date has whole seconds: round up, so that it never asks for less than was ordered.
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    if moment.microsecond:
        moment = moment.replace(microsecond=0) + timedelta(seconds=1)
    return format_datetime(moment, usegmt=True)


def _hang(broken: Broken, _answer: Answer, _target: str) -> Answer:
    return replace(
        Answer.json({"error": "gateway time-out"}, 504),
        hang=broken.seconds if broken.seconds else float("inf"),
    )


def _cut(_broken: Broken, answer: Answer, _target: str) -> Answer:
    return replace(answer, body=answer.body[: len(answer.body) // 2], length=len(answer.body))


def _long_length(_broken: Broken, answer: Answer, _target: str) -> Answer:
    return replace(answer, length=len(answer.body) + 100)


def _short_length(_broken: Broken, answer: Answer, _target: str) -> Answer:
    return replace(answer, body=answer.body[: -max(len(answer.body) // 10, 1)])


def _slow(broken: Broken, answer: Answer, _target: str) -> Answer:
    return replace(answer, pause=broken.seconds or 0.05)


def _redirect(broken: Broken, answer: Answer, target: str) -> Answer:
    here = not broken.location
    if here and "moved=1" in target:
        return answer
    host = "" if broken.location in ("", "loop") else broken.location.rstrip("/")
    location = f"{host}{target}{'&' if '?' in target else '?'}moved=1" if here else f"{host}{target}"
    status = broken.status if 300 <= broken.status < 400 else 307
    return Answer(status, headers={"location": location})


def _bomb(broken: Broken, _answer: Answer, _target: str) -> Answer:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in bomb(broken.megabytes):
            yield chunk
            await asyncio.sleep(0)

    return Answer(headers={"content-encoding": "gzip"}, chunks=chunks)


@lru_cache(maxsize=2)
def bomb(megabytes: int) -> list[bytes]:
    """Return gzip in chunks that unpacks to a small JSON answer and so many megabytes of white space."""
    head = b'{"data": [], "total": 0}'
    blank = b" " * _MEGABYTE
    # Blocks that end with a full flush stand for themselves and so can be repeated.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(blank) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.flush(zlib.Z_FINISH)
    checksum = zlib.crc32(head)
    for _ in range(megabytes):
        checksum = zlib.crc32(blank, checksum)
    size = (len(head) + megabytes * _MEGABYTE) & 0xFFFFFFFF
    trailer = checksum.to_bytes(4, "little") + size.to_bytes(4, "little")
    gzip_header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return [gzip_header + start, *[block] * megabytes, end + trailer]


def _without_data(body: bytes) -> bytes:
    return orjson.dumps({"total": 0, "size": len(body)})


_BODIES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "html": ("text/html; charset=utf-8", lambda _body: _HTML),
    "malformed": ("application/json", lambda body: body[: max(len(body) * 2 // 3, 1)]),
    "empty": ("application/json", lambda _body: b""),
    "not_ok": ("application/json", lambda _body: b'{"ok":false,"error":"internal_error"}'),
    "null_data": ("application/json", lambda _body: b'{"data":null,"total":0}'),
    "no_data": ("application/json", _without_data),
}
_WAYS: dict[str, Callable[[Broken, Answer, str], Answer]] = {
    "status": _status,
    "hang": _hang,
    "cut": _cut,
    "long_length": _long_length,
    "short_length": _short_length,
    "slow": _slow,
    "redirect": _redirect,
    "bomb": _bomb,
}
