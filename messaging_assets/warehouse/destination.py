"""dlt's DuckDB destination for one file, without what costs dlt time and a file does not need.

What is loaded by it belongs to `staging`.
"""

import dlt
import duckdb
from dlt.common.configuration import configspec
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.normalizers.naming import NamingConvention
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration, DuckDbCredentials

from messaging_assets.warehouse.database import CATALOG


@configspec(init=False)
class _FileCredentials(DuckDbCredentials):
    """The file. To read and print it as a URL, dlt imports SQLAlchemy, which takes a tenth of a second."""

    def __str__(self) -> str:
        """The path."""
        return str(self.database)


@configspec(init=False)
class _FileConfiguration(DuckDbClientConfiguration):
    credentials: _FileCredentials = None  # type: ignore[assignment]  # resolved later, as dlt declares it


class DuckDbFile(dlt.destinations.duckdb):
    """A DuckDB file as a destination.

    Args:
        file: The open file (`database.open_database`). By itself dlt would open and close it several times
            in a load.
    """

    spec = _FileConfiguration

    def __init__(self, file: duckdb.DuckDBPyConnection) -> None:
        # Each session of dlt's begins where a new connection does, and that is not in the file.
        credentials = _FileCredentials(file, pragmas=[f"search_path = '{CATALOG}.main'"])
        # By itself dlt opens transactions only around some statements: a killed load leaves half of them.
        super().__init__(credentials, destination_name="duckdb", supports_transactions=True)

    def capabilities(
        self, config: DuckDbClientConfiguration | None = None, naming: NamingConvention | None = None
    ) -> DestinationCapabilitiesContext:
        """What DuckDB can do. It depends on no settings, which dlt would look up forty times in a load."""
        return super().capabilities(config or self.spec(), naming)
