"""What is asked of every table after a sync, how bad a no is, and what to do about it.

The checks of an asset are evaluated by the op that materialises it: they exist whenever the asset
does, and a sync stays one step per resource. The facts come from the sync's result and from
`messaging_assets.warehouse.quality`; only judging belongs here.

`complete`, `id_unique` and `id_not_null` block what depends on the asset. The others never do, and
never fail a run.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, MetadataValue

from messaging_assets.api.connection import Connection, Freshness, Resource
from messaging_assets.api.proof import is_proof
from messaging_assets.orchestration.metadata import api_total
from messaging_assets.orchestration.names import MESSAGES, raw_key
from messaging_assets.warehouse.quality import CreationFacts, Offending, TableFacts
from messaging_assets.warehouse.sync import SyncResult

DESCRIPTIONS = {
    "complete": (
        "Every row that the API had during the sync is in the table. Fails when the sync could not prove it, "
        "or held back deletions because too many rows would vanish or records came without an id. Records "
        "that can't be stored are a matter of `records_stored`. To do: read the reason; run the reconcile "
        "job; if the deletions are real, run `messaging sync --accept-deletions` once."
    ),
    "records_stored": (
        "Every record that the API sent can be stored. One that can't (without an id, or with a created_at "
        "that is no point in time) is kept aside in `_rejected_records`, with the reason, and the others are "
        "stored. To do: read the reasons there, and have the records mended at the source; the next sync "
        "tries them again."
    ),
    "id_unique": (
        "No two rows have the same primary key. To do: run the reconcile job; if it stays, check "
        "`primary_key` in the connection file against what the API really promises."
    ),
    "id_not_null": (
        "Every row has its primary key. To do: check `primary_key` in the connection file against the "
        "records that the API sends."
    ),
    "created_at_valid": (
        "created_at is there and not in the future. To do: look at the rows named in the metadata, compare "
        "the clock of this host with the API's, and tell whoever runs the API."
    ),
    "columns_stable": (
        "No column vanished or changed its type since the sync before. To do: see whether the API changed on "
        "purpose, then adapt what reads the column."
    ),
    "data_fresh": (
        "The newest message is young enough (limits: `freshness.data_warn_after_hours` and "
        "`data_fail_after_hours` in the connection file). Old data can be right data, so nothing is stopped. "
        "To do: see whether the workspace is quiet or the API stopped delivering."
    ),
}

#: A no to one of these stops what depends on the asset.
BLOCKING = frozenset({"complete", "id_unique", "id_not_null"})


def check_names(resource: Resource) -> tuple[str, ...]:
    """The checks of a resource: of messages their age, of a table that is appended to no unique keys."""
    left_out = {"data_fresh"} if resource.table != MESSAGES else set()
    if resource.write_disposition == "append":
        left_out.add("id_unique")
    return tuple(name for name in DESCRIPTIONS if name not in left_out)


def check_specs(connection: Connection, resource: Resource) -> list[AssetCheckSpec]:
    """The checks that the materialisation of a resource evaluates."""
    return [
        AssetCheckSpec(
            name=name,
            asset=raw_key(connection.name, resource.table),
            description=DESCRIPTIONS[name],
            blocking=name in BLOCKING,
        )
        for name in check_names(resource)
    ]


def check_results(
    connection: Connection, resource: Resource, result: SyncResult, facts: TableFacts
) -> list[AssetCheckResult]:
    """Judge a table after its sync.

    Args:
        connection: The connection, which has the limits.
        resource: The resource that was synced.
        result: What the sync did.
        facts: What the table looks like now.

    Returns:
        One result for each check of the resource, in the order of their specifications.
    """
    results = [
        complete(result),
        records_stored(result),
        id_unique(facts.duplicates),
        id_not_null(facts.without_key),
        created_at_valid(facts.creation),
        columns_stable(result.column_changes),
        data_fresh(facts.creation, connection.freshness, datetime.now(UTC)),
    ]
    asked = check_names(resource)
    return [result for result in results if result.check_name in asked]


def complete(result: SyncResult) -> AssetCheckResult:
    """Is every row in the table that the API had?"""
    metadata = _account(result)
    if not is_proof(result.verified):
        return failed("complete", f"not proved: {result.reason}", AssetCheckSeverity.ERROR, metadata)
    lost = result.seen - result.rows - result.rejected
    if lost > 0:
        told = f"{lost} rows that the API returned are neither in the table nor among the rejected records"
        return failed("complete", told, AssetCheckSeverity.ERROR, metadata)
    if result.deletions_withheld:
        told = (
            f"{result.deletions_withheld} rows were not seen; {result.reason}. To do: if they are really "
            "gone, run `messaging sync --accept-deletions` once, or launch the job with the configuration "
            "`accept_deletions: true` of the op; records without an id have to be mended "
            "at the source first"
        )
        return failed("complete", told, AssetCheckSeverity.ERROR, metadata)
    return passed("complete", f"proved ({result.verified}): {result.reason}", metadata)


def records_stored(result: SyncResult) -> AssetCheckResult:
    """Could every record be stored that the API sent?

    It is no part of `complete`, since Dagster's automation waits for blocking checks that only warn, too:
    one record that can't be stored would hold back the analytics for as long as the source keeps it.
    """
    counted = {"rejected": MetadataValue.int(result.rejected)}
    if not result.rejected:
        return passed("records_stored", "every record was stored", counted)
    told = f"{result.rejected} records could not be stored and are in {result.connection}._rejected_records"
    return failed("records_stored", told, AssetCheckSeverity.WARN, counted)


def _account(result: SyncResult) -> dict[str, MetadataValue]:
    """What it takes to believe the check: the source and the table side by side, and what was mended."""
    counts = {
        "rows_in_table": result.rows,
        "rows_seen": result.seen,
        "rows_deleted": result.deleted,
        "deletions_withheld": result.deletions_withheld,
        "rejected": result.rejected,
        "drift_repaired": result.drift_repaired,
    }
    return {
        "verified": MetadataValue.text(result.verified),
        "reason": MetadataValue.text(result.reason),
        "api_total": api_total(result.api_total),
        **{name: MetadataValue.int(count) for name, count in counts.items()},
    }


def id_unique(duplicates: Offending) -> AssetCheckResult:
    """Does every primary key stand once?"""
    metadata = offending("duplicates", duplicates)
    if not duplicates.count:
        return passed("id_unique", "every key stands once", metadata)
    told = f"{duplicates.count} keys stand more than once"
    return failed("id_unique", told, AssetCheckSeverity.ERROR, metadata)


def id_not_null(without_key: int) -> AssetCheckResult:
    """Does every row have its primary key?"""
    counted = {"without_key": MetadataValue.int(without_key)}
    if not without_key:
        return passed("id_not_null", "every row has its key", counted)
    return failed("id_not_null", f"{without_key} rows have no key", AssetCheckSeverity.ERROR, counted)


def created_at_valid(creation: CreationFacts | None) -> AssetCheckResult:
    """Was every row created at a point in time, and not in the future?"""
    if creation is None:
        return passed("created_at_valid", "the table has no created_at")
    missing, in_future = creation.missing, creation.in_future
    metadata = {**offending("without_created_at", missing), **offending("in_future", in_future)}
    if not missing.count and not in_future.count:
        return passed("created_at_valid", "every created_at is there and in the past", metadata)
    told = f"{missing.count} rows without created_at, {in_future.count} from the future"
    severity = AssetCheckSeverity.ERROR if missing.count else AssetCheckSeverity.WARN
    return failed("created_at_valid", told, severity, metadata)


def columns_stable(changes: Sequence[str]) -> AssetCheckResult:
    """Are the columns still those of the sync before?"""
    counted = {"columns_changed": MetadataValue.int(len(changes))}
    if not changes:
        return passed("columns_stable", "no column vanished or changed its type", counted)
    metadata = {**counted, "changes": MetadataValue.md("\n".join(f"- {change}" for change in changes))}
    return failed("columns_stable", "; ".join(changes), AssetCheckSeverity.WARN, metadata)


def data_fresh(creation: CreationFacts | None, limits: Freshness, now: datetime) -> AssetCheckResult:
    """Is the newest row young enough?"""
    newest = creation.newest if creation else None
    if newest is None:
        return failed("data_fresh", "there is no row with a created_at yet", AssetCheckSeverity.WARN)
    age = max(now - newest, timedelta(0))
    metadata = {
        "newest": MetadataValue.timestamp(newest),
        "age_hours": MetadataValue.float(round(age / timedelta(hours=1), 2)),
    }
    told = f"the newest row is {_in_words(age)} old"
    if age > timedelta(hours=limits.data_fail_after_hours):
        told = f"{told}, the limit is {limits.data_fail_after_hours:g} hours"
        return failed("data_fresh", told, AssetCheckSeverity.ERROR, metadata)
    if age > timedelta(hours=limits.data_warn_after_hours):
        told = f"{told}, more than {limits.data_warn_after_hours:g} hours"
        return failed("data_fresh", told, AssetCheckSeverity.WARN, metadata)
    return passed("data_fresh", told, metadata)


def blocking_failures(results: Sequence[AssetCheckResult], blocking: frozenset[str] = BLOCKING) -> list[str]:
    """What stops whatever depends on the asset, in words."""
    return [
        f"{result.check_name}: {result.description}"
        for result in results
        if not result.passed and result.severity == AssetCheckSeverity.ERROR and result.check_name in blocking
    ]


def passed(name: str, told: str, metadata: Mapping[str, MetadataValue] | None = None) -> AssetCheckResult:
    """A yes."""
    return AssetCheckResult(passed=True, check_name=name, description=told, metadata=metadata)


def failed(
    name: str, told: str, severity: AssetCheckSeverity, metadata: Mapping[str, MetadataValue] | None = None
) -> AssetCheckResult:
    """A no, with how bad it is."""
    return AssetCheckResult(
        passed=False, check_name=name, description=told, severity=severity, metadata=metadata
    )


def offending(name: str, rows: Offending) -> dict[str, MetadataValue]:
    """How many rows break a rule, and the keys of the first few."""
    return {
        name: MetadataValue.int(rows.count),
        f"{name}_examples": MetadataValue.text(", ".join(rows.examples) or "none"),
    }


def _in_words(age: timedelta) -> str:
    minutes = int(age / timedelta(minutes=1))
    if minutes < 120:
        return f"{minutes} minutes"
    hours = minutes // 60
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"
