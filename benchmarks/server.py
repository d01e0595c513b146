"""The API that every contender reads: a process of its own that has each row ready as JSON.

The bundled sandbox makes the rows and can do much wrong; this one only cuts pages out of what was made
before, so that a page costs it a tenth of a millisecond, whatever its offset. What a list holds and how it
changes stands in `Listing`, HTTP in `Application`, the process in `ApiServer`.
"""

import asyncio
import gzip
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cache
from multiprocessing.connection import Connection as Pipe
from random import Random
from types import TracebackType
from typing import Any

import orjson
from aiohttp import web

from messaging_assets.sandbox import ManualClock, Workspace
from messaging_assets.sandbox.rows import RowMaker, iso, microseconds, mixed

CLIENT_ID = "benchmark"
CLIENT_SECRET = "wonderland"  # noqa: S105 - of a server that lives on the loopback device, for a minute
TOKEN = "a-token-for-everybody"  # noqa: S105
USERS, CHANNELS = 1_000, 50
# So that a message is about 310 bytes long.
SHORTEST_TEXT, LONGEST_TEXT = 20, 110
MESSAGES_PER_HOUR = 60.0
PATIENCE = 600.0
# In microseconds.
SECOND = 1_000_000


@cache
def _made_up_text() -> str:
    """Words from a vocabulary of some thousands: they compress as texts do, unlike the sandbox's."""
    random = Random(1)  # noqa: S311 - no secrets
    vocabulary = ["".join(random.choices("aeinorstlu", k=random.randint(2, 9))) for _ in range(5_000)]
    return " ".join(random.choices(vocabulary, k=100_000))


class Listing:
    """The rows of one list in the order of their creation, each as JSON.

    Args:
        maker: Says what a row with a number holds.
        count: How many rows there are at first.
    """

    def __init__(self, maker: RowMaker, count: int) -> None:
        self._maker = maker
        self._words = _made_up_text()
        self._made = 0
        self._edits = 0
        self._rows: list[bytes] = []
        self._updated: list[str] = []
        self._since: tuple[str, list[bytes]] | None = None
        self.append(count)

    def __len__(self) -> int:
        """How many rows it has."""
        return len(self._rows)

    def page(self, offset: int, limit: int, since: str | None = None) -> bytes:
        """The body of an answer.

        Args:
            offset: The first row.
            limit: How many rows at most.
            since: Only rows updated at this moment or later.
        """
        rows = self._rows if since is None else self._updated_since(since)
        return b'{"data":[%s],"total":%d}' % (b",".join(rows[offset : offset + limit]), len(rows))

    def append(self, count: int) -> None:
        """Adds rows at the end."""
        for number in range(self._made, self._made + count):
            row = self._maker.row(number, self._made + count)
            if "text" in row:
                row["text"] = self._text(number)
                row["name"] = row["text"][:24]
            self._rows.append(orjson.dumps(row))
            self._updated.append(row["updated_at"])
        self._made += count
        self._since = None

    def delete(self, count: int, random: Random) -> None:
        """Removes rows at random places."""
        for place in sorted(random.sample(range(len(self)), count), reverse=True):
            del self._rows[place], self._updated[place]
        self._since = None

    def edit(self, count: int, random: Random) -> None:
        """Changes rows at random places, after any row was updated so far and before the next one is made."""
        for place in random.sample(range(len(self)), count):
            self._edits += 1
            moment = iso(self._maker.timeline.created(self._made) - SECOND + self._edits)
            row = orjson.loads(self._rows[place]) | {"name": f"edited {self._edits}", "updated_at": moment}
            self._rows[place], self._updated[place] = orjson.dumps(row), moment
        self._since = None

    def _text(self, number: int) -> str:
        bits = mixed(number, 1)
        length = SHORTEST_TEXT + bits % (LONGEST_TEXT - SHORTEST_TEXT)
        start = (bits >> 16) % (len(self._words) - LONGEST_TEXT)
        return self._words[start : start + length]

    def _updated_since(self, since: str) -> list[bytes]:
        if self._since is None or self._since[0] != since:
            wanted = iso(microseconds(datetime.fromisoformat(since)))
            pairs = zip(self._rows, self._updated, strict=True)
            self._since = since, [row for row, updated in pairs if updated >= wanted]
        return self._since[1]


class Application:
    """Answers requests and counts them.

    Args:
        messages: How many messages there are at first.
        latency: How many seconds each answer is held back.
        compressed: Whether to send gzip to those who accept it.

    Attributes:
        asked: How many requests there were, by resource; those for a token under `token`.
    """

    def __init__(self, *, messages: int, latency: float = 0.0, compressed: bool = False) -> None:
        made = Workspace(
            users=USERS,
            channels=CHANNELS,
            messages=messages,
            growth_per_hour=MESSAGES_PER_HOUR,
            clock=ManualClock(),
        )
        self.asked: Counter[str] = Counter()
        self.latency = latency
        self.messages = Listing(made.messages, messages)
        self._lists: Mapping[str, Listing] = {
            "/v1/users": Listing(made.users, USERS),
            "/v1/channels": Listing(made.channels, CHANNELS),
            "/v1/messages": self.messages,
        }
        self._compressed = compressed
        self._random = Random(1)  # noqa: S311 - which rows change, no secrets

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answers one request."""
        self.asked[request.path.rpartition("/")[2]] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        if request.path == "/oauth/token":
            token = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
            return web.json_response(token)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "invalid_token"}, status=401)
        listing = self._lists.get(request.path)
        if listing is None:
            return web.json_response({"error": "there is nothing at this address"}, status=404)
        query = request.rel_url.query
        body = listing.page(
            int(query.get("offset", 0)), int(query.get("limit", 100)), query.get("updated_since")
        )
        headers = {"Content-Type": "application/json"}
        if self._compressed and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1)
        return web.Response(body=body, headers=headers)

    # What the benchmark orders

    def append(self, count: int) -> None:
        """Adds messages at the end."""
        self.messages.append(count)

    def delete(self, count: int) -> None:
        """Removes messages at random places."""
        self.messages.delete(count, self._random)

    def edit(self, count: int) -> None:
        """Edits messages at random places."""
        self.messages.edit(count, self._random)

    def wait(self, seconds: float) -> None:
        """Holds each answer back for so many seconds from now on."""
        self.latency = seconds

    def take_counts(self) -> dict[str, int]:
        """The requests by resource since the last time."""
        counts = dict(self.asked)
        self.asked.clear()
        return counts


class ApiServer(AbstractContextManager["ApiServer"]):
    """The server, in a process that ends with this one.

    Args:
        settings: As for `Application`.

    Attributes:
        base_url: Where it listens.

    Example:
        >>> with ApiServer(messages=250) as server:
        ...     server.take_counts()
        {}
    """

    def __init__(self, **settings: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self.base_url: str = self._answer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()

    def append(self, count: int) -> None:
        """Adds messages at the end."""
        self._order("append", count)

    def delete(self, count: int) -> None:
        """Removes messages at random places."""
        self._order("delete", count)

    def edit(self, count: int) -> None:
        """Edits messages at random places."""
        self._order("edit", count)

    def wait(self, seconds: float) -> None:
        """Holds each answer back for so many seconds from now on."""
        self._order("wait", seconds)

    def take_counts(self) -> dict[str, int]:
        """The requests by resource since the last time."""
        counts: dict[str, int] = self._order("take_counts")
        return counts

    def _order(self, *words: Any) -> Any:
        self._pipe.send(words)
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(PATIENCE):
            raise TimeoutError("the benchmark's server does not answer")
        return self._pipe.recv()


def _serve(pipe: Pipe, settings: dict[str, Any]) -> None:
    # The terminal's Ctrl+C goes to the parent too, which closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_listen(pipe, Application(**settings)))


async def _listen(pipe: Pipe, application: Application) -> None:
    runner = web.ServerRunner(web.Server(application.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    pipe.send(f"http://{host}:{port}")
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), _obey, pipe, application, over.set)
    await over.wait()
    await runner.cleanup()


def _obey(pipe: Pipe, application: Application, stop: Callable[[], object]) -> None:
    try:
        order, *values = pipe.recv()
    except EOFError:
        stop()
        return
    pipe.send(getattr(application, order)(*values))
