"""The messaging API: configuration, authorisation, transport, paging, and the source for dlt.

Imports dlt, never Dagster. The guide's code runs with the import changed to
`from messaging_assets.api import rest_api_source`. Its modules are imported when they are used, since
the definitions need but a few of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from messaging_assets.api.source import Api, rest_api_source

__all__ = ["Api", "rest_api_source"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from messaging_assets.api import source

    return getattr(source, name)
