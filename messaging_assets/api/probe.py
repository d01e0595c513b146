"""Trying a connection out: a token and one row of each resource, with words for what does not work.

For `messaging check`. Nothing is stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.api.errors import AuthenticationError, MessagingError, UnreachableError
from messaging_assets.api.reading import first_records
from messaging_assets.api.source import Api


@dataclass(frozen=True)
class Probe:
    """What trying something out came to.

    Attributes:
        tried: What was tried: the API as a whole, or a resource by its name.
        works: Whether it works.
        words: What was found, or what went wrong and what to do.
    """

    tried: str
    works: bool
    words: str


def probe(api: Api, connection: Connection) -> Iterator[Probe]:
    """Reaches the API and fetches one row of each resource, one after the other.

    An API that can't be reached, or refuses the credentials, is told once and ends it.
    """
    reached = False
    for resource in connection.resources:
        try:
            found = _probe(api, resource)
        except (UnreachableError, AuthenticationError) as error:
            if not reached:
                yield Probe("the API", False, str(error))
                return
            found = Probe(resource.name, False, str(error))
        if found.works and not reached:
            reached = True
            yield Probe("the API", True, "is reached and accepts the credentials")
        yield found


def _probe(api: Api, resource: Resource) -> Probe:
    try:
        records = first_records(api, resource, 1)
    except (UnreachableError, AuthenticationError):
        raise
    except MessagingError as error:
        return Probe(resource.name, False, str(error))
    if not records:
        return Probe(resource.name, True, "answers; it has no rows")
    first = records[0]
    if not isinstance(first, dict):
        return Probe(resource.name, False, "its rows are no objects; check the endpoint's data_selector")
    missing = [field for field in resource.primary_key if first.get(field) is None]
    if missing:
        fields = ", ".join(sorted(map(str, first)))
        words = f"its first row has no {', '.join(missing)}; set primary_key to one of its fields: {fields}"
        return Probe(resource.name, False, words)
    return Probe(resource.name, True, f"answers; its first row has {len(first)} fields")
