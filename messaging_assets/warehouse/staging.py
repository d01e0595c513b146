"""Staging: dlt loads the changed rows into `<connection>_staging`, from where they are published.

One pipeline per resource, with a stable name, in a folder of its own beside the warehouse that is gone
afterwards: nothing that dlt leaves behind holds message content, and no pending package of a crashed run
is ever loaded. What is staged becomes visible only by `publish`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract.source import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.pipeline import Pipeline

from messaging_assets.api.settings import register_defaults
from messaging_assets.warehouse.database import is_locked
from messaging_assets.warehouse.errors import StagingError, WarehouseBusyError
from messaging_assets.warehouse.location import fresh_folder, owner_only_files
from messaging_assets.warehouse.spool import Spool

# Loads a source by a pipeline. A caller with a dlt integration of its own passes it in.
Stage = Callable[[DltSource, Pipeline], None]


def staging_schema(connection: str) -> str:
    """The schema that holds rows between dlt's load and their publication."""
    return f"{connection}_staging"


def stage_with_dlt(source: DltSource, pipeline: Pipeline) -> None:
    """Loads by dlt itself."""
    pipeline.run(source).raise_on_failed_jobs()


def stage_rows(
    spool: Spool, *, connection: str, table: str, database: Path, folder: Path, stage: Stage
) -> None:
    """Loads the spool's rows into the staging table, replacing what is there.

    Args:
        spool: The rows.
        connection: The connection, which names the schema and the pipeline.
        table: The table's name, the same in staging.
        database: The DuckDB file.
        folder: Where dlt may work; emptied before and after.
        stage: What runs the pipeline.

    Raises:
        StagingError: dlt could not load them.
        WarehouseBusyError: Another process holds the file.
    """
    register_defaults()
    with fresh_folder(folder), owner_only_files():
        pipeline = dlt.pipeline(
            pipeline_name=f"{connection}_{table}",
            pipelines_dir=str(folder),
            destination=dlt.destinations.duckdb(str(database), supports_transactions=True),
            dataset_name=staging_schema(connection),
        )
        try:
            stage(_source(spool, connection, table), pipeline)
        except PipelineStepFailed as failure:
            raise _explained(failure, connection, table, database) from None


def _source(spool: Spool, connection: str, table: str) -> DltSource:
    def rows() -> Iterator[pa.Table]:
        yield from spool.tables()

    resource = dlt.resource(rows, name=table, write_disposition="replace", file_format="parquet")

    @dlt.source(name=connection, max_table_nesting=0)
    def changed_rows() -> Any:
        return resource

    source: DltSource = changed_rows()
    return source


def _explained(
    failure: PipelineStepFailed, connection: str, table: str, database: Path
) -> StagingError | WarehouseBusyError:
    if is_locked(failure):
        return WarehouseBusyError(
            "another process took the DuckDB file while rows were loaded",
            where=str(database),
            remedy="close it there and sync again",
        )
    cause = type(failure.exception).__name__
    return StagingError(
        f"dlt could not load the changed rows of {table} ({failure.step}: {cause}); "
        "the table is as it was before",
        where=f"{staging_schema(connection)}.{table}",
        remedy="check the free disk space and sync again",
    )
