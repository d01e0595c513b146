"""A Dagster platform that syncs a messaging API into DuckDB, completely and provably.

Importing the package has no effect. `messaging_assets.definitions` holds the Dagster definitions,
`messaging_assets.api` the source for dlt.
"""
