"""Which words a configuration may use, and of which type: the guide's, dlt's, and a few of our own.

dlt's words are read off the types of its REST API source, so that they are the words of the dlt that is
installed. Rules that tie several fields together stand in `rules`, the wording of a mistake in `mistakes`.
"""

import inspect
import math
import re
import typing
import warnings
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import dlt
from dlt.common.schema.typing import TColumnSchema, TWriteDispositionConfig
from dlt.common.time import ensure_datetime
from dlt.extract.resource import DltResource
from dlt.sources.helpers.rest_client.paginators import BasePaginator
from dlt.sources.rest_api import typing as dlt_words
from dlt.sources.rest_api.config_setup import (
    AUTH_MAP,
    PAGINATOR_MAP,
    create_paginator,
    setup_incremental_object,
)
from requests.auth import AuthBase

from messaging_assets.api.checks import (
    Check,
    Words,
    anything,
    boolean,
    check_of,
    file_only,
    function,
    json_path,
    kind_of,
    list_of,
    literal,
    mapping_of,
    number,
    optional,
    text,
    whole,
    words_of,
)
from messaging_assets.api.cron import mistake_in_cron
from messaging_assets.api.mistakes import FieldPath, Findings, Mistake, nearest, one_of
from messaging_assets.api.rules import ANALYTICS_COLUMNS, REFERENCE, apply_rules, table_name

WRITE_DISPOSITIONS = ("merge", "append", "replace")
INCREMENTAL_AT_ENDPOINT_ONLY = ("end_value", "end_param")
SECRET_FIELDS = ("client_id", "client_secret", "token", "api_key", "password", "access_token")


def mistakes_in(guide: Any, *, python: bool = False) -> list[Mistake]:
    """All mistakes in a configuration.

    Args:
        guide: The guide's dictionary, or the content of a connection file.
        python: True for a dictionary of Python code: objects, functions and secrets may stand in it,
            and it has the guide's three keys alone. False for a file.

    Returns:
        The mistakes, ordered by the place of the field.
    """
    found = Findings(python)
    (python_words if python else file_words)().check(guide, (), found)
    apply_rules(guide, found)
    return sorted(set(found.mistakes), key=lambda mistake: (mistake.order, mistake.message))


# ---- the tables of words -------------------------------------------------------------------------


@cache
def python_words() -> Words:
    """The words of the guide's Python dictionary: client, resource_defaults, resources."""
    return words_of(
        dlt_words.RESTAPIConfig,
        "the configuration",
        client=client,
        resource_defaults=optional(resource_words(defaults=True).check),
        resources=resources,
    )


@cache
def file_words() -> Words:
    """The words of a connection file: the guide's three and what the platform needs to know."""
    guide = python_words()
    own: dict[str, Check] = {
        "description": text,
        "owners": list_of(owner),
        "tags": mapping_of(tag_value, key=tag_key),
        "schedules": Words("schedules", {"sync": schedule, "reconcile": schedule}).check,
        "sensor": Words("sensor", {"interval_seconds": whole(1), "enabled": boolean}).check,
        "freshness": freshness,
        "max_deleted_share": number(0, 1),
        "analytics": analytics,
    }
    return Words("the connection file", {**guide.checks, **own}, guide.required)


@cache
def client_words() -> Words:
    """The words of `client`: dlt's, and how requests are sent."""
    return words_of(
        dlt_words.ClientConfig,
        "client",
        base_url=base_url,
        auth=auth,
        paginator=paginator,
        error_handler=error_handler_words().check,
        timeouts=Words("timeouts", {"connect": number(0, above=True), "read": number(0, above=True)}).check,
        proxy=url,
        ca_bundle=text,
        max_body_megabytes=number(0, above=True),
        in_flight=whole(1),
        requests_per_second=number(0, above=True),
    )


@cache
def resource_words(*, defaults: bool) -> Words:
    """The words of a resource, or of `resource_defaults`, where the name makes no sense."""
    spec = dlt_words.EndpointResourceBase if defaults else dlt_words.EndpointResource
    own: dict[str, Check] = {
        "endpoint": endpoint_words().check if defaults else endpoint,
        "write_disposition": write_disposition,
        "primary_key": column_names,
        "merge_key": column_names,
        "columns": columns,
        "include_from_parent": optional(list_of(text)),
    }
    if not defaults:
        own |= {"name": resource_name, "description": file_only(text)}
    what = "resource_defaults" if defaults else "a resource"
    words = words_of(spec, what, **own)
    checks = {key: check for key, check in words.checks.items() if key in own or _reaches_dlt(key)}
    return Words(what, checks, frozenset() if defaults else frozenset({"name"}), words.python_only)


def _reaches_dlt(key: str) -> bool:
    """False for a word that dlt has in its types but then fails on, since its resources don't take it."""
    return key == "processing_steps" or key in inspect.signature(dlt.resource).parameters


@cache
def endpoint_words() -> Words:
    """The words of an endpoint: dlt's and `error_handler`."""
    return words_of(
        dlt_words.Endpoint,
        "an endpoint",
        params=optional(mapping_of(param)),
        json=optional(mapping_of(anything)),
        paginator=paginator,
        response_actions=optional(list_of(response_action)),
        incremental=optional(incremental),
        auth=auth,
        error_handler=error_handler_words().check,
    )


@cache
def error_handler_words() -> Words:
    """The guide's words for what is tried again."""
    return Words(
        "error_handler",
        {
            "retry_on_status_codes": list_of(whole(100, 599)),
            "max_retries": whole(0),
            "backoff_factor": number(0),
            "longest_wait": number(0),
        },
    )


@cache
def incremental_words() -> Words:
    """dlt's words for an incremental endpoint."""
    words = words_of(dlt_words.IncrementalConfig, "incremental", cursor_path=json_path)
    return Words(words.what, words.checks, frozenset({"cursor_path"}), words.python_only)


@cache
def param_words() -> dict[str, Words]:
    """The words of a parameter that is filled in, by its type."""
    resolve = words_of(dlt_words.ResolveParamConfig, "a parameter of type `resolve`", field=json_path)
    bound = words_of(
        dlt_words.IncrementalParamConfig, "a parameter of type `incremental`", cursor_path=json_path
    )
    checks = {key: check for key, check in bound.checks.items() if key not in INCREMENTAL_AT_ENDPOINT_ONLY}
    # dlt's older word for `convert`, which it still takes here.
    checks["transform"] = function
    required = frozenset({"type", "cursor_path"})
    return {
        "resolve": resolve,
        "incremental": Words(bound.what, checks, required, bound.python_only | {"transform"}),
    }


@cache
def auth_words() -> dict[str, Words]:
    """The words of each type of authorisation."""
    guide = Words(
        "auth of type `oauth2`",
        {
            "type": text,
            "client_id": secret,
            "client_secret": secret,
            "token_url": address,
            "scope": text,
            "audience": text,
            "client_authentication": literal("body", "basic"),
            "access_token_request_data": mapping_of(anything),
            "default_token_expiration": whole(1),
        },
    )
    specs: dict[str, Any] = {
        "bearer": dlt_words.BearerTokenAuthConfig,
        "api_key": dlt_words.ApiKeyAuthConfig,
        "http_basic": dlt_words.HttpBasicAuthConfig,
        "oauth2_client_credentials": dlt_words.OAuth2ClientCredentialsConfig,
    }
    tables = {"oauth2": guide}
    for name, spec in specs.items():
        hints = typing.get_type_hints(spec)
        secrets: dict[str, Check] = {key: secret for key in SECRET_FIELDS if key in hints}
        if "access_token_url" in hints:
            secrets["access_token_url"] = address
            secrets |= {key: guide.checks[key] for key in ("scope", "audience", "client_authentication")}
        tables[name] = words_of(spec, f"auth of type `{name}`", type=text, **secrets)
    return tables


@cache
def paginator_words() -> dict[str, Words]:
    """The words of each type of paginator."""
    by_name = {name: value for name, value in vars(dlt_words).items() if name.endswith("PaginatorConfig")}
    tables = {}
    for name, paginator_class in PAGINATOR_MAP.items():
        spec = by_name.get(f"{paginator_class.__name__}Config" if paginator_class else "")
        what = f"a paginator of type `{name}`"
        words = words_of(spec or dlt_words.PaginatorTypeConfig, what, type=text)
        tables[name] = Words(
            what, {**words.checks, **_paginator_bounds(words)}, words.required, words.python_only
        )
    offset = tables["offset"]
    tables["offset"] = Words(offset.what, offset.checks, offset.required | {"limit"}, offset.python_only)
    return tables


def _paginator_bounds(words: Words) -> dict[str, Check]:
    bounds = {"limit": whole(1), "offset": optional(whole(0)), "maximum_offset": optional(whole(0))}
    return {key: check for key, check in bounds.items() if key in words.checks}


# ---- checks of single fields ---------------------------------------------------------------------


def client(value: Any, path: FieldPath, found: Findings) -> None:
    """The client; without a file's settings beside it, it has to name its address itself."""
    client_words().check(value, path, found)
    if found.python and isinstance(value, dict) and "base_url" not in value:
        found.add((*path, "base_url"), "is missing; client needs it")


def secret(value: Any, path: FieldPath, found: Findings) -> None:
    """A secret: in a file only by reference, never as it is."""
    if found.python and (value is None or isinstance(value, str)):
        return
    if not isinstance(value, str):
        hint = "; dlt.secrets[...] makes a number of digits, dlt.secrets.get(name, str) does not"
        found.add(path, f"has to be a text, not {kind_of(value)}{hint if found.python else ''}")
    elif not REFERENCE.search(value):
        found.add(
            path,
            "a secret does not belong in this file: write"
            f" `${{secret:{path[-1]}}}` here and its value in .dlt/secrets.toml under [sources.<connection>]",
        )


def url(value: Any, path: FieldPath, found: Findings) -> None:
    """An http(s) URL."""
    text_value = value if isinstance(value, str) else ""
    by_reference = not found.python and REFERENCE.match(text_value)
    if not by_reference and not re.match(r"https?://[^/\s]+", text_value):
        found.add(path, "has to be a URL that begins with http:// or https://")


def address(value: Any, path: FieldPath, found: Findings) -> None:
    """A URL, or in a file a path that is joined to the connection's address."""
    if found.python or not isinstance(value, str) or "://" in value:
        url(value, path, found)
    elif not value.strip("/ "):
        found.add(path, "has to be a URL, or a path below the connection's address such as `/oauth/token`")


def base_url(value: Any, path: FieldPath, found: Findings) -> None:
    """The address: the guide's in Python, in a file none."""
    if found.python:
        url(value, path, found)
        return
    found.add(
        path,
        "the address does not belong in this file: write base_url in .dlt/config.toml under"
        " [sources.<connection>], or set SOURCES__<CONNECTION>__BASE_URL",
    )


def auth(value: Any, path: FieldPath, found: Findings) -> None:
    """The authorisation: a mapping with a type, the type alone, or in Python an object."""
    if value is None or (found.python and isinstance(value, AuthBase)):
        return
    kind = value.get("type", "bearer") if isinstance(value, dict) else value
    if not isinstance(kind, str):
        _not_a_type(kind, value, auth_words(), path, found)
    elif kind not in auth_words():
        _unknown_type(kind, value, (auth_words(), AUTH_MAP), path, found)
    elif isinstance(value, dict):
        _without_what_settings_hold(auth_words()[kind], found).check(value, path, found)


def _without_what_settings_hold(words: Words, found: Findings) -> Words:
    """In a file nothing but the type is required: what is not said is looked up as a setting."""
    return words if found.python else Words(words.what, words.checks, frozenset(), words.python_only)


def _not_a_type(kind: Any, value: Any, known: Iterable[str], path: FieldPath, found: Findings) -> None:
    if isinstance(value, dict):
        found.add((*path, "type"), f"has to be one of {one_of(known)}, not {kind_of(kind)}")
    else:
        found.add(path, f"has to be a mapping with a type, not {kind_of(value)}. Types: {one_of(known)}")


def _unknown_type(
    kind: str,
    value: Any,
    known: tuple[Mapping[str, Any], Mapping[str, Any]],
    path: FieldPath,
    found: Findings,
) -> None:
    """Types that Python code registered with dlt have words of their own, which dlt checks itself."""
    if found.python and kind in known[1]:
        return
    where = (*path, "type") if isinstance(value, dict) else path
    found.add(
        where,
        f"is not a known type{nearest(kind, known[0])}{_dot(kind, known[0])}Allowed: {one_of(known[0])}",
    )


def _dot(kind: str, allowed: Iterable[str]) -> str:
    return " " if nearest(kind, allowed) else "; "


def paginator(value: Any, path: FieldPath, found: Findings) -> None:
    """A paginator: a mapping with a type, the type alone, or in Python an object."""
    if value is None or (found.python and isinstance(value, BasePaginator)):
        return
    kind = value.get("type") if isinstance(value, dict) else value
    if isinstance(value, dict) and kind is None:
        found.add((*path, "type"), f"is missing; a paginator needs it. Allowed: {one_of(paginator_words())}")
    elif not isinstance(kind, str):
        _not_a_type(kind, value, paginator_words(), path, found)
    elif kind not in paginator_words():
        _unknown_type(kind, value, (paginator_words(), PAGINATOR_MAP), path, found)
    else:
        _paginator_of_type(kind, value, path, found)


def _paginator_of_type(kind: str, value: Any, path: FieldPath, found: Findings) -> None:
    trial = found.trial()
    paginator_words()[kind].check(value if isinstance(value, dict) else {"type": kind}, path, trial)
    found.mistakes.extend(trial.mistakes)
    if trial.mistakes:
        return
    config: Any = value if isinstance(value, str) else dict(value)
    _try(lambda: create_paginator(config), "paginator", path, found)


def endpoint(value: Any, path: FieldPath, found: Findings) -> None:
    """An endpoint: a mapping, or its path alone."""
    if not isinstance(value, str):
        endpoint_words().check(value, path, found)


def resources(value: Any, path: FieldPath, found: Findings) -> None:
    """The resources: mappings, names alone, or in Python dlt's own resources."""
    if not isinstance(value, list) or not value:
        found.add(path, "has to be a list with at least one resource")
        return
    for position, resource in enumerate(value):
        where = (*path, position)
        if isinstance(resource, str):
            resource_name(resource, where, found)
        elif not (found.python and isinstance(resource, DltResource)):
            resource_words(defaults=False).check(resource, where, found)


def resource_name(value: Any, path: FieldPath, found: Findings) -> None:
    """The name of a resource."""
    if not isinstance(value, str) or not value.strip():
        found.add(
            path, f"has to be a name, not {'an empty text' if isinstance(value, str) else kind_of(value)}"
        )


def write_disposition(value: Any, path: FieldPath, found: Findings) -> None:
    """How rows are written; a mapping may name a strategy."""
    if value is None:
        return
    if found.python:
        if not callable(value):
            check_of(TWriteDispositionConfig)(value, path, found)
        return
    word = value.get("disposition") if isinstance(value, dict) else value
    where = (*path, "disposition") if isinstance(value, dict) else path
    if word == "skip":
        found.add(
            where, f"`skip` loads nothing: use `selected: false`, or one of {one_of(WRITE_DISPOSITIONS)}"
        )
    elif word not in WRITE_DISPOSITIONS:
        literal(*WRITE_DISPOSITIONS)(word, where, found)
    elif isinstance(value, dict):
        check_of(TWriteDispositionConfig)(value, path, found)
        _validity_times(value, path, found)


def _validity_times(value: dict[str, Any], path: FieldPath, found: Findings) -> None:
    """The two times that dlt reads where the strategy is scd2."""
    for name in ("active_record_timestamp", "boundary_timestamp") if value.get("strategy") == "scd2" else ():
        try:
            if value.get(name) is not None:
                ensure_datetime(value[name])
        except (ValueError, TypeError, OverflowError, OSError):
            found.add((*path, name), "has to be a point in time such as 2026-03-29T12:00:00Z")


def column_names(value: Any, path: FieldPath, found: Findings) -> None:
    """A column, or several."""
    if value is None or (found.python and callable(value)):
        return
    names = value if isinstance(value, list | tuple) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        found.add(path, f"has to be the name of a column or a list of names, not {kind_of(value)}")


def columns(value: Any, path: FieldPath, found: Findings) -> None:
    """Column hints: a mapping by name, or a list of hints with a name."""
    hint = check_of(TColumnSchema)
    if isinstance(value, dict):
        mapping_of(hint)(value, path, found)
    elif isinstance(value, list | tuple):
        list_of(hint)(value, path, found)
        for position, column in enumerate(value):
            if isinstance(column, dict) and not column.get("name"):
                found.add((*path, position, "name"), "is missing; a column in a list needs its name")
    elif value is not None and not found.python:
        found.add(
            path, f"has to be a mapping such as `created_at: {{data_type: timestamp}}`, not {kind_of(value)}"
        )


def param(value: Any, path: FieldPath, found: Findings) -> None:
    """A query parameter: a plain value, or a mapping that says how it is filled in."""
    if not isinstance(value, dict):
        if isinstance(value, float) and not math.isfinite(value):
            found.add(path, "has to be a finite number")
        return
    words = param_words().get(str(value.get("type")))
    if words is None:
        found.add((*path, "type"), "a mapping in params needs a type; allowed: `resolve`, `incremental`")
    else:
        trial = found.trial()
        words.check(value, path, trial)
        found.mistakes.extend(trial.mistakes)
        if value["type"] == "incremental" and not (trial.mistakes or found.python):
            _try(lambda: setup_incremental_object({str(path[-1]): value}), "incremental", path, found)


def incremental(value: Any, path: FieldPath, found: Findings) -> None:
    """What makes an endpoint incremental."""
    trial = found.trial()
    incremental_words().check(value, path, trial)
    found.mistakes.extend(trial.mistakes)
    # From Python, dlt does not mind one that it does not use, where a parameter is incremental as well.
    if not (trial.mistakes or found.python):
        _try(lambda: setup_incremental_object({}, value), "incremental", path, found)


def _try(build: Callable[[], Any], what: str, path: FieldPath, found: Findings) -> None:
    """Let dlt build the object, for its own rules, such as that something says where a list ends."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            build()
    except Exception as error:
        found.add(path, f"dlt refuses this {what}: {' '.join(str(error).split())}")


def response_action(value: Any, path: FieldPath, found: Findings) -> None:
    """What to do with an answer: a mapping, or in Python a function."""
    if found.python and (callable(value) or not isinstance(value, dict)):
        function(value, path, found)
        return
    if found.python:
        check_of(dlt_words.ResponseActionDict)(value, path, found)
        return
    # In a file the action cannot be a function, and dlt compares status codes as numbers.
    allowed = {
        "status_code": optional(whole(100, 599)),
        "content": optional(text),
        "action": literal("ignore"),
    }
    Words("a response action", allowed, frozenset({"action"})).check(value, path, found)


# ---- the platform's own words --------------------------------------------------------------------


def cron(value: Any, path: FieldPath, found: Findings) -> None:
    """A cron expression."""
    mistake = mistake_in_cron(value) if isinstance(value, str) else f"has to be a text, not {kind_of(value)}"
    if mistake:
        found.add(path, mistake)


def timezone(value: Any, path: FieldPath, found: Findings) -> None:
    """The name of a time zone."""
    # Some systems list their own setting among the names; it would mean another zone on another machine.
    zones = sorted(zoneinfo.available_timezones() - {"localtime"})
    if not isinstance(value, str) or value not in zones:
        hint = nearest(value, zones)
        found.add(path, f"is not a time zone; write `UTC` or a name such as `Europe/Berlin`{hint}")


def schedule(value: Any, path: FieldPath, found: Findings) -> None:
    """When a job runs."""
    Words("a schedule", {"cron": cron, "timezone": timezone, "enabled": boolean}).check(value, path, found)


def freshness(value: Any, path: FieldPath, found: Findings) -> None:
    """The limits of freshness: each warning comes before its failure."""
    hours = number(1 / 60)
    keys = ("warn_after_hours", "fail_after_hours", "data_warn_after_hours", "data_fail_after_hours")
    Words("freshness", dict.fromkeys(keys, hours)).check(value, path, found)


def analytics(value: Any, path: FieldPath, found: Findings) -> None:
    """How the analytics read the tables."""
    columns_of = {
        table: Words(f"what {table} has", dict.fromkeys(names, warehouse_column)).check
        for table, names in ANALYTICS_COLUMNS.items()
    }
    words = {"time_zone": timezone, "columns": Words("columns", columns_of).check}
    Words("analytics", words).check(value, path, found)


def warehouse_column(value: Any, path: FieldPath, found: Findings) -> None:
    """A column as it is called in the warehouse."""
    if not isinstance(value, str) or not value.strip():
        kind = "an empty text" if isinstance(value, str) else kind_of(value)
        found.add(path, f"has to be the name of a column, not {kind}")
    elif table_name(value) != value:
        found.add(path, f"is not the name of a column: in the warehouse it is called `{table_name(value)}`")


def owner(value: Any, path: FieldPath, found: Findings) -> None:
    """An owner of assets, as Dagster takes it."""
    if not isinstance(value, str) or not re.fullmatch(
        r"team:\S+|[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", value
    ):
        found.add(path, "an owner is an e-mail address or `team:` with a name, such as `team:data`")


def tag_key(value: Any, path: FieldPath, found: Findings) -> None:
    """The key of a tag, as Dagster takes it."""
    if not isinstance(value, str) or not re.fullmatch(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}", value):
        found.add(path, "the key of a tag has 1 to 63 letters, digits, `_`, `.` or `-`")


def tag_value(value: Any, path: FieldPath, found: Findings) -> None:
    """The value of a tag, as Dagster takes it."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{0,63}", value):
        found.add(path, "the value of a tag is a text of at most 63 letters, digits, `_`, `.` or `-`")
