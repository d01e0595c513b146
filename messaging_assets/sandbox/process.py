"""A sandbox as a process of its own: for benchmarks, which should not share a Python with the server.

The two processes talk over the child's standard input and output, a line of JSON for each call. The child
ends when its standard input does, so it never outlives its parent, however the parent ends. The calls are
those of `server.Sandbox`; those that take a function (clocks, `reshape`, functions in scripts) stay there.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from messaging_assets.sandbox.application import Asked
from messaging_assets.sandbox.faults import Faults
from messaging_assets.sandbox.server import Sandbox
from messaging_assets.sandbox.workspace import Where

_PROJECT = Path(__file__).parents[2]
_PATIENCE = 10.0
_ERRORS: Mapping[str, type[Exception]] = {
    error.__name__: error for error in (KeyError, OSError, TypeError, ValueError)
}
_CALLS = (
    "add_resource",
    "count",
    "delete",
    "edit",
    "ids",
    "insert",
    "move",
    "raw_row",
    "raw_text",
    "replace",
    "reset_counters",
    "restore",
    "revoke_tokens",
    "rows",
)


class SandboxProcess(AbstractContextManager["SandboxProcess"]):
    """A `Sandbox` in a process of its own.

    Args:
        faults: What it does wrong.
        settings: As for `Sandbox`, but for the clock.

    Example:
        >>> with SandboxProcess(messages=10) as sandbox:
        ...     len(sandbox.ids("messages"))
        10
    """

    def __init__(self, *, faults: Faults | None = None, **settings: Any) -> None:
        self._settings = settings
        self._faults = faults or Faults()
        self._child: subprocess.Popen[str] | None = None
        self._address: Mapping[str, str] = {}

    def start(self) -> "SandboxProcess":
        """Start the process and wait until it listens."""
        settings = json.dumps(self._settings, default=_plain)
        self._child = subprocess.Popen(  # noqa: S603 - this Python, with fixed arguments
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_PROJECT,
        )
        try:
            self._address = self._exchange({"settings": settings, "faults": self._faults.to_json()})
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.close()
            child.wait(_PATIENCE)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            child.kill()
            child.wait()
        child.stdout.close()

    def __enter__(self) -> "SandboxProcess":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return self._address["base_url"]

    @property
    def client_id(self) -> str:
        """What it accepts as the client's id."""
        return self._address["client_id"]

    @property
    def client_secret(self) -> str:
        """What it accepts as the client's secret."""
        return self._address["client_secret"]

    @property
    def pid(self) -> int:
        """The process."""
        assert self._child is not None
        return self._child.pid

    @property
    def requests(self) -> list[Asked]:
        """Every request so far."""
        return [Asked(**asked) for asked in self._call("requests")]

    @property
    def token_requests(self) -> int:
        """How many requests the token endpoint got."""
        return self.count("/oauth/token")

    @property
    def most_in_flight(self) -> int:
        """How many requests were answered at once, at most."""
        most: int = self._call("most_in_flight")
        return most

    def count(self, path: str | None = None, *, status: int | None = None) -> int:
        """Return how many requests there were for a path, with a status; all by default."""
        number: int = self._call("count", path, status=status)
        return number

    def reset_counters(self) -> None:
        """Forget what was asked so far."""
        self._call("reset_counters")

    def order(self, faults: Faults | None = None, /, **changes: Any) -> None:
        """Do other things wrong from now on."""
        self._call("order", (faults or Faults(**changes)).to_json())

    def revoke_tokens(self) -> None:
        """Make every token invalid that was handed out so far."""
        self._call("revoke_tokens")

    def rows(self, resource: str) -> list[Any]:
        """Return the rows that the API would return now."""
        rows: list[Any] = self._call("rows", resource)
        return rows

    def ids(self, resource: str) -> list[Any]:
        """Return the ids of these rows."""
        ids: list[Any] = self._call("ids", resource)
        return ids

    def insert(self, resource: str, where: Where = "tail", **fields: Any) -> Any:
        """Insert a row and return its id."""
        return self._call("insert", resource, where, **fields)

    def edit(self, resource: str, identity: object, **fields: Any) -> None:
        """Change fields of a row."""
        self._call("edit", resource, identity, **fields)

    def delete(self, resource: str, *identities: object) -> None:
        """Delete rows."""
        self._call("delete", resource, *identities)

    def restore(self, resource: str, identity: str) -> None:
        """Bring a deleted row back to where it was."""
        self._call("restore", resource, identity)

    def move(self, resource: str, identity: object, where: Where = "head") -> None:
        """Move a row to another place of the list."""
        self._call("move", resource, identity, where)

    def raw_row(self, resource: str, value: Any, where: Where = "tail") -> None:
        """Insert any JSON value as a row."""
        self._call("raw_row", resource, value, where)

    def raw_text(self, resource: str, text: str, where: Where = "tail") -> None:
        """Insert any JSON text as a row."""
        self._call("raw_text", resource, text, where)

    def replace(self, resource: str, identity: object, value: Any) -> None:
        """Put any JSON value in the place of a row."""
        self._call("replace", resource, identity, value)

    def add_resource(self, name: str, rows: Sequence[Any] = ()) -> None:
        """Add a list of any name with any JSON values as rows."""
        self._call("add_resource", name, list(rows))

    def _call(self, name: str, /, *args: Any, **named: Any) -> Any:
        return self._exchange({"call": name, "args": args, "named": named})

    def _exchange(self, message: Mapping[str, Any]) -> Any:
        if self._child is None:
            raise RuntimeError("the sandbox is not running")
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(message) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the sandbox's process ended unexpectedly")
        answer = json.loads(line)
        if "error" in answer:
            kind = _ERRORS.get(answer["kind"], RuntimeError)
            raise kind(answer["error"])
        return answer["result"]


def main() -> None:
    """Be the child process: `serve` on standard input and output."""
    # The terminal's Ctrl+C goes to the parent too, which closes the pipe when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin, sys.stdout)


def serve(orders: IO[str], answers: IO[str]) -> None:
    """Start a sandbox as the first line says, then answer calls until there are no more."""
    first = json.loads(orders.readline() or "null")
    if first is None:
        return
    settings = json.loads(first["settings"])
    if "epoch" in settings:
        settings["epoch"] = datetime.fromisoformat(settings["epoch"])
    try:
        sandbox = Sandbox(faults=Faults.from_json(first["faults"]), **settings).start()
    except (OSError, TypeError, ValueError) as error:
        _complain(answers, error)
        return
    with sandbox:
        address = ("base_url", "client_id", "client_secret")
        _say(answers, result={name: getattr(sandbox, name) for name in address})
        for line in orders:
            try:
                result = _called(sandbox, json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                _complain(answers, error)
            else:
                _say(answers, result=result)


def _called(sandbox: Sandbox, message: Mapping[str, Any]) -> Any:
    name, args = message["call"], message["args"]
    if name == "order":
        return sandbox.order(Faults.from_json(*args))
    if name == "requests":
        return [asdict(asked) for asked in sandbox.requests]
    if name == "most_in_flight":
        return sandbox.most_in_flight
    if name not in _CALLS:
        raise ValueError(f"no such call: {name}")
    return getattr(sandbox, name)(*args, **message["named"])


def _say(answers: IO[str], **message: Any) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _complain(answers: IO[str], error: Exception) -> None:
    kind = next(name for name, kind in _ERRORS.items() if isinstance(error, kind))
    _say(answers, kind=kind, error=str(error.args[0] if len(error.args) == 1 else error))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} can't be handed to another process")
