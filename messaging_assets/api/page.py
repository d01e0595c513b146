"""One answer of the API, decoded: the records of a page, and what the server says of the whole list.

Decoding only: asking for pages belongs to `sweep`, judging single records to the warehouse.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import orjson
from dlt.common import jsonpath
from dlt.sources.helpers.rest_client.detector import find_response_page_data

from messaging_assets.api.errors import MalformedPageError

# orjson turns integers from 2^64 on, and below -2^63, into floats, without a word. Of a run of nineteen
# digits every fourth byte is one, four times in a row: that is looked for first, in a tenth of the time of
# parsing, then the run itself, and only then an integer outside of quotes.
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_NINETEEN_DIGITS = b"0" * 19
_FOURTH, _FOUR_DIGITS = 4, b"0" * 4
_LONG_INTEGER = re.compile(rb"[:\[,]\s*-?\d{19,}")


@dataclass(frozen=True, slots=True)
class Page:
    """The records of a page.

    Attributes:
        records: Any JSON values, in the server's order.
        total: The length of the whole list where the server gives it as a number.
        has_more: Whether the server says that the list goes on, None where it says nothing.
    """

    records: list[Any]
    total: int | None = None
    has_more: bool | None = None


class PageDecoder:
    """Finds the records in the body of an answer.

    Args:
        data_selector: The JSON path of the list of records. None has dlt's detector look for it.
        total_path: The JSON path of the length of the whole list.
        has_more_path: The JSON path of the flag that says whether the list goes on.

    Example:
        >>> PageDecoder("data", "total")(b'{"data": [{"id": 1}], "total": "12"}')
        Page(records=[{'id': 1}], total=12, has_more=None)
    """

    def __init__(
        self, data_selector: str | None, total_path: str | None = "total", has_more_path: str | None = None
    ) -> None:
        self._data_selector = data_selector
        self._total_path = total_path
        self._has_more_path = has_more_path

    def __call__(self, body: bytes) -> Page:
        """Decodes a body.

        Raises:
            MalformedPageError: The body is not JSON, is an error object, or holds no list of records.
        """
        answer = parse_json(body)
        if isinstance(answer, dict) and answer.get("ok") is False:
            raise MalformedPageError("the API answered with an error object (`ok` is false) and status 200")
        return Page(
            self._records(answer),
            _as_count(_find(self._total_path, answer)),
            _as_flag(_find(self._has_more_path, answer)),
        )

    def _records(self, answer: Any) -> list[Any]:
        if self._data_selector is None:
            _, found = find_response_page_data(answer)
            return found if isinstance(found, list) else [found]
        values = _find_all(self._data_selector, answer)
        found = values[0] if len(values) == 1 else values
        if isinstance(found, list) and values:
            return found
        if isinstance(found, dict):
            return [found]
        held = "holds no list" if values else "is missing"
        raise MalformedPageError(
            f"the answer is JSON, but `{self._data_selector}` {held}",
            remedy="check the endpoint's data_selector; an API that reports errors with status 200 did so",
        )


def field_values(records: Sequence[dict[str, Any]], field: str) -> list[Any]:
    """The values of a field, None where a record has none.

    Example:
        >>> field_values([{"id": 1}, {}], "id")
        [1, None]
    """
    try:
        # Most records have every field: then no Python code runs for each of them.
        return list(map(itemgetter(field), records))
    except KeyError:
        return [record.get(field) for record in records]


def parse_json(body: bytes) -> Any:
    """Parses JSON without loss: integers of any size, and texts with lone surrogates.

    Raises:
        MalformedPageError: The body is not JSON.
    """
    try:
        if _FOUR_DIGITS in body[::_FOURTH].translate(_DIGITS) and _holds_long_integer(body):
            return _parse_tolerantly(body)
        return orjson.loads(body)
    except ValueError:
        # orjson refuses lone surrogates, which the standard library reads.
        return _parse_tolerantly(body)


def _holds_long_integer(body: bytes) -> bool:
    return _NINETEEN_DIGITS in body.translate(_DIGITS) and _LONG_INTEGER.search(body) is not None


def _parse_tolerantly(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        start = body[:200].lstrip().lower()
        kind = "HTML" if start.startswith((b"<!doctype", b"<html")) else "not JSON"
        raise MalformedPageError(
            f"the answer is {kind}, {len(body)} bytes long",
            remedy="check base_url and path; a gateway or a log-in page may have answered for the API",
        ) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _find_all(path: str, answer: Any) -> list[Any]:
    if isinstance(answer, dict) and path.isidentifier():
        return [answer[path]] if path in answer else []
    return list(jsonpath.find_values(path, answer))


def _find(path: str | None, answer: Any) -> Any:
    values = _find_all(path, answer) if path else []
    return values[0] if values else None


def _as_count(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _as_flag(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return bool(value) if isinstance(value, bool | int) else None
