"""Digests of a record: one of its key, one of its content, 8 bytes each, as signed integers.

They stand for rows where a million rows would be too many to hold: what was seen, and what changed.
Collecting and comparing digests belongs to `row_index`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from messaging_assets.api.errors import MalformedPageError
from messaging_assets.api.page import field_values

Digests = NDArray[np.int64]

# The version of the content digest. A change of what is digested gets a new version, after which the
# next sync finds every row changed and rewrites it once.
CONTENT_DIGEST_VERSION = b"row-1"


def key_digest(record: object, primary_key: Sequence[str]) -> int | None:
    """The digest of a record's key, None where the record has no usable key.

    Valid within this process only: texts are digested by Python's own seeded hash, which costs a
    twentieth of a cryptographic one and is never stored. A usable key is a non-empty text or an integer
    for each field of the primary key.

    Example:
        >>> key_digest({"id": 7}, ["id"])
        7
        >>> key_digest({"name": "no id"}, ["id"]) is None
        True
    """
    if not isinstance(record, dict):
        return None
    if len(primary_key) == 1:
        value = record.get(primary_key[0])
        return value_digest(value)
    values = [record.get(field) for field in primary_key]
    if any(value_digest(value) is None for value in values):
        return None
    # Not of the values themselves: Python's hash of -1 is that of -2.
    return hash(repr(values))


def key_digests(records: Sequence[Any], primary_key: Sequence[str]) -> list[int | None]:
    """The digest of the key of each record, as `key_digest` makes it.

    Args:
        records: Any JSON values.
        primary_key: The fields of the key.
    """
    if len(primary_key) == 1 and set(map(type, records)) == {dict}:
        return value_digests(field_values(records, primary_key[0]))
    return [key_digest(record, primary_key) for record in records]


def keys_there(keys: Sequence[int | None]) -> list[int]:
    """The digests of the keys of those records that have one."""
    if None not in keys:
        return cast("list[int]", list(keys))
    return [key for key in keys if key is not None]


def value_digests(values: Sequence[Any]) -> list[int | None]:
    """The digest of each value of a single-field key, as `value_digest` makes it."""
    if set(map(type, values)) == {str} and "" not in values:
        # As it is with almost every list: then no Python code runs for each value.
        return list(map(hash, values))
    return [value_digest(value) for value in values]


def value_digest(value: object) -> int | None:
    """The digest of the value of a single-field key, None where it can't be a key."""
    if isinstance(value, str):
        return hash(value) if value else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**63 else hash(str(value))
    return None


@dataclass(frozen=True, slots=True)
class Contents:
    """What some records say, in brief.

    Attributes:
        digests: The digest of the content of each.
        size: How many bytes they are as JSON.
        plain: Whether orjson can write them: no integer beyond 64 bits, no lone surrogate.
    """

    digests: Digests
    size: int
    plain: bool


def content_digest(record: Mapping[str, Any]) -> int:
    """The digest of everything a record says, the same in every process and whatever the order of its fields.

    Example:
        >>> content_digest({"a": 1, "b": 2}) == content_digest({"b": 2, "a": 1})
        True

    Raises:
        MalformedPageError: The record is nested too deeply.
    """
    return int(contents_of([record]).digests[0])


def contents_of(records: Sequence[Mapping[str, Any]]) -> Contents:
    """The content digest of each record, and what is found out on the way.

    Raises:
        MalformedPageError: A record is nested too deeply.
    """
    plain = True
    try:
        texts = [orjson.dumps(record, option=orjson.OPT_SORT_KEYS) for record in records]
    except TypeError:
        plain = False
        texts = [_tolerantly_written(record) for record in records]
    digests = np.frombuffer(b"".join(map(_digest, texts)), dtype="<i8").astype(np.int64, copy=False)
    return Contents(digests, sum(map(len, texts)), plain)


# To copy a digest that knows its parameters takes two thirds of the time of making one.
_BLANK = hashlib.blake2b(digest_size=8, person=CONTENT_DIGEST_VERSION)


def _digest(text: bytes) -> bytes:
    digest = _BLANK.copy()
    digest.update(text)
    return digest.digest()


def _tolerantly_written(record: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson refuses integers beyond 64 bits and texts with lone surrogates.
        pass
    try:
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:
        raise MalformedPageError("a record is nested too deeply to be read") from None
