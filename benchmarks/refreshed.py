"""The refresh of the analytics, without Dagster. Run by `scenarios` as a whole process."""

import time
from typing import Any

import orjson

from messaging_assets.api.connection import read_connections
from messaging_assets.api.settings import warehouse_database
from messaging_assets.warehouse.analytics.refresh import refresh_models


def main() -> dict[str, Any]:
    """Refreshes every model of the connection `messaging`.

    Returns:
        When it began, after the imports, and the rows written by model.
    """
    began = time.monotonic()
    connection = next(found for found in read_connections() if found.name == "messaging")
    results = refresh_models(warehouse_database(connection.name, sandbox=False), connection)
    return {"began": began, "written": {result.model: result.written for result in results}}


if __name__ == "__main__":
    print(orjson.dumps(main()).decode())
