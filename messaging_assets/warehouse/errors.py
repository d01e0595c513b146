"""What can go wrong with the warehouse. The base of all errors stands in `messaging_assets.api.errors`."""

from messaging_assets.api.errors import MessagingError


class WarehouseError(MessagingError):
    """The DuckDB file did not do what was asked of it."""


class WarehouseBusyError(WarehouseError):
    """Another process holds the DuckDB file, or another sync of the connection runs, for too long."""


class WarehouseMissingError(WarehouseError):
    """There is no DuckDB file yet: nothing was synced."""


class WarehouseUnusableError(WarehouseError):
    """The file can't be used at all: it is no DuckDB file, it is damaged, or it can't be written."""


class WarehouseDamagedError(WarehouseUnusableError):
    """The file, or the log beside it, is damaged. It is left as it is, so that it can be looked at."""


class StagingError(WarehouseError):
    """dlt could not load the changed rows into the staging schema."""
