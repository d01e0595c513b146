"""Plain dlt with the guide's configuration, in dlt's own words. Run by `scenarios` as a whole process.

The guide's `auth.type: oauth2` with `token_url` and its `error_handler` are rejected by dlt: the first is
translated, the second left out.
"""

import sys
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_source


def main(url: str, client_id: str, client_secret: str, file: str, file_format: str) -> None:
    """Loads users, channels and messages into a DuckDB file."""
    config: Any = {
        "client": {
            "base_url": url,
            "auth": {
                "type": "oauth2_client_credentials",
                "access_token_url": f"{url}/oauth/token",
                "client_id": client_id,
                "client_secret": client_secret,
            },
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
        "resources": [
            {
                "name": name,
                "endpoint": {
                    "path": f"/v1/{name}",
                    "data_selector": "data",
                    "paginator": {"type": "offset", "limit": 100},
                },
            }
            for name in ("users", "channels", "messages")
        ],
    }
    # Not `messaging`, which the file's own name would make ambiguous.
    pipeline = dlt.pipeline("messaging", destination=dlt.destinations.duckdb(file), dataset_name="chat")
    source = rest_api_source(config)
    if file_format == "parquet":
        pipeline.run(source, loader_file_format="parquet")
    else:
        pipeline.run(source)


if __name__ == "__main__":
    main(*sys.argv[1:])
