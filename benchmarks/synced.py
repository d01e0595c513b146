"""The platform's sync of every resource, without Dagster. Run by `scenarios` as a whole process.

Does what the assets do, in the same order, in a process that begins and ends as that of the command line
does, and prints what it came to as JSON. What is read and where it goes stands in the environment, as for any
sync.
"""

import sys
import time
from typing import TYPE_CHECKING, Any

import orjson

from messaging_assets.warehouse.garbage import brief_process

if TYPE_CHECKING:
    from messaging_assets.warehouse.sync import Mode, SyncResult


def main(mode: "Mode") -> dict[str, Any]:
    """Syncs the connection `messaging`.

    Args:
        mode: As for `sync_resource`.

    Returns:
        What it came to, by resource; when it began, after the imports; the modules of dlt that it needed.
    """
    from messaging_assets.api.connection import read_connections
    from messaging_assets.api.settings import configured_client, warehouse_database
    from messaging_assets.api.source import Api
    from messaging_assets.warehouse.location import WarehouseLocation
    from messaging_assets.warehouse.sync import sync_resource

    began = time.monotonic()
    connection = next(found for found in read_connections() if found.name == "messaging")
    location = WarehouseLocation(warehouse_database(connection.name, sandbox=False))
    with Api(configured_client(connection), name=connection.name) as api:
        resources = {
            resource.name: _told(sync_resource(api, connection, resource.name, location=location, mode=mode))
            for resource in connection.resources
        }
    modules = [name for name in sys.modules if name.partition(".")[0] == "dlt"]
    return {"began": began, "resources": resources, "modules": modules}


def _told(result: "SyncResult") -> dict[str, Any]:
    words = ("verified", "rows", "new", "changed", "deleted", "restored", "requests", "seconds")
    return {word: getattr(result, word) for word in words}


if __name__ == "__main__":
    with brief_process():
        print(orjson.dumps(main(sys.argv[1])).decode())  # type: ignore[arg-type]
