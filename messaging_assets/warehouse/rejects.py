"""The table of rejects: records that could not be stored, kept aside with the reason.

Which records those are is decided in `spool`, the table itself is made by `ledger`. A record stands there
once, however often it is seen, and leaves when it has arrived well.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from messaging_assets.api.digests import key_digest
from messaging_assets.warehouse.ledger import KEPT_DAYS, REJECTS
from messaging_assets.warehouse.spool import Rejected
from messaging_assets.warehouse.sql import qualified

_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_FIELDS = ("reason", "payload", "payload_digest", "id")


def keep_rejects(
    database: duckdb.DuckDBPyConnection,
    schema: str,
    resource: str,
    rejected: Iterable[Rejected],
    now: datetime,
) -> None:
    """Keeps records that could not be stored, and drops those that were not seen for too long.

    Args:
        database: The open database.
        schema: The connection's schema.
        resource: The resource.
        rejected: The records of this sync.
        now: When it saw them.
    """
    table = qualified(schema, REJECTS)
    rows = [(r.reason, r.payload, hashlib.sha256(r.payload.encode()).hexdigest(), r.id) for r in rejected]
    if rows:
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        database.register("seen_rejects", pa.table(columns, names=list(_FIELDS)))
        database.execute(
            f"""UPDATE {table} AS held SET reason = seen.reason, last_seen = ? FROM seen_rejects AS seen
                WHERE held.resource = ? AND held.payload_digest = seen.payload_digest""",  # noqa: S608
            [now, resource],
        )
        database.execute(
            f"""INSERT INTO {table}
                    (resource, reason, payload, payload_digest, id, first_seen, last_seen)
                SELECT ?, reason, payload, payload_digest, id, ?, ? FROM seen_rejects
                WHERE payload_digest NOT IN (SELECT payload_digest FROM {table} WHERE resource = ?)""",  # noqa: S608
            [resource, now, now, resource],
        )
        database.unregister("seen_rejects")
    database.execute(f"DELETE FROM {table} WHERE last_seen < ?", [now - timedelta(days=KEPT_DAYS)])  # noqa: S608


def release_rejects(
    database: duckdb.DuckDBPyConnection,
    schema: str,
    resource: str,
    primary_key: Sequence[str],
    *,
    seen_among: Callable[[Sequence[int]], set[int]],
    now: datetime,
) -> None:
    """Lets go of the rejects whose record has arrived well meanwhile: seen, and not rejected again.

    Args:
        database: The open database.
        schema: The connection's schema.
        resource: The resource.
        primary_key: The fields that tell its records apart.
        seen_among: Says which of some key digests belong to rows that this sync has seen.
        now: When this sync's own rejects were kept.
    """
    table = qualified(schema, REJECTS)
    held = database.execute(
        f"SELECT payload_digest, payload FROM {table} "  # noqa: S608
        "WHERE resource = ? AND id IS NOT NULL AND last_seen < ?",
        [resource, now],
    ).fetchall()
    keys = {digest: _possible_keys(json.loads(payload), primary_key) for digest, payload in held}
    seen = seen_among([key for possible in keys.values() for key in possible]) if keys else set()
    released = [[resource, digest] for digest, possible in keys.items() if possible & seen]
    if released:
        database.executemany(
            f"DELETE FROM {table} WHERE resource = ? AND payload_digest = ?",  # noqa: S608
            released,
        )


def _possible_keys(record: dict[str, Any], primary_key: Sequence[str]) -> set[int]:
    """The digests that a record's key can have when it comes back, as a text for an integer among them."""
    if not all(field in record for field in primary_key):
        return set()
    texts = [str(record[field]) for field in primary_key]
    candidates = [record, dict(zip(primary_key, texts, strict=True))]
    if all(_INTEGER.fullmatch(text) for text in texts):
        candidates.append(dict(zip(primary_key, map(int, texts), strict=True)))
    digests = (key_digest(candidate, primary_key) for candidate in candidates)
    return {digest for digest in digests if digest is not None}
