"""What an asset is for a dlt resource: dagster-dlt's translator, told about the connection.

The specification of a table belongs here: key, dependencies, description, owners, freshness. How it
is materialised stands in `assets`, how it is judged in `checks`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
from dagster import AssetSpec
from dagster_dlt import DagsterDltTranslator
from dagster_dlt.translator import DltResourceTranslatorData

from messaging_assets.api.connection import Connection, Resource
from messaging_assets.orchestration.freshness import freshness_policy
from messaging_assets.orchestration.lineage import code_references, owners, tags
from messaging_assets.orchestration.names import api_key, raw_group, raw_key

#: The module that an asset's code reference leads to.
MATERIALISATION = Path(__file__).with_name("assets.py")


@dataclass
class MessagingTranslator(DagsterDltTranslator):
    """Gives dagster-dlt the asset of each resource of one connection.

    Args:
        connection: The connection whose resources are translated.
    """

    connection: Connection

    def get_asset_spec(self, data: DltResourceTranslatorData) -> AssetSpec:
        """The asset of a dlt resource; the resource's name is all that is taken from it."""
        name = self.connection.name
        resource = _resource_of(self.connection, data.resource.name)
        return (
            super()
            .get_asset_spec(data)
            .replace_attributes(
                key=raw_key(name, resource.table),
                deps=[api_key(name, resource.table)],
                group_name=raw_group(name),
                description=_description(self.connection, resource),
                kinds={"dlt", "duckdb"},
                owners=owners(self.connection),
                tags=tags(self.connection),
                code_version=_version_of(resource),
                freshness_policy=freshness_policy(self.connection),
                metadata=_metadata(self.connection, resource),
            )
        )

    def spec(self, resource: Resource) -> AssetSpec:
        """The asset of a resource, before there is a source or a pipeline."""
        return self.get_asset_spec(
            DltResourceTranslatorData(resource=dlt.resource([], name=resource.name), pipeline=None)
        )


def _resource_of(connection: Connection, name: str) -> Resource:
    """The resource of that name, or of that table: what is staged may be called like either."""
    return next(resource for resource in connection.resources if name in (resource.name, resource.table))


def _description(connection: Connection, resource: Resource) -> str:
    about = resource.description or f"The {resource.name} of the connection `{connection.name}`."
    # The catalogue shows all in one line.
    stop = "" if about.endswith((".", "!", "?")) else "."
    return (
        f"{about}{stop}\n\nTable `{connection.name}.{resource.table}` in DuckDB: every row that the API has "
        "or had, once. `deleted_at` is empty while a row lives and says since when it is gone otherwise; "
        f"rows are marked, never removed. `{connection.name}._sync_ledger` holds a line for each sync, "
        f"`{connection.name}._rejected_records` what could not be stored."
    )


def _metadata(connection: Connection, resource: Resource) -> Mapping[str, Any]:
    return {
        "path": str(resource.endpoint.get("path", resource.name)),
        "primary_key": ", ".join(resource.primary_key),
        "write_disposition": resource.write_disposition,
        **code_references(connection, resource, MATERIALISATION),
    }


def _version_of(resource: Resource) -> str:
    """A digest of what the connection file says about a resource, so that Dagster sees an edit."""
    said = json.dumps(
        [resource.endpoint, resource.primary_key, resource.write_disposition, resource.columns],
        sort_keys=True,
        default=repr,
    )
    return hashlib.sha256(said.encode()).hexdigest()[:12]
