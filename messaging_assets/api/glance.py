"""Has a list changed? Two requests, instead of reading it.

What is new is not found out here, that is the sweep's; a glance only tells two states apart. Its
fingerprint is a digest: no content can be read from it.

A glance has the rate of the connection to itself: its requests are spaced by the same
`requests_per_second` as those of a sync, and whoever glances asks nothing while a sync is under way.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from messaging_assets.api.connection import Resource
from messaging_assets.api.endpoint import EndpointPages
from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.reading import is_swept
from messaging_assets.api.source import Api

#: Fields that tell an edited row from the row before, beside its key.
EDITS = ("updated_at",)

#: A glance is repeated soon: it waits for nothing for long, whatever the API asks.
HURRIED = {"timeouts": {"connect": 3, "read": 5}, "error_handler": {"max_retries": 0, "longest_wait": 5}}


@dataclass(frozen=True)
class Glance:
    """What a list looks like from afar.

    Args:
        total: The length that the API gives, where it does.
        fingerprint: A digest of the length and of the rows at both ends.
    """

    total: int | None
    fingerprint: str


def can_glance(resource: Resource) -> bool:
    """Whether both ends of a resource's list can be asked for: it is one list, paged by offset."""
    return is_swept(resource)


def hurried(client: Mapping[str, Any]) -> dict[str, Any]:
    """The client part of a configuration, with short time-outs and without retries."""
    return {**client, **HURRIED}


def glance(api: Api, resource: Resource, held: int | None = None) -> Glance:
    """Look at both ends of a list, with two requests.

    Args:
        api: The API.
        resource: A resource for which `can_glance` says yes.
        held: How many rows were there at the last sync; where the API gives no total, this is where
            new rows at the end are looked for.

    Returns:
        The state of the list. Two glances at a list that did not change are equal; without a total, rows
        that were deleted can make one differ once.
    """
    handler = ErrorHandler.from_guide(HURRIED["error_handler"])
    pages = EndpointPages(api, resource, error_handler=handler)
    head = pages.fetch(pages.start, 1).result()
    if head.total is not None:
        tail = pages.fetch(max(head.total - 1, 0), 1).result()
    else:
        tail = pages.fetch(max((held or 1) - 1, 0), pages.limit).result()
    seen = [head.total, _told(head.records, resource), _told(tail.records[-1:], resource)]
    digest = hashlib.sha256(orjson.dumps(seen, default=str, option=orjson.OPT_SORT_KEYS))
    return Glance(head.total, digest.hexdigest()[:32])


def _told(records: list[Any], resource: Resource) -> list[Any]:
    """What tells rows apart: their keys, and when they were edited."""
    names = (*resource.primary_key, *EDITS)
    return [
        [record.get(name) for name in names] if isinstance(record, dict) else type(record).__name__
        for record in records
    ]
