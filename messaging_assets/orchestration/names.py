"""The names of Dagster's objects, each derived from the name of a connection.

Only names belong here, so that every module and every later asset spells them the same way.
"""

from dagster import AssetKey

#: Tag on assets, jobs and runs: the connection they belong to.
CONNECTION_TAG = "messaging/connection"

#: Tag on jobs and runs: sync or reconcile.
MODE_TAG = "messaging/mode"

#: The resource whose newest row and whose changes stand for the workspace as a whole.
MESSAGES = "messages"

#: The page that is made of everything else.
REPORT = "report"


def raw_key(connection: str, table: str) -> AssetKey:
    """The key of the asset that is the warehouse's table of a resource."""
    return AssetKey([connection, table])


def api_key(connection: str, table: str) -> AssetKey:
    """The key of the external asset that is the API's side of a resource."""
    return AssetKey([connection, "api", table])


def analytics_key(connection: str, name: str) -> AssetKey:
    """The key of a model of the analytics, or of what is made of them."""
    return AssetKey([connection, "analytics", name])


def raw_group(connection: str) -> str:
    """The group of the tables of a connection."""
    return connection


def api_group(connection: str) -> str:
    """The group of the API's side of a connection."""
    return f"{connection}_api"


def analytics_group(connection: str) -> str:
    """The group of the analytics of a connection."""
    return f"{connection}_analytics"


def op_name(connection: str, table: str) -> str:
    """The name of the op that materialises a resource, which run configuration names."""
    return raw_key(connection, table).to_python_identifier()


def analytics_op_name(connection: str, name: str) -> str:
    """The name of the op that materialises a part of the analytics."""
    return analytics_key(connection, name).to_python_identifier()


def sync_job_name(connection: str) -> str:
    """The job that brings a connection's tables up to date, often."""
    return f"{connection}_sync"


def reconcile_job_name(connection: str) -> str:
    """The job that reads everything and compares it."""
    return f"{connection}_reconcile"


def schedule_name(job: str) -> str:
    """The schedule of a job."""
    return f"{job}_schedule"


def sensor_name(connection: str) -> str:
    """The sensor that looks for new messages."""
    return f"{connection}_new_messages"


def automation_sensor_name(connection: str) -> str:
    """The sensor that lets the analytics follow the tables."""
    return f"{connection}_analytics_follow"
