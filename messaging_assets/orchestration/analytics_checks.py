"""What is asked of the analytics after a refresh, how bad a no is, and what to do about it.

The op that refreshes a model evaluates its checks, also where it skipped the model. The facts come from
`messaging_assets.warehouse.analytics.quality`; only judging belongs here. What is asked of the tables of
a sync stands in `checks`.

`grain_unique` blocks what depends on the model. The others never do, and never fail a run.
"""

from datetime import datetime

import duckdb
from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, MetadataValue

from messaging_assets.api.connection import Connection
from messaging_assets.orchestration.checks import failed, offending, passed
from messaging_assets.orchestration.names import analytics_key
from messaging_assets.warehouse.analytics.model import Model
from messaging_assets.warehouse.analytics.quality import (
    FEWEST_WEEKS,
    References,
    Volume,
    grain_duplicates,
    unknown_references,
    volume,
)
from messaging_assets.warehouse.analytics.refresh import RefreshResult
from messaging_assets.warehouse.quality import EXAMPLES, Offending

COLUMNS_FOUND = "columns_found"

DESCRIPTIONS = {
    COLUMNS_FOUND: (
        "The tables have every column that the model reads. A model that lacks one is skipped: it is not "
        "materialised, its table stays as it was, and the other models are refreshed. To do: read which "
        "column is missing; if it is called something else, name it in the connection file under "
        "`analytics.columns`; if the API has no such thing, this model can't be had."
    ),
    "grain_unique": (
        "Each combination of the columns of the model's grain stands once. To do: see whether `id_unique` of "
        "the tables passes and run the reconcile job; if it passes, the model's SQL joins or groups wrongly."
    ),
    "channels_known": (
        "Every living message stands in a channel that the API lists. Messages of unknown channels are kept, "
        "under the name `unknown`. To do: see whether the client may list all channels (private and archived "
        "ones too), and whether `analytics.columns.messages.channel_id` names the right column."
    ),
    "users_known": (
        "Every living message was written by a user whom the API lists. Messages of unknown users are kept, "
        "under the name `unknown`. To do: see whether the API leaves out bots or users who left, and whether "
        "`analytics.columns.messages.user_id` names the right column."
    ),
    "volume_usual": (
        "As many messages were written on the last whole day as is usual on its weekday, by the weeks "
        "before. To do: if it was no holiday and no event, see whether the API delivers everything, and run "
        "the reconcile job."
    ),
}

#: A no to one of these stops what depends on the model.
BLOCKING = frozenset({"grain_unique"})

#: What is asked about the data as a whole, by the model whose refresh asks it.
ABOUT_ALL = {
    "messages_enriched": ("channels_known", "users_known"),
    "daily_workspace_activity": ("volume_usual",),
}


def model_check_specs(connection: Connection, model: Model) -> list[AssetCheckSpec]:
    """The checks that the refresh of a model evaluates."""
    return [
        AssetCheckSpec(
            name=name,
            asset=analytics_key(connection.name, model.name),
            description=DESCRIPTIONS[name],
            blocking=name in BLOCKING,
        )
        for name in (COLUMNS_FOUND, "grain_unique", *ABOUT_ALL.get(model.name, ()))
    ]


def model_check_results(
    database: duckdb.DuckDBPyConnection,
    connection: Connection,
    model: Model,
    result: RefreshResult,
    *,
    now: datetime,
) -> list[AssetCheckResult]:
    """Judge a model after its refresh.

    Args:
        database: The open database; it is only read.
        connection: The connection.
        model: The model.
        result: What the refresh did.
        now: The time, which decides which day is the last whole one.

    Returns:
        One result for each check of the model, in the order of their specifications.
    """
    results = [
        columns_found(result.skipped),
        grain_unique(grain_duplicates(database, connection, model), model.grain),
    ]
    asked = ABOUT_ALL.get(model.name, ())
    if "channels_known" in asked:
        results.extend(map(references_known, unknown_references(database, connection)))
    if "volume_usual" in asked:
        results.append(volume_usual(volume(database, connection, now=now)))
    return results


def columns_found(skipped: str | None) -> AssetCheckResult:
    """Is every column there that the model reads?"""
    # As a number, so that the UI plots when it was skipped.
    metadata = {"skipped": MetadataValue.int(int(skipped is not None))}
    if skipped is None:
        return passed(COLUMNS_FOUND, "every column that the model reads is there", metadata)
    return failed(COLUMNS_FOUND, f"the model is skipped: {skipped}", AssetCheckSeverity.WARN, metadata)


def grain_unique(duplicates: Offending, grain: tuple[str, ...]) -> AssetCheckResult:
    """Does each combination of the grain stand once?"""
    of = ", ".join(grain)
    metadata = {"grain": MetadataValue.text(of), **offending("duplicates", duplicates)}
    if not duplicates.count:
        return passed("grain_unique", f"each combination of {of} stands once", metadata)
    told = f"{duplicates.count} combinations of {of} stand more than once"
    return failed("grain_unique", told, AssetCheckSeverity.ERROR, metadata)


def references_known(found: References) -> AssetCheckResult:
    """Is every channel (or user) of a message known?"""
    name = f"{found.table}_known"
    if found.skipped is not None:
        return passed(name, f"nothing can be said: {found.skipped}")
    metadata = {
        "messages_affected": MetadataValue.int(found.messages),
        "messages_without_id": MetadataValue.int(found.without),
        **offending(f"unknown_{found.table}", Offending(found.unknown, found.ids[:EXAMPLES])),
    }
    if not found.unknown:
        return passed(name, f"{found.table} has a row for whatever a message names", metadata)
    told = f"{found.messages} messages name {found.unknown} {found.table} that are not in {found.table}"
    return failed(name, told, AssetCheckSeverity.WARN, metadata)


def volume_usual(found: Volume) -> AssetCheckResult:
    """Is the number of messages of the last whole day a usual one?"""
    if found.skipped is not None:
        return passed("volume_usual", f"nothing can be said: {found.skipped}")
    metadata: dict[str, MetadataValue] = {
        "day": MetadataValue.text(f"{found.day:%A, %Y-%m-%d}"),
        "messages": MetadataValue.int(found.messages),
        "weeks_compared": MetadataValue.int(len(found.history)),
    }
    told = f"{found.messages} messages on {found.day:%A, %Y-%m-%d}"
    if found.usual is None:
        few = f"{len(found.history)} such days before, fewer than {FEWEST_WEEKS}, so nothing is usual yet"
        return passed("volume_usual", f"{told}; {few}", metadata)
    lowest, highest = found.usual
    metadata |= {"usual_lowest": MetadataValue.int(lowest), "usual_highest": MetadataValue.int(highest)}
    told = f"{told}; {lowest} to {highest} are usual on that weekday"
    if found.is_usual:
        return passed("volume_usual", told, metadata)
    return failed("volume_usual", told, AssetCheckSeverity.WARN, metadata)
