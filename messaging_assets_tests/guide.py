"""The guide's dictionary for a sandbox, and the API and connection made of it."""

from typing import Any

from messaging_assets.api.connection import Connection, connection_from_dict
from messaging_assets.api.source import Api
from messaging_assets.sandbox import Sandbox, SandboxProcess


def guide(sandbox: Sandbox | SandboxProcess, *resources: dict[str, Any], **client: Any) -> dict[str, Any]:
    """The guide's configuration as it stands, with a sandbox as the API.

    Args:
        sandbox: The API.
        resources: What to read; users, channels and messages if nothing is given.
        client: What to say beside address and credentials.
    """
    return {
        "client": {
            "base_url": sandbox.base_url,
            "auth": {
                "type": "oauth2",
                "client_id": sandbox.client_id,
                "client_secret": sandbox.client_secret,
                "token_url": f"{sandbox.base_url}/oauth/token",
            },
            **client,
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
        "resources": list(resources) or [listed(name) for name in ("users", "channels", "messages")],
    }


def listed(name: str, *, limit: int = 100, **endpoint: Any) -> dict[str, Any]:
    """A resource as the guide has it: by limit and offset, its records under `data`."""
    return {
        "name": name,
        "endpoint": {
            "path": f"/v1/{name}",
            "data_selector": "data",
            "paginator": {"type": "offset", "limit": limit},
            **endpoint,
        },
    }


def connected(config: dict[str, Any]) -> tuple[Api, Connection]:
    """The API and the connection of a dictionary; the caller closes the API."""
    return Api(config, name="messaging"), connection_from_dict("messaging", config)
