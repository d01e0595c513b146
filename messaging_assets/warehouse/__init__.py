"""The DuckDB file: opening and locking it, loading rows, marking deletions, the ledger.

It knows nothing of Dagster. `sync.sync_resource` is the way in.
"""
