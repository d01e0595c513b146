"""Reading one YAML file, strictly.

A connection file says what the guide's Python dictionary says, so its values are what they look like:
`true` and `false` alone are booleans, a time stamp stays a text, 0123 and 12:30 are texts. A key that is
given twice is a mistake, since YAML itself would silently drop the first. What the keys mean is not
known here.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from messaging_assets.api.mistakes import Findings

DEEPEST = 40
MOST_NODES = 100_000
TAG = "tag:yaml.org,2002:"


class _StrictLoader(yaml.SafeLoader):
    """YAML with the scalars of YAML 1.2 (core schema, decimal numbers)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own)


_StrictLoader.add_implicit_resolver(f"{TAG}null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_StrictLoader.add_implicit_resolver(
    f"{TAG}bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_StrictLoader.add_implicit_resolver(
    f"{TAG}int", re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,17})$"), list("-+0123456789")
)
_StrictLoader.add_implicit_resolver(
    f"{TAG}float",
    re.compile(r"^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]{1,2})?|[eE][-+]?[0-9]{1,2})$"),
    list("-+0123456789"),
)
_StrictLoader.add_implicit_resolver(f"{TAG}merge", re.compile(r"^<<$"), ["<"])


def read_yaml(file: Path, found: Findings) -> Any:
    """The content of a YAML file.

    Args:
        file: The file.
        found: Takes the mistakes: unreadable, not YAML, a key given twice, nested too deeply.

    Returns:
        The content, or None after a mistake.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        found.add((), f"cannot be read: {error.strerror or 'unknown reason'}")
        return None
    except UnicodeDecodeError:
        found.add((), "is not a text in UTF-8")
        return None
    return parse_yaml(text, found)


def parse_yaml(text: str, found: Findings) -> Any:
    """The content of a YAML text; as `read_yaml`."""
    try:
        node = yaml.compose(text, _StrictLoader)
        if node is None or node.tag == f"{TAG}null":
            found.add((), "is empty; it needs at least `client` and `resources`")
            return None
        return _StrictLoader("").construct_document(node) if _check_nodes(node, found) else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        found.add((), f"line {line}: this is not YAML ({error.problem or 'unknown reason'})")
    except (yaml.YAMLError, ValueError, RecursionError):
        found.add((), "this is not YAML: it holds a character or a nesting that YAML does not allow")
    return None


def _check_nodes(root: yaml.Node, found: Findings) -> bool:
    """Note keys that are given twice; False for what is nested or repeated without an end."""
    waiting = [(root, 0)]
    repeated: list[tuple[int, str]] = []
    for count in itertools.count():
        if not waiting:
            break
        node, depth = waiting.pop()
        if depth > DEEPEST or count > MOST_NODES:
            found.add((), f"line {node.start_mark.line + 1}: nested too deeply, within itself, or too often")
            return False
        if isinstance(node, yaml.MappingNode):
            repeated.extend(_repeated_keys(node))
            waiting.extend((value, depth + 1) for _, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend((value, depth + 1) for value in node.value)
    for _, message in sorted(set(repeated)):
        found.add((), message)
    return True


def _repeated_keys(node: yaml.MappingNode) -> Iterator[tuple[int, str]]:
    """The line and a message for each key that stands a second time."""
    first_line: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == f"{TAG}merge":
            continue
        line = key.start_mark.line + 1
        if key.value in first_line:
            first = first_line[key.value]
            yield line, f"line {line}: the key `{key.value}` stands here again, first in line {first}"
        first_line.setdefault(key.value, line)
