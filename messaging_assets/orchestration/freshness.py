"""How old an asset may become: the policy on the time since its last materialisation.

Dagster's daemon evaluates it, also when nothing runs any more. The age of the data itself is a
check, since old data can be right data: see `checks`.
"""

from datetime import timedelta

from dagster import FreshnessPolicy

from messaging_assets.api.connection import Connection


def freshness_policy(connection: Connection) -> FreshnessPolicy:
    """Warn, and then fail, when the last materialisation is longer ago than the connection allows."""
    limits = connection.freshness
    return FreshnessPolicy.time_window(
        fail_window=timedelta(hours=limits.fail_after_hours),
        warn_window=timedelta(hours=limits.warn_after_hours),
    )
