"""Points at which a process kills itself: calls of functions that are public in the libraries.

The code under test has no hook for this. A process that is to be killed arms a point before it begins; how
it is started belongs to whoever starts it.
"""

import functools
import os
import pkgutil
import re
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

EXECUTE = "duckdb.DuckDBPyConnection.execute"
Function = Callable[..., Any]


@dataclass(frozen=True)
class KillPoint:
    """A call at which the process is killed.

    Args:
        call: The function or method, by its full name.
        text: A pattern that one of its arguments must hold.
        when: Before the call, after it, or as soon as it writes to the warehouse.
        since: A pattern of a statement that DuckDB must have executed before.
    """

    call: str
    text: str = ""
    when: Literal["before", "after", "writing"] = "before"
    since: str = ""

    @classmethod
    def before(cls, sql: str) -> "KillPoint":
        """Before DuckDB executes a statement."""
        return cls(EXECUTE, sql)

    @classmethod
    def after(cls, sql: str) -> "KillPoint":
        """After DuckDB has executed a statement."""
        return cls(EXECUTE, sql, "after")

    def arm(self) -> None:
        """Kill this process when it comes to the point for the first time."""
        begun = threading.Event()
        if self.since:
            _replace(EXECUTE, lambda original: _noting(original, self.since, begun))
        else:
            begun.set()
        _replace(self.call, lambda original: self._deadly(original, begun))

    def _deadly(self, original: Function, begun: threading.Event) -> Function:
        @functools.wraps(original, updated=())
        def called(*args: Any, **named: Any) -> Any:
            is_here = begun.is_set() and _mentions(self.text, args, named)
            if is_here and self.when == "before":
                die()
            if is_here and self.when == "writing":
                threading.Thread(target=_die_when_written, args=(_written(),), daemon=True).start()
            result = original(*args, **named)
            if is_here and self.when == "after":
                die()
            return result

        return called


def _replace(name: str, wrapped: Callable[[Function], Function]) -> None:
    owner_name, _, own_name = name.rpartition(".")
    owner = pkgutil.resolve_name(owner_name)
    setattr(owner, own_name, wrapped(getattr(owner, own_name)))


def _noting(original: Function, text: str, seen: threading.Event) -> Function:
    @functools.wraps(original, updated=())
    def called(*args: Any, **named: Any) -> Any:
        result = original(*args, **named)
        if _mentions(text, args, named):
            seen.set()
        return result

    return called


def _mentions(text: str, args: Iterable[Any], named: Mapping[str, Any]) -> bool:
    return any(re.search(text, str(value)) for value in (*args, *named.values()))


def die() -> None:
    """What `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def _die_when_written(before: object) -> None:
    while _written() == before:
        pass
    die()


def _written() -> object:
    """The sizes and times of the DuckDB file and its log, which lie below the working folder."""
    files = (Path(".warehouse") / f"messaging.duckdb{end}" for end in ("", ".wal"))
    states = [file.stat() for file in files if file.exists()]
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]
