"""Checks of single values, and how they are made of a Python type.

Nothing here knows a word of the configuration: those stand in `vocabulary`. A check notes what is wrong
with a value; it never shows the value of a text, which may be secret.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union

from dlt.common import jsonpath
from dlt.common.schema.typing import TColumnSchema
from dlt.common.typing import is_typeddict
from jsonpath_ng import JSONPath

from messaging_assets.api.mistakes import FieldPath, Findings, Mistake, nearest, one_of

Check = Callable[[Any, FieldPath, Findings], None]
_CALLABLE = typing.get_origin(Callable[[], Any])


@dataclass(frozen=True)
class Words:
    """The keys that a mapping may have.

    Args:
        what: What the mapping is, for a message.
        checks: A check for each key.
        required: The keys that may not be missing.
        python_only: Keys whose values are functions or objects, which a file cannot hold.
        free_prefix: Keys that begin like this are free.
    """

    what: str
    checks: Mapping[str, Check]
    required: frozenset[str] = frozenset()
    python_only: frozenset[str] = frozenset()
    free_prefix: str | None = None

    def check(self, value: Any, path: FieldPath, found: Findings) -> None:
        """Note unknown and missing keys, and what is wrong with the values."""
        if not isinstance(value, dict):
            found.add(path, f"{self.what} is a mapping, not {kind_of(value)}. Keys: {one_of(self.checks)}")
            return
        for key, field in value.items():
            self._check_key(key, field, path, found)
        unknown = [key for key in value if key not in self.checks]
        for key in sorted(self.required - set(value)):
            # A required key that is only misspelt is one mistake, not two.
            if not any(f"`{key}`" in nearest(word, self.checks) for word in unknown):
                found.add((*path, key), f"is missing; {self.what} needs it")

    def _check_key(self, key: Any, field: Any, path: FieldPath, found: Findings) -> None:
        if not isinstance(key, str):
            found.add(path, f"a key of {self.what} is a text, not {kind_of(key)}")
        elif key in self.python_only and not found.python:
            found.add((*path, key), python_only_message(key))
        elif key in self.checks:
            self.checks[key](field, (*path, key), found)
        elif self.free_prefix is None or not key.startswith(self.free_prefix):
            allowed = [word for word in self.checks if found.python or word not in self.python_only]
            found.add(
                (*path, key),
                f"unknown key{nearest(key, allowed)}{_separator(key, allowed)}Allowed: {one_of(allowed)}",
            )


def _separator(key: str, allowed: Iterable[str]) -> str:
    return " " if nearest(key, allowed) else "; "


def python_only_message(key: str) -> str:
    """The message for a word whose value a file cannot hold."""
    return (
        f"`{key}` takes Python functions or objects, which a file cannot hold; leave it out, or use"
        " messaging_assets.api.rest_api_source in Python"
    )


def words_of(spec: Any, what: str, **own: Check) -> Words:
    """The words of one of dlt's typed dictionaries.

    Args:
        spec: The typed dictionary.
        what: What it describes, for a message.
        own: Checks that are stricter than dlt's types, or for words that dlt does not have.
    """
    hints = typing.get_type_hints(spec)
    checks = {key: own.get(key) or check_of(hint) for key, hint in hints.items()}
    needed = {key for key in spec.__required_keys__ if not _allows_none(hints[key])}
    python_only = {key for key, hint in hints.items() if key not in own and _needs_python(hint)}
    return Words(what, {**own, **checks}, frozenset(needed), frozenset(python_only))


# ---- checks made of a type -----------------------------------------------------------------------


@cache
def check_of(hint: Any) -> Check:
    """The check that a type stands for; a type that says nothing is not checked."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return anything
    if _is_union(hint):
        return _any_of(hint)
    if origin is Literal:
        return literal(*typing.get_args(hint))
    if origin in (list, Sequence):
        return list_of(check_of(typing.get_args(hint)[0]))
    if origin in (dict, Mapping):
        return mapping_of(check_of(typing.get_args(hint)[1]))
    return _check_of_class(hint)


def _check_of_class(hint: Any) -> Check:
    simple: dict[Any, Check] = {str: text, bool: boolean, int: whole(), float: number(), type(None): nothing}
    if hint in simple:
        return simple[hint]
    if is_typeddict(hint):
        prefix = "x-" if hint is TColumnSchema else None
        words = words_of(hint, "this")
        return Words("this", words.checks, words.required, words.python_only, prefix).check
    if _is_function(hint):
        return function
    if inspect.isclass(hint):
        return instance_of(hint)
    return anything


def _any_of(hint: Any) -> Check:
    """One of several types: what fits none of them is reported against the type it comes nearest to."""
    members = typing.get_args(hint)
    if JSONPath in members:
        return optional(json_path) if type(None) in members else json_path
    if len(others := [member for member in members if member is not type(None)]) == 1:
        return optional(check_of(others[0]))
    checks = [check_of(member) for member in members]

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        attempts: list[list[Mistake]] = []
        for attempt in checks:
            trial = found.trial()
            attempt(value, path, trial)
            if not trial.mistakes:
                return
            attempts.append(trial.mistakes)
        deeper = [mistakes for mistakes in attempts if len(mistakes[0].path) > len(path)]
        if deeper:
            best = min(deeper, key=len)
            found.mistakes.extend(best)
        else:
            found.add(path, f"has to be {_or(hint, found)}, not {kind_of(value)}")

    return check


def _or(hint: Any, found: Findings) -> str:
    """The types of a union in words, without those that a file cannot hold."""
    described: list[str] = []
    for member in typing.get_args(hint):
        if member is type(None) or (_needs_python(member) and not found.python):
            continue
        words = describe(member)
        if words not in described:
            described.append(words)
    return " or ".join(described)


def describe(hint: Any) -> str:
    """A type in words."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return f"one of {one_of(str(word) for word in typing.get_args(hint))}"
    if origin in (list, Sequence):
        return "a list"
    names = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
    if hint in names:
        return names[hint]
    if _is_union(hint):
        return " or ".join(describe(member) for member in typing.get_args(hint) if member is not type(None))
    if origin in (dict, Mapping) or is_typeddict(hint):
        return "a mapping"
    return "a function" if _is_function(hint) else f"an object of {getattr(hint, '__name__', hint)}"


def kind_of(value: Any) -> str:
    """What a value is, in words, without the value itself: it may be secret."""
    kinds: tuple[tuple[type, str], ...] = (
        (type(None), "nothing"),
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (str, "a text"),
        (dict, "a mapping"),
        (list, "a list"),
        (tuple, "a list"),
    )
    return next(
        (words for kind, words in kinds if isinstance(value, kind)), f"an object of {type(value).__name__}"
    )


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


def _is_function(hint: Any) -> bool:
    return hint is Callable or typing.get_origin(hint) is _CALLABLE


def _allows_none(hint: Any) -> bool:
    return _is_union(hint) and type(None) in typing.get_args(hint)


def _needs_python(hint: Any) -> bool:
    """Whether only a function or an object of a class can be of this type."""
    if hint is Any:
        return False
    if _is_union(hint):
        return all(_needs_python(member) for member in typing.get_args(hint) if member is not type(None))
    origin = typing.get_origin(hint)
    if origin in (list, Sequence):
        return _needs_python(typing.get_args(hint)[0])
    if is_typeddict(hint):
        return all(_needs_python(field) for field in typing.get_type_hints(hint).values())
    if _is_function(hint):
        return True
    return (
        origin is None
        and inspect.isclass(hint)
        and hint not in (str, bool, int, float, type(None), dict, list)
    )


# ---- simple checks -------------------------------------------------------------------------------


def anything(_value: Any, _path: FieldPath, _found: Findings) -> None:
    """Whatever it is, it is right."""


def nothing(value: Any, path: FieldPath, found: Findings) -> None:
    """Null alone."""
    if value is not None:
        found.add(path, f"has to be null, not {kind_of(value)}")


def text(value: Any, path: FieldPath, found: Findings) -> None:
    """A text."""
    if not isinstance(value, str):
        found.add(path, f"has to be a text, not {kind_of(value)}")


def boolean(value: Any, path: FieldPath, found: Findings) -> None:
    """True or false."""
    if not isinstance(value, bool):
        found.add(path, f"has to be true or false, not {kind_of(value)}")


def function(value: Any, path: FieldPath, found: Findings) -> None:
    """A Python function, which a file cannot hold."""
    if not found.python:
        found.add(path, python_only_message(str(path[-1])))
    elif not callable(value):
        found.add(path, f"has to be a function, not {kind_of(value)}")


def whole(low: int | None = None, high: int | None = None) -> Check:
    """A whole number within bounds."""

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        right = isinstance(value, int) and not isinstance(value, bool)
        if not right or not _within(value, low, high):
            found.add(path, f"has to be a whole number{_bounds(low, high)}, not {_shown(value)}")

    return check


def number(low: float | None = None, high: float | None = None, *, above: bool = False) -> Check:
    """A number within bounds; `above` says that the lower bound itself is too low."""

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not right or not _within(value, low, high) or (above and value == low):
            bounds = f" above {low:g}" if above and low is not None else _bounds(low, high)
            found.add(path, f"has to be a number{bounds}, not {_shown(value)}")

    return check


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f" of at least {low:g}" if high is None else f" from {low:g} to {high:g}"


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else kind_of(value)


def literal(*words: Any) -> Check:
    """One of a few words."""

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        if isinstance(value, bool) or value not in words:
            known = [str(word) for word in words]
            hint = nearest(value, known) if isinstance(value, str) else ""
            words_known = f"one of {one_of(known)}" if len(known) > 1 else one_of(known)
            found.add(path, f"has to be {words_known}{hint}")

    return check


def list_of(item: Check) -> Check:
    """A list whose items pass a check."""

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        if not isinstance(value, list | tuple):
            found.add(path, f"has to be a list, not {kind_of(value)}")
            return
        for position, element in enumerate(value):
            item(element, (*path, position), found)

    return check


def mapping_of(field: Check, *, key: Check | None = None) -> Check:
    """A mapping with free keys whose values pass a check."""

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        if not isinstance(value, dict):
            found.add(path, f"has to be a mapping, not {kind_of(value)}")
            return
        for name, element in value.items():
            (key or text)(name, (*path, str(name)), found)
            field(element, (*path, str(name)), found)

    return check


def optional(inner: Check) -> Check:
    """Null, or what another check accepts."""

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        if value is not None:
            inner(value, path, found)

    return check


def instance_of(kind: type) -> Check:
    """An object of a class, which a file cannot hold."""

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        if not isinstance(value, kind):
            found.add(path, f"has to be an object of {kind.__name__}, not {kind_of(value)}")

    return check


def file_only(inner: Check) -> Check:
    """A word of the connection file that dlt's dictionary does not have."""

    def check(value: Any, path: FieldPath, found: Findings) -> None:
        if found.python:
            found.add(path, "is a word of connection files; leave it out here")
        else:
            inner(value, path, found)

    return check


def json_path(value: Any, path: FieldPath, found: Findings) -> None:
    """A JSON path, as a text or compiled."""
    if isinstance(value, JSONPath):
        return
    if not isinstance(value, str):
        found.add(path, f"has to be a JSON path, not {kind_of(value)}")
        return
    try:
        jsonpath.compile_path(value)
    except Exception:  # the parser raises bare exceptions
        found.add(path, "is not a JSON path; write `data`, `data.items` or `$`")
