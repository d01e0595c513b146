"""A sandbox that runs: the API on a free port of the loopback device, in a thread of this process.

Starting, ending and the handle that a test holds stand here; the API itself stands in `application`.
"""

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any

import uvicorn

from messaging_assets.sandbox.application import Application, Asked, Authentication
from messaging_assets.sandbox.faults import Faults
from messaging_assets.sandbox.rows import OFFICE_WEEK, Rhythm, Row
from messaging_assets.sandbox.tokens import TokenDesk
from messaging_assets.sandbox.workspace import EPOCH, Where, Workspace, wall_clock

LOOPBACK = "127.0.0.1"
_PATIENCE = 10.0


class Sandbox(AbstractContextManager["Sandbox"]):
    """A messaging API in a box, speaking real HTTP.

    Without a clock and without growth the workspace stands still; it changes when it is told to.

    Args:
        users: How many users there are at the epoch.
        channels: How many channels there are at the epoch.
        messages: How many messages there are at the epoch.
        growth_per_hour: How many messages an hour are added after the epoch, see `Workspace`.
        faults: What it does wrong, nothing by default.
        seed: Sets contents and draws.
        epoch: The moment of the numbers given.
        clock: Returns the present moment, see `Workspace` and `ManualClock`.
        client_id: What it accepts as the client's id.
        client_secret: What it accepts as the client's secret; by default a new one each time.
        authentication: What the lists want, see `Application`.
        maximum_limit: The largest page that it serves.
        seconds: What time is counted by for `rate_limit`, see `Application`.
        rhythm: When in the week rows come to be, see `Workspace`.
        cache_megabytes: How many megabytes of pages to keep, see `Workspace`.
        host: Where it listens.
        port: The port; 0 takes a free one, and keeps it when the sandbox is started again.

    Example:
        >>> with Sandbox(users=3, faults=Faults(page_cap=2)) as sandbox:
        ...     _ = sandbox.insert("users", "head", name="Ada")
        ...     print([row["name"] for row in sandbox.rows("users")][0], sandbox.count("/v1/users"))
        Ada 0
    """

    def __init__(
        self,
        *,
        users: int = 100,
        channels: int = 8,
        messages: int = 1000,
        growth_per_hour: float = 0.0,
        faults: Faults | None = None,
        seed: int = 1,
        epoch: datetime = EPOCH,
        clock: Callable[[], datetime] | None = None,
        client_id: str = "sandbox",
        client_secret: str | None = None,
        authentication: Authentication = "oauth2",
        maximum_limit: int = 1000,
        seconds: Callable[[], float] = time.monotonic,
        rhythm: Rhythm | None = None,
        cache_megabytes: int = 0,
        host: str = LOOPBACK,
        port: int = 0,
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret or secrets.token_urlsafe(24)
        self._workspace = Workspace(
            users=users,
            channels=channels,
            messages=messages,
            growth_per_hour=growth_per_hour,
            seed=seed,
            epoch=epoch,
            clock=clock,
            rhythm=rhythm,
            cache_megabytes=cache_megabytes,
        )
        self._application = Application(
            self._workspace,
            TokenDesk(self.client_id, self.client_secret),
            faults or Faults(),
            seed=seed,
            authentication=authentication,
            maximum_limit=maximum_limit,
            seconds=seconds,
        )
        self._host = host
        self._port = port
        self._running: _Running | None = None

    @classmethod
    def living(cls, **settings: Any) -> "Sandbox":
        """Return a sandbox that grows with the computer's clock, by the rhythm of an office week.

        It is what runs without configuration use.

        Args:
            settings: As for the class; they win over the defaults of this method.
        """
        # A computer whose clock stands before the later epoch still has no row from the future.
        later = datetime(2026, 7, 1, tzinfo=EPOCH.tzinfo)
        epoch = later if wall_clock() >= later else EPOCH
        defaults: dict[str, Any] = {"messages": 2000, "growth_per_hour": 6.0, "epoch": epoch}
        defaults["rhythm"] = OFFICE_WEEK
        return cls(**(defaults | settings))

    # Running

    def start(self) -> "Sandbox":
        """Listen; after `stop` on the same port again."""
        if self._running is None:
            self._running = _Running(self._application, self._host, self._port)
            self._port = self._running.port
        return self

    def stop(self) -> None:
        """Close every connection and end the thread."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def __enter__(self) -> "Sandbox":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """The address of the API, such as `http://127.0.0.1:40123`."""
        if not self._port:
            raise RuntimeError("the sandbox has no address before it was started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    # What it was asked

    @property
    def requests(self) -> list[Asked]:
        """The requests so far (the latest 200,000), in the order in which they were answered."""
        return list(self._application.asked)

    @property
    def token_requests(self) -> int:
        """How many requests the token endpoint got."""
        return self.count("/oauth/token")

    @property
    def most_in_flight(self) -> int:
        """How many requests were answered at once, at most."""
        return self._application.most_in_flight

    def count(self, path: str | None = None, *, status: int | None = None) -> int:
        """Return how many requests there were for a path, with a status; all by default."""
        return sum(
            1 for asked in self.requests if path in (None, asked.path) and status in (None, asked.status)
        )

    def reset_counters(self) -> None:
        """Forget what was asked so far."""
        self._application.reset_counters()

    # What it does wrong

    @property
    def faults(self) -> Faults:
        """What it does wrong now; its fields may be changed at any time."""
        return self._application.faults

    def order(self, faults: Faults | None = None, /, **changes: Any) -> None:
        """Do other things wrong from now on.

        Args:
            faults: Replaces everything; by default nothing is wrong.
            changes: Fields of `Faults`, in place of an object.
        """
        self._application.order(faults or Faults(**changes))

    def revoke_tokens(self) -> None:
        """Make every token invalid that was handed out so far."""
        self._application.tokens.revoke_all()

    # What is in it

    @property
    def workspace(self) -> Workspace:
        """The workspace that is served; what a test changes there is served at once."""
        self._workspace.arrange(self._application.faults.order)
        return self._workspace

    def rows(self, resource: str) -> list[Any]:
        """Return the rows that the API would return now, in its order, without hidden ones."""
        workspace = self.workspace
        with workspace.lock:
            return workspace.rows(resource, self._application.visible(workspace.keys(resource)))

    def ids(self, resource: str) -> list[Any]:
        """Return the ids of these rows; those of rows without one are left out."""
        return [row["id"] for row in self.rows(resource) if isinstance(row, dict) and "id" in row]

    def insert(self, resource: str, where: Where = "tail", **fields: Any) -> Any:
        """Insert a row and return its id, see `Workspace.insert`."""
        return self.workspace.insert(resource, where, **fields)

    def edit(self, resource: str, identity: object, **fields: Any) -> None:
        """Change fields of a row."""
        self.workspace.edit(resource, identity, **fields)

    def delete(self, resource: str, *identities: object) -> None:
        """Delete rows."""
        self.workspace.delete(resource, *identities)

    def restore(self, resource: str, identity: str) -> None:
        """Bring a deleted row back to where it was."""
        self.workspace.restore(resource, identity)

    def move(self, resource: str, identity: object, where: Where = "head") -> None:
        """Move a row to another place of the list."""
        self.workspace.move(resource, identity, where)

    def raw_row(self, resource: str, value: Any, where: Where = "tail") -> None:
        """Insert any JSON value as a row."""
        self.workspace.raw_row(resource, value, where)

    def raw_text(self, resource: str, text: str | bytes, where: Where = "tail") -> None:
        """Insert any JSON text as a row."""
        self.workspace.raw_text(resource, text, where)

    def replace(self, resource: str, identity: object, value: Any) -> None:
        """Put any JSON value in the place of a row."""
        self.workspace.replace(resource, identity, value)

    def reshape(self, resource: str, change: Callable[[Row], Any] | None) -> None:
        """Send every row of a resource through a function."""
        self.workspace.reshape(resource, change)

    def add_resource(self, name: str, rows: Any = ()) -> None:
        """Add a list of any name with any JSON values as rows."""
        self.workspace.add_resource(name, rows)


class _Server(uvicorn.Server):
    """Uvicorn that says when it listens and ends at once, whatever clients do."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None

    def end(self) -> None:
        """Make the server end; called from another thread."""
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        assert self._end is not None
        await self._end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            transport: asyncio.Transport = connection.transport
            transport.abort()
        # Handlers notice that their client has gone; one that waits for something else is cancelled.
        if tasks := list(self.server_state.tasks):
            _, late = await asyncio.wait(tasks, timeout=0.05)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class _Running:
    """A server that listens, in a thread."""

    def __init__(self, application: Application, host: str, port: int) -> None:
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            application,
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            lifespan="off",
            ws="none",
            backlog=512,
            timeout_keep_alive=60,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="messaging-sandbox", daemon=True
        )
        self._thread.start()
        if not self._server.listening.wait(_PATIENCE):
            raise RuntimeError("the sandbox did not start in time")

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.end()
            self._thread.join(_PATIENCE)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener
