"""A connection: one workspace of one messaging API, as its file describes it.

Reads and checks connection files and gives them as plain data. Addresses and secrets are not known here:
`settings` fills them in. No network, no configuration lookup besides the folder, nothing of Dagster.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from dlt.extract.resource import DltResource

from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import ConfigurationError
from messaging_assets.api.mistakes import Findings, Mistake
from messaging_assets.api.rules import endpoint_of, table_name
from messaging_assets.api.settings import connections_folder
from messaging_assets.api.vocabulary import (
    WRITE_DISPOSITIONS,
    mistakes_in,
)
from messaging_assets.api.yaml_file import read_yaml

GuideDict = dict[str, Any]
WriteDisposition = Literal["merge", "append", "replace"]

NAME = re.compile(r"[a-z][a-z0-9_]*")
SUFFIXES = (".yaml", ".yml")
TAKEN_SCHEMAS = ("information_schema", "main", "pg_catalog", "system", "temp")
SIDE_SCHEMAS = ("_analytics", "_staging")
WITHOUT_EFFECT = (
    "file_format",
    "max_table_nesting",
    "merge_key",
    "nested_hints",
    "parallelized",
    "references",
    "schema_contract",
    "table_format",
    "table_name",
)


@dataclass(frozen=True)
class Schedule:
    """When a job runs."""

    cron: str
    timezone: str = "UTC"
    enabled: bool = True


@dataclass(frozen=True)
class Schedules:
    """When the two jobs of a connection run."""

    sync: Schedule = Schedule("*/15 * * * *")
    reconcile: Schedule = Schedule("30 3 * * *")


@dataclass(frozen=True)
class Sensor:
    """How often the API is asked whether something is new."""

    interval_seconds: int = 60
    enabled: bool = True


@dataclass(frozen=True)
class Freshness:
    """From when on data counts as old.

    The first pair is the time since the last materialisation, the second the age of the newest message.
    """

    warn_after_hours: float = 2.0
    fail_after_hours: float = 6.0
    data_warn_after_hours: float = 24.0
    data_fail_after_hours: float = 72.0


@dataclass(frozen=True)
class Analytics:
    """How the analytics read the tables.

    Args:
        time_zone: The time zone in which days, hours and weeks are counted.
        columns: The column of the warehouse for each word of the analytics, by table; a word that is not
            there is the column's name.
    """

    time_zone: str = "UTC"
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def column(self, table: str, word: str) -> str:
        """The column of the warehouse for a word of the analytics."""
        return self.columns.get(table, {}).get(word, word)


@dataclass(frozen=True)
class Resource:
    """One resource of a connection.

    Args:
        name: Its name in the file.
        definition: What the file says about it, in the guide's words, without the defaults.
        endpoint: The effective endpoint, merged with the defaults, with its path.
        primary_key: The names of the key fields.
        write_disposition: How its rows are written.
        columns: The data types that the file gives, by column.
        description: For people.
        selected: False for a resource that only serves as a parent of another.
        paginator: The effective paginator: the endpoint's, else the client's, else None.
        error_handler: The effective `error_handler`: the nearest one counts as a whole,
            what it does not say is the guide's.
        instance: dlt's own resource, where Python code gives one instead of words.
    """

    name: str
    definition: Mapping[str, Any]
    endpoint: Mapping[str, Any]
    primary_key: tuple[str, ...] = ("id",)
    write_disposition: WriteDisposition = "merge"
    columns: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
    selected: bool = True
    paginator: Any = None
    error_handler: ErrorHandler = field(default_factory=ErrorHandler)
    instance: DltResource | None = None

    @property
    def table(self) -> str:
        """The name of its table: the resource's name in snake case."""
        return table_name(self.name)


@dataclass(frozen=True)
class Connection:
    """One workspace of one messaging API.

    Args:
        name: The name of its file, and so of its schema, jobs and settings.
        file: The file, None for a configuration from Python.
        client: The guide's `client`, without address and secrets.
        resource_defaults: The guide's `resource_defaults`.
        resources: Its resources, in the order of the file.
        notes: What the file says and this warehouse does not use, a sentence each.
    """

    name: str
    file: Path | None
    client: Mapping[str, Any]
    resource_defaults: Mapping[str, Any]
    resources: tuple[Resource, ...]
    description: str = ""
    owners: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    schedules: Schedules = Schedules()
    sensor: Sensor = Sensor()
    freshness: Freshness = Freshness()
    max_deleted_share: float = 0.1
    analytics: Analytics = field(default_factory=Analytics)
    notes: tuple[str, ...] = ()

    def resource(self, name: str) -> Resource:
        """The resource of this name.

        Raises:
            KeyError: There is none.
        """
        for resource in self.resources:
            if resource.name == name:
                return resource
        raise KeyError(name)

    def guide(self) -> GuideDict:
        """The guide's dictionary, as a copy: client, resource_defaults and resources."""
        return {
            "client": _copied(self.client),
            "resource_defaults": _copied(self.resource_defaults),
            "resources": [resource.instance or _copied(resource.definition) for resource in self.resources],
        }


def read_connections(folder: Path | None = None) -> tuple[Connection, ...]:
    """All connections of a folder, sorted by name.

    Args:
        folder: The folder; None for the configured one.

    Raises:
        ConfigurationError: With all mistakes of all files.
    """
    folder = connections_folder() if folder is None else folder
    files = _files(folder)
    mistakes = [
        *(f"{folder}: {mistake}" for mistake in _mistakes_in_folder(folder, files)),
        *(f"{file.name}: {mistake}" for file in files for mistake in _mistakes_in_names(file, files)),
    ]
    connections = []
    for file in files:
        try:
            connections.append(read_connection(file))
        except ConfigurationError as error:
            mistakes.extend(error.mistakes)
    if mistakes:
        raise ConfigurationError(_in_order_of_files(mistakes, files))
    return tuple(sorted(connections, key=lambda connection: connection.name))


def read_connection(file: Path) -> Connection:
    """The connection that a file describes.

    Raises:
        ConfigurationError: With all mistakes of the file.
    """
    found = Findings(python=False)
    if not NAME.fullmatch(file.stem):
        found.add((), _NAME_MISTAKE)
    elif file.stem in TAKEN_SCHEMAS:
        found.add((), f"`{file.stem}` is a schema of DuckDB itself; give the file another name")
    content = read_yaml(file, found)
    if content is not None:
        found.mistakes.extend(mistakes_in(content))
    _raise_for(found.mistakes, file.name)
    return _connection(file.stem, file, content)


def connection_from_dict(name: str, guide: Mapping[str, Any]) -> Connection:
    """The connection that a Python dictionary in the guide's words describes.

    Args:
        name: The name to give it; it is free.
        guide: The guide's dictionary. It is not changed. It may hold objects, functions and secrets.

    Raises:
        ConfigurationError: With all mistakes of the dictionary.
    """
    _raise_for(mistakes_in(guide, python=True), name)
    return _connection(name, None, guide)


_NAME_MISTAKE = (
    "the name of the file is the name of the connection: small letters, digits and `_`, a letter first, such"
    " as `messaging.yaml`"
)


def _raise_for(mistakes: Iterable[Mistake], where: str) -> None:
    name = where.partition(".")[0]
    listed = [
        f"{where}: {mistake}".replace("<connection>", name).replace("<CONNECTION>", name.upper())
        for mistake in mistakes
    ]
    if listed:
        raise ConfigurationError(listed) from None


# ---- the folder ----------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in found if not file.name.startswith(".") and file.is_file())


def _mistakes_in_folder(folder: Path, files: list[Path]) -> list[str]:
    if not folder.is_dir():
        return ["there is no such folder for connection files (dlt key `messaging.connections`)"]
    if not files:
        return ["there is no connection file in this folder; it needs at least one, such as messaging.yaml"]
    return []


def _mistakes_in_names(file: Path, files: list[Path]) -> list[str]:
    """What is wrong with a file's name beside the others."""
    mistakes = []
    others = {other.stem: other.name for other in files if other != file}
    if file.stem in others and file.suffix == ".yml":
        mistakes.append(f"describes the same connection as {others[file.stem]}")
    for suffix in SIDE_SCHEMAS:
        if file.stem.endswith(suffix) and file.stem.removesuffix(suffix) in others:
            owner = others[file.stem.removesuffix(suffix)]
            mistakes.append(
                f"the schema `{file.stem}` belongs to the connection of {owner}; rename this file"
            )
    return mistakes


def _in_order_of_files(mistakes: list[str], files: list[Path]) -> list[str]:
    """The mistakes of the folder first, then file by file; within a file they are ordered already."""
    names = [file.name for file in files]

    def rank(mistake: str) -> int:
        name = mistake.partition(": ")[0]
        return names.index(name) if name in names else -1

    return sorted(mistakes, key=rank)


# ---- from words to data --------------------------------------------------------------------------


def _connection(name: str, file: Path | None, content: Mapping[str, Any]) -> Connection:
    client = content["client"]
    defaults = content.get("resource_defaults") or {}
    schedules = content.get("schedules", {})
    resources = tuple(_resource(resource, client, defaults) for resource in content["resources"])
    return Connection(
        name=name,
        file=file,
        client=_copied(client),
        resource_defaults=_copied(defaults),
        resources=resources,
        description=content.get("description", ""),
        owners=tuple(content.get("owners", ())),
        tags=dict(content.get("tags", {})),
        schedules=Schedules(
            sync=_schedule(Schedules.sync, schedules.get("sync", {})),
            reconcile=_schedule(Schedules.reconcile, schedules.get("reconcile", {})),
        ),
        sensor=Sensor(**content.get("sensor", {})),
        freshness=Freshness(**{key: float(hours) for key, hours in content.get("freshness", {}).items()}),
        max_deleted_share=float(content.get("max_deleted_share", Connection.max_deleted_share)),
        analytics=Analytics(**content.get("analytics", {})),
        notes=tuple(_notes(defaults, resources)),
    )


def _schedule(default: Schedule, words: Mapping[str, Any]) -> Schedule:
    return Schedule(
        cron=words.get("cron", default.cron),
        timezone=words.get("timezone", default.timezone),
        enabled=words.get("enabled", default.enabled),
    )


def _resource(words: Any, client: Mapping[str, Any], defaults: Mapping[str, Any]) -> Resource:
    if isinstance(words, DltResource):
        return Resource(name=words.name, definition={"name": words.name}, endpoint={}, instance=words)
    own: dict[str, Any] = (
        {"name": words, "endpoint": {"path": words}} if isinstance(words, str) else dict(words)
    )
    both = {**defaults, **own}
    endpoint = endpoint_of(words, defaults)
    definition = {key: value for key, value in own.items() if key != "description"}
    if isinstance(definition.get("endpoint"), str):
        definition["endpoint"] = {"path": definition["endpoint"]}
    columns = _merged_columns(defaults.get("columns"), own.get("columns"))
    paginator = endpoint.get("paginator")
    return Resource(
        name=own["name"],
        definition=_copied(definition),
        endpoint=_copied(endpoint),
        primary_key=_primary_key(both.get("primary_key"), columns),
        write_disposition=_write_disposition(both.get("write_disposition")),
        columns={name: hints["data_type"] for name, hints in columns.items() if hints.get("data_type")},
        description=own.get("description"),
        selected=both.get("selected") is not False,
        paginator=client.get("paginator") if paginator is None else paginator,
        error_handler=_error_handler(endpoint, client),
    )


def _primary_key(words: Any, columns: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    if isinstance(words, str):
        return (words,)
    if isinstance(words, list | tuple):
        return tuple(words)
    return tuple(name for name, hints in columns.items() if hints.get("primary_key")) or Resource.primary_key


def _write_disposition(words: Any) -> WriteDisposition:
    word = words.get("disposition") if isinstance(words, Mapping) else words
    return cast(WriteDisposition, word) if word in WRITE_DISPOSITIONS else Resource.write_disposition


def _merged_columns(*parts: Any) -> dict[str, dict[str, Any]]:
    """Column hints by name, later ones over earlier ones; classes that describe columns are left to dlt."""
    merged: dict[str, dict[str, Any]] = {}
    for part in parts:
        listed = part if isinstance(part, list | tuple) else ()
        named = dict(part) if isinstance(part, Mapping) else {hints["name"]: hints for hints in listed}
        for name, hints in named.items():
            merged[name] = {**merged.get(name, {}), **hints}
    return merged


def _error_handler(endpoint: Mapping[str, Any], client: Mapping[str, Any]) -> ErrorHandler:
    nearest = endpoint if "error_handler" in endpoint else client
    return ErrorHandler.from_guide(nearest.get("error_handler"))


def _notes(defaults: Mapping[str, Any], resources: Iterable[Resource]) -> list[str]:
    places = [("resource_defaults", defaults), *((r.name, r.definition) for r in resources)]
    notes: list[str] = []
    for place, words in places:
        notes.extend(
            f"{place}: `{key}` has no effect in this warehouse" for key in WITHOUT_EFFECT if key in words
        )
        if isinstance(words.get("write_disposition"), Mapping):
            notes.append(f"{place}: of `write_disposition` the disposition alone counts, not the strategy")
    return notes


def _copied(value: Any) -> Any:
    """A copy of the mappings and lists; the objects in them (sessions, functions) stay the same ones."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value
