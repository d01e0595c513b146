"""dlt's DuckDB destination for one open database, without what costs dlt time and that does not need.

What is loaded by it belongs to `staging`.
"""

import dlt
import duckdb
from dlt.common.configuration import configspec
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.normalizers.naming import NamingConvention
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration, DuckDbCredentials


@configspec(init=False)
class _OpenCredentials(DuckDbCredentials):
    """The session. To read and print it as a URL, dlt imports SQLAlchemy, which takes a tenth of a second."""

    def __str__(self) -> str:
        """The name that dlt has for it."""
        return str(self.database)


@configspec(init=False)
class _OpenConfiguration(DuckDbClientConfiguration):
    credentials: _OpenCredentials = None  # type: ignore[assignment]  # resolved later, as dlt declares it


class OpenDuckDb(dlt.destinations.duckdb):
    """An open database as a destination. By itself dlt would open and close a file several times in a load.

    Args:
        session: The connection that has it open.
        catalog: The database's name there.
    """

    spec = _OpenConfiguration

    def __init__(self, session: duckdb.DuckDBPyConnection, catalog: str) -> None:
        # Each session of dlt's begins where a new connection does, and that is not in this database.
        credentials = _OpenCredentials(session, pragmas=[f"search_path = '{catalog}.main'"])
        # By itself dlt opens transactions only around some statements: a killed load leaves half of them.
        super().__init__(credentials, destination_name="duckdb", supports_transactions=True)

    def capabilities(
        self, config: DuckDbClientConfiguration | None = None, naming: NamingConvention | None = None
    ) -> DestinationCapabilitiesContext:
        """What DuckDB can do. It depends on no settings, which dlt would look up forty times in a load."""
        return super().capabilities(config or self.spec(), naming)
