"""Staging: dlt loads the changed rows into `<connection>_staging`, from where they are published.

That is in a database in memory, beside the file for as long as the file is open; what does not fit there is
spilled to the disk. To write the rows into the file twice and to remove them again takes a first load half as
long again and twice the space.

One pipeline per resource, with a stable name, in a folder of its own beside the warehouse that is gone
afterwards: nothing that dlt leaves behind holds message content, and no pending package of a crashed run
is ever loaded. What is staged becomes visible only by `publish`.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.common.exceptions import DltException
from dlt.extract.source import DltSource
from dlt.pipeline.pipeline import Pipeline

from messaging_assets.api.errors import MessagingError
from messaging_assets.api.settings import STAGING_SECTION, register_defaults
from messaging_assets.warehouse.database import STAGING_CATALOG, disk_trouble, explained
from messaging_assets.warehouse.destination import OpenDuckDb
from messaging_assets.warehouse.errors import StagingError
from messaging_assets.warehouse.failures import causes, own_cause
from messaging_assets.warehouse.location import WarehouseLocation, fresh_folder, owner_only_files
from messaging_assets.warehouse.memory import is_out_of_memory
from messaging_assets.warehouse.spool import Spool
from messaging_assets.warehouse.sql import qualified

# Loads a source by a pipeline. A caller with a dlt integration of its own passes it in.
Stage = Callable[[DltSource, Pipeline], None]


def staging_schema(connection: str) -> str:
    """The schema that holds rows between dlt's load and their publication."""
    return f"{connection}_staging"


def staged_table(connection: str, table: str) -> str:
    """The qualified name, quoted, of the table that holds the staged rows of a table."""
    return qualified(STAGING_CATALOG, staging_schema(connection), table)


def attach_staging(database: duckdb.DuckDBPyConnection) -> None:
    """Opens an empty database for staging beside the file. It is gone when the file is closed."""
    database.execute(f"ATTACH ':memory:' AS {STAGING_CATALOG}")


def stage_with_dlt(source: DltSource, pipeline: Pipeline) -> None:
    """Loads by dlt itself."""
    pipeline.run(source).raise_on_failed_jobs()


def stage_rows(
    database: duckdb.DuckDBPyConnection,
    spool: Spool,
    *,
    connection: str,
    table: str,
    location: WarehouseLocation,
    stage: Stage,
) -> None:
    """Loads the spool's rows into a staging table, which is there until the file is closed.

    Args:
        database: The open database, in which nothing is staged yet.
        spool: The rows.
        connection: The connection, which names the schema and the pipeline.
        table: The table's name, the same in staging.
        location: The warehouse.
        stage: What runs the pipeline.

    Raises:
        StagingError: dlt could not load them.
        WarehouseUnusableError: The disk is full, for example.
        DltException: DuckDB may not take as much memory as it needs (`memory.with_enough_memory`).
    """
    register_defaults()
    attach_staging(database)
    with (
        owner_only_files(),
        fresh_folder(location.pipelines(connection, table)) as folder,
        # dlt sets what it needs for its session, which is none of the caller's.
        closing(database.cursor()) as session,
    ):
        pipeline = dlt.pipeline(
            pipeline_name=f"{connection}_{table}",
            pipelines_dir=str(folder),
            destination=OpenDuckDb(session, STAGING_CATALOG),
            dataset_name=staging_schema(connection),
        )
        try:
            stage(_source(spool, connection, table), pipeline)
        except DltException as failure:
            if is_out_of_memory(failure):
                raise
            raise _explained(failure, connection, table, location.database) from None


def _source(spool: Spool, connection: str, table: str) -> DltSource:
    def rows() -> Iterator[Any]:
        for part in spool.files():
            columns = pq.read_schema(part.path).empty_table()
            yield dlt.mark.with_file_import(str(part.path), "parquet", part.rows, hints=columns)
        # Arrow keeps what it has freed for itself, and it is DuckDB's turn, which allocates by itself.
        pa.default_memory_pool().release_unused()

    resource = dlt.resource(rows, name=table, write_disposition="replace", file_format="parquet")

    @dlt.source(name=connection, section=STAGING_SECTION, max_table_nesting=0)
    def changed_rows() -> Any:
        return resource

    source: DltSource = changed_rows()
    return source


def _explained(failure: DltException, connection: str, table: str, database: Path) -> MessagingError:
    refused = next((cause for cause in causes(failure) if isinstance(cause, duckdb.Error)), None)
    known = own_cause(failure) or disk_trouble(str(failure), database)
    if known is not None:
        return known
    if refused is not None:
        return explained(refused, database)
    kinds = " <- ".join(dict.fromkeys(type(cause).__name__ for cause in causes(failure)))
    return StagingError(
        f"dlt could not load the changed rows of {table} ({kinds}); the table is as it was before",
        where=f"{staging_schema(connection)}.{table}",
        remedy="check the free disk space and sync again",
    )
