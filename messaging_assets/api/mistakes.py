"""One mistake in a configuration, and the list that collects all of them.

How a mistake is worded and ordered stands here; what counts as one stands in `vocabulary` (single
fields) and `rules` (fields that have to agree with each other).
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

FieldPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Args:
        path: The keys and positions that lead to the field; empty for the whole document.
        message: What is wrong and what is allowed, without the value of a field that may be secret.
    """

    path: FieldPath
    message: str

    def __str__(self) -> str:
        return f"{place(self.path)}: {self.message}" if self.path else self.message

    @property
    def order(self) -> tuple[tuple[int, int, str], ...]:
        """Sorts by path, positions by number: resources[2] before resources[10]."""
        return tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in self.path)


@dataclass(frozen=True)
class Findings:
    """The mistakes found so far, in one reading.

    Args:
        python: Whether the configuration is a Python dictionary, which may hold objects, functions
            and secrets, or comes from a file, which may not.
    """

    python: bool
    mistakes: list[Mistake] = field(default_factory=list)

    def add(self, path: FieldPath, message: str) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(path, message))

    def trial(self) -> "Findings":
        """An empty list for the same reading, to try one of several forms of a field."""
        return Findings(self.python)


def place(path: FieldPath) -> str:
    """The path as a reader writes it.

    Example:
        >>> place(("resources", 1, "endpoint", "paginator"))
        'resources[1].endpoint.paginator'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def one_of(words: Iterable[str]) -> str:
    """The words as a list for a message, quoted and in order.

    Example:
        >>> one_of(["get", "post"])
        '`get`, `post`'
    """
    return ", ".join(f"`{word}`" for word in words)


def nearest(word: object, words: Iterable[str]) -> str:
    """'; did you mean `x`?' for the valid word that looks most like this one, or nothing."""
    by_lower_case = {valid.lower(): valid for valid in words}
    found = difflib.get_close_matches(str(word).lower(), by_lower_case, n=1, cutoff=0.6)
    return f"; did you mean `{by_lower_case[found[0]]}`?" if found else ""
