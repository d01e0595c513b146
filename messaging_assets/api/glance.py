"""Has a list changed? Two requests for a row each, instead of reading it.

What is new is not found out here, that is the sweep's; a glance only tells two states apart. Its
fingerprint is a digest: no content can be read from it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from messaging_assets.api.connection import Resource
from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.page import Page, PageDecoder
from messaging_assets.api.source import Api

#: Fields that tell an edited row from the row before, beside its key.
EDITS = ("updated_at",)

#: A glance is repeated soon: it waits for nothing for long.
HURRIED = {"timeouts": {"connect": 3, "read": 5}, "error_handler": {"max_retries": 0}}


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
    """Whether both ends of a resource's list can be asked for: one list, paged by offset in the query."""
    words = _offset_words(resource.paginator)
    depends = "{" in str(resource.endpoint.get("path", ""))
    return words is not None and not depends and not any(name.endswith("_body_path") for name in words)


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
        The state of the list. Two glances at a list that did not change are equal.
    """
    words = _offset_words(resource.paginator) or {}
    head = _page(api, resource, words, offset=0, limit=1)
    if head.total is not None:
        tail = _page(api, resource, words, offset=max(head.total - 1, 0), limit=1)
    else:
        tail = _page(api, resource, words, offset=max((held or 1) - 1, 0), limit=int(words.get("limit", 100)))
    seen = [head.total, _told(head, resource), _told(tail, resource)]
    digest = hashlib.sha256(orjson.dumps(seen, default=str, option=orjson.OPT_SORT_KEYS))
    return Glance(head.total, digest.hexdigest()[:32])


def _page(api: Api, resource: Resource, words: Mapping[str, Any], *, offset: int, limit: int) -> Page:
    request = api.endpoint_request(resource.name)
    place = {words.get("offset_param", "offset"): offset, words.get("limit_param", "limit"): limit}
    decode = PageDecoder(resource.endpoint.get("data_selector"), words.get("total_path", "total"))
    return api.transport.call(
        replace(
            request, params={**(request.params or {}), **place}, error_handler=ErrorHandler(max_retries=0)
        ),
        lambda response: decode(response.body),
        api.usage(resource.name),
    )


def _told(page: Page, resource: Resource) -> list[Any]:
    """What tells the rows of a page apart: their keys, and when they were edited."""
    names = (*resource.primary_key, *EDITS)
    return [
        [record.get(name) for name in names] if isinstance(record, dict) else type(record).__name__
        for record in page.records
    ]


def _offset_words(paginator: Any) -> Mapping[str, Any] | None:
    """The words of an offset paginator as a dictionary; None for any other paginator."""
    if paginator == "offset":
        return {}
    if isinstance(paginator, Mapping) and paginator.get("type") == "offset":
        return paginator
    return None
