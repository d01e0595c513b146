"""The Dagster code location: what workspace.yaml names.

It reads the connection files and nothing else. What a connection means to Dagster stands in
`messaging_assets.orchestration`, one module per concept.
"""

from messaging_assets.api.connection import read_connections
from messaging_assets.orchestration.build import build_definitions

defs = build_definitions(read_connections())
