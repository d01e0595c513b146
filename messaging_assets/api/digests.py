"""Digests of a record: one of its key, one of its content, 8 bytes each, as signed integers.

They stand for rows where a million rows would be too many to hold: what was seen, and what changed.
Collecting and comparing digests belongs to `row_index`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from messaging_assets.api.errors import MalformedPageError

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


def value_digest(value: object) -> int | None:
    """The digest of the value of a single-field key, None where it can't be a key."""
    if isinstance(value, str):
        return hash(value) if value else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**63 else hash(str(value))
    return None


def content_digest(record: Mapping[str, Any]) -> int:
    """The digest of everything a record says, the same in every process and whatever the order of its fields.

    Example:
        >>> content_digest({"a": 1, "b": 2}) == content_digest({"b": 2, "a": 1})
        True

    Raises:
        MalformedPageError: The record is nested too deeply.
    """
    try:
        text = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson refuses integers beyond 64 bits and texts with lone surrogates.
        text = _tolerantly_written(record)
    digest = hashlib.blake2b(text, digest_size=8, person=CONTENT_DIGEST_VERSION).digest()
    return int.from_bytes(digest, "little", signed=True)


def _tolerantly_written(record: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:
        raise MalformedPageError("a record is nested too deeply to be read") from None
