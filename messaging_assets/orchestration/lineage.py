"""Where the data comes from: the API's endpoints as external assets, and what all assets carry.

Owners, tags and code references belong here, since the API's side and the tables share them. The
tables themselves are specified in `translator`.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from dagster import AssetSpec, BetaWarning, CodeReferencesMetadataValue, LocalFileCodeReference

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.orchestration.names import CONNECTION_TAG, api_group, api_key

#: A file, a line in it, and what is found there.
Place = tuple[Path, int, str]

#: Who is named where a connection file names nobody.
DEFAULT_OWNERS = ("team:data-platform",)


def api_specs(connection: Connection) -> list[AssetSpec]:
    """The API's side of a connection: one external asset for each resource that is loaded."""
    return [_api_spec(connection, resource) for resource in connection.resources if resource.selected]


def _api_spec(connection: Connection, resource: Resource) -> AssetSpec:
    path = str(resource.endpoint.get("path", resource.name))
    return AssetSpec(
        key=api_key(connection.name, resource.table),
        group_name=api_group(connection.name),
        description=(
            f"The {resource.name} at their source: `{path}` of the API that the connection "
            f"`{connection.name}` speaks to. It lives outside this platform and is read, never written: "
            "Dagster has therefore never materialized it. Each sync leaves an observation of what it saw."
        ),
        kinds={"rest", "json"},
        owners=owners(connection),
        tags=tags(connection),
        metadata={"path": path, **code_references(connection, resource)},
    )


def owners(connection: Connection) -> tuple[str, ...]:
    """Who answers for the assets of a connection."""
    return connection.owners or DEFAULT_OWNERS


def tags(connection: Connection) -> dict[str, str]:
    """What the assets of a connection are found by."""
    return {**connection.tags, CONNECTION_TAG: connection.name}


def code_references(
    connection: Connection, resource: Resource, code: Path | None = None
) -> Mapping[str, CodeReferencesMetadataValue]:
    """Links to the lines that define an asset.

    Args:
        connection: The connection; one that was built in Python has no file to link to.
        resource: The resource whose lines in the connection file are linked.
        code: The module that does the work, where there is one.

    Returns:
        Metadata to put on an asset's spec, empty where there is nothing to link.
    """
    places: list[Place] = []
    if connection.file is not None:
        places.append((connection.file, _line_of(connection.file, resource.name), "the connection file"))
    if code is not None:
        places.append((code, 1, "the code that syncs it"))
    return references_to(places)


def references_to(places: Sequence[Place]) -> Mapping[str, CodeReferencesMetadataValue]:
    """Metadata that links to these places, empty where there are none."""
    if not places:
        return {}
    with warnings.catch_warnings():
        # Dagster calls its code references beta, once for each; users can do nothing about it.
        warnings.simplefilter("ignore", BetaWarning)
        references = [
            LocalFileCodeReference(file_path=str(file.absolute()), line_number=line, label=label)
            for file, line, label in places
        ]
        return {"dagster/code_references": CodeReferencesMetadataValue(code_references=[*references])}


def _line_of(file: Path, resource: str) -> int:
    """The line of a connection file on which a resource gets its name; the first where none does."""
    naming = re.compile(rf"""(^|[\s{{,-])["']?name["']?\s*:\s*["']?{re.escape(resource)}["']?\s*([,}}#]|$)""")
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, start=1) if naming.search(line)), 1)
