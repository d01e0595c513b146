"""Rules that tie several fields of a configuration together, and the rule against literal secrets.

What a single field may hold stands in `vocabulary`. These rules look at what is there and skip what
`vocabulary` refuses anyway.
"""

import graphlib
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.extract.resource import DltResource
from dlt.sources.helpers.rest_client.redaction import SENSITIVE_PARAMS

from messaging_assets.api.mistakes import FieldPath, Findings, nearest, one_of

RESERVED_NAMES = ("analytics", "api")
# The tables and columns that the analytics read, in their own words.
ANALYTICS_COLUMNS = {
    "users": ("id", "name", "created_at"),
    "channels": ("id", "name", "created_at"),
    "messages": ("id", "channel_id", "user_id", "text", "thread_parent_id", "created_at", "updated_at"),
}
REFERENCE_LIKE = re.compile(r"\$\{[^}]*\}?")
REFERENCE = re.compile(r"\$\{secret:([A-Za-z_][A-Za-z0-9_]*)\}")
SECRET_HEADER = re.compile(
    r"(^|[-_])(authorization|cookie|token|secret|password|passwd|pwd|api[-_]?key|access[-_]?key|auth)$", re.I
)
CREDENTIALS_IN_VALUE = re.compile(r"^\s*(bearer|basic|token)\s+\S", re.I)
CREDENTIALS_IN_URL = re.compile(r"://[^/@\s]+@")
NOT_SECRET = {"key"}
SECRET_PARAMS = {name.replace("-", "_") for name in SENSITIVE_PARAMS} - NOT_SECRET | {
    "auth_token",
    "refresh_token",
    "client_assertion",
}
FIELDS_WITH_ADDRESSES = ("path", "endpoint", "token_url", "access_token_url", "proxy")
CONTAINERS_OF_PARAMS = ("params", "json", "data", "access_token_request_data")
FIELDS_WITH_PLACEHOLDERS = ("path", "params", "json", "data", "headers")


@dataclass(frozen=True)
class _Resource:
    """What the rules need to know of one resource: where it stands, and its effective endpoint."""

    name: str
    path: FieldPath
    endpoint: Mapping[str, Any]
    include_from_parent: bool = False
    is_name_alone: bool = False

    @property
    def name_path(self) -> FieldPath:
        return self.path if self.is_name_alone else (*self.path, "name")

    @property
    def table(self) -> str:
        return table_name(self.name)


def apply_rules(guide: Any, found: Findings) -> None:
    """Note all mistakes that single fields don't show.

    Args:
        guide: The guide's dictionary, or the content of a connection file.
        found: Takes the mistakes.
    """
    if not isinstance(guide, dict):
        return
    resources = list(_resources(guide))
    _names(resources, found)
    for resource in resources:
        _incremental_once(resource, found)
        _placeholders(resource, resources, found)
    _circles(resources, found)
    if not found.python:
        _freshness(guide.get("freshness"), found)
        _analytics(guide.get("analytics"), resources, found)
        _references_and_secrets(guide, (), found)
        for resource in resources:
            _own_address(resource, found)


def table_name(resource: str) -> str:
    """The table of a resource: its name in snake case, as dlt writes it.

    Example:
        >>> table_name("userGroups")
        'user_groups'
    """
    return str(NamingConvention().normalize_identifier(resource))


def endpoint_of(resource: Any, defaults: Any) -> dict[str, Any]:
    """The effective endpoint of a resource, merged with the defaults as dlt merges it.

    Args:
        resource: A resource of the configuration: a mapping or a name.
        defaults: `resource_defaults`, or None.

    Returns:
        The endpoint with its path; `params` and `json` are merged by key, the rest as a whole.
    """
    name = resource if isinstance(resource, str) else resource.get("name")
    own = {"path": resource} if isinstance(resource, str) else resource.get("endpoint") or {}
    own = {"path": own} if isinstance(own, str) else own if isinstance(own, dict) else {}
    shared = defaults.get("endpoint") if isinstance(defaults, dict) else None
    shared = shared if isinstance(shared, dict) else {}
    merged = {**shared, **own}
    merged["path"] = own.get("path", name)
    for key in ("params", "json"):
        parts = [part.get(key) for part in (shared, own)]
        if any(isinstance(part, dict) for part in parts):
            merged[key] = {
                name: value for part in parts if isinstance(part, dict) for name, value in part.items()
            }
    return merged


def _resources(guide: Mapping[str, Any]) -> Iterator[_Resource]:
    listed = guide.get("resources")
    for position, resource in enumerate(listed if isinstance(listed, list) else []):
        path = ("resources", position)
        if isinstance(resource, DltResource):
            yield _Resource(resource.name, path, {}, is_name_alone=True)
        elif isinstance(resource, str) and resource.strip():
            endpoint = endpoint_of(resource, guide.get("resource_defaults"))
            yield _Resource(resource, path, endpoint, is_name_alone=True)
        elif (
            isinstance(resource, dict) and isinstance(resource.get("name"), str) and resource["name"].strip()
        ):
            yield _Resource(
                resource["name"],
                path,
                endpoint_of(resource, guide.get("resource_defaults")),
                bool(resource.get("include_from_parent")),
            )


# ---- names ---------------------------------------------------------------------------------------


def _names(resources: list[_Resource], found: Findings) -> None:
    first: dict[str, _Resource] = {}
    for resource in resources:
        path = resource.name_path
        # dlt itself only minds names that are the same letter by letter.
        key = resource.name if found.python else resource.table
        if key in first:
            found.add(path, _same_name(resource, first[key]))
        first.setdefault(key, resource)
        if not found.python and (resource.table in RESERVED_NAMES or resource.table.startswith("_")):
            found.add(
                path,
                f"`{resource.name}` is reserved; a resource is not called {one_of(RESERVED_NAMES)}"
                " and does not begin with `_`",
            )


def _same_name(resource: _Resource, first: _Resource) -> str:
    if resource.name == first.name:
        return f"the resource `{resource.name}` stands here again, first in resources[{first.path[1]}]"
    return (
        f"the resource `{resource.name}` would have the same table `{resource.table}` as `{first.name}`"
        f" in resources[{first.path[1]}]"
    )


# ---- parents and placeholders --------------------------------------------------------------------


def _placeholders(resource: _Resource, resources: list[_Resource], found: Findings) -> None:
    """Every placeholder has to name a parent's field, the incremental cursor, or a parameter."""
    where = _endpoint_path(resource)
    parents = dict.fromkeys(_resolved_parents(resource, where, found))
    for key in FIELDS_WITH_PLACEHOLDERS:
        for name in _placeholder_names(resource.endpoint.get(key), (*where, key), found):
            parents |= dict.fromkeys(_parent_in(name, key, resource, (*where, key), found))
    known = [other.name for other in resources if other.name != resource.name]
    for parent in parents:
        if parent not in known:
            found.add(where, f"there is no resource `{parent}` to take values from{nearest(parent, known)}")
    if len(parents) > 1:
        found.add(where, f"takes values from several resources ({one_of(parents)}); dlt allows one parent")
    if resource.include_from_parent and not parents:
        found.add(
            (*resource.path, "include_from_parent"),
            "the endpoint takes no value from another resource; write a placeholder such as"
            " {resources.users.id}",
        )


def _endpoint_path(resource: _Resource) -> FieldPath:
    return (*resource.path, "endpoint")


def _params(resource: _Resource) -> Mapping[str, Any]:
    params = resource.endpoint.get("params")
    return params if isinstance(params, dict) else {}


def _resolved_parents(resource: _Resource, where: FieldPath, found: Findings) -> Iterator[str]:
    path = resource.endpoint.get("path")
    for name, value in _params(resource).items():
        if isinstance(value, dict) and value.get("type") == "resolve":
            if isinstance(value.get("resource"), str):
                yield value["resource"]
            if isinstance(path, str) and f"{{{name}}}" not in path:
                found.add(
                    (*where, "params", str(name)),
                    f"is not used in the path: write {{{name}}} there, or"
                    " {resources.<parent>.<field>} here",
                )


def _placeholder_names(value: Any, path: FieldPath, found: Findings) -> Iterator[str]:
    for text in _texts(value):
        try:
            # A secret's reference has braces too; its value is escaped when it is filled in.
            parsed = list(string.Formatter().parse(REFERENCE_LIKE.sub("", text)))
        except ValueError:
            found.add(path, "has a brace without its partner; a brace that is meant as such is written twice")
            continue
        for _, name, _, _ in parsed:
            if name is not None:
                yield name


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _parent_in(name: str, key: str, resource: _Resource, path: FieldPath, found: Findings) -> Iterator[str]:
    """The parent that a placeholder names; what is not a placeholder that dlt fills in is a mistake."""
    context, *rest = name.split(".", maxsplit=2)
    if context == "resources" and len(rest) == 2:
        yield rest[0]
    elif _is_filled_in(context, name, key, resource):
        return
    else:
        found.add(
            path,
            f"the placeholder {{{name}}} means nothing here; allowed: {{resources.<parent>.<field>}},"
            " {incremental.start_value} where the endpoint has `incremental`, and in the path a name of"
            " `params`",
        )


def _is_filled_in(context: str, name: str, key: str, resource: _Resource) -> bool:
    """Whether dlt fills a placeholder in without a parent."""
    if context == "incremental" and name != context:
        return "incremental" in resource.endpoint
    return key == "path" and name in _params(resource)


def _incremental_once(resource: _Resource, found: Findings) -> None:
    bound = [
        str(name)
        for name, value in _params(resource).items()
        if isinstance(value, dict) and value.get("type") == "incremental"
    ]
    if len(bound) > 1:
        found.add(
            (*_endpoint_path(resource), "params"),
            f"only one parameter can be incremental, not {one_of(bound)}",
        )


def _circles(resources: list[_Resource], found: Findings) -> None:
    """No resource can wait for itself."""
    graph: dict[str, set[str]] = {}
    for resource in resources:
        quiet = found.trial()
        parents = set(_resolved_parents(resource, (), quiet))
        for key in FIELDS_WITH_PLACEHOLDERS:
            for name in _placeholder_names(resource.endpoint.get(key), (), quiet):
                parents |= set(_parent_in(name, key, resource, (), quiet))
        graph.setdefault(resource.name, set()).update(parents)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.add(
            ("resources",), f"these resources wait for each other: {one_of(dict.fromkeys(error.args[1]))}"
        )


# ---- files ---------------------------------------------------------------------------------------


def _freshness(freshness: Any, found: Findings) -> None:
    limits = freshness if isinstance(freshness, dict) else {}
    for prefix, warn_default, fail_default in (("", 2.0, 6.0), ("data_", 24.0, 72.0)):
        warn = limits.get(f"{prefix}warn_after_hours", warn_default)
        fail = limits.get(f"{prefix}fail_after_hours", fail_default)
        numbers = all(
            isinstance(limit, int | float) and not isinstance(limit, bool) for limit in (warn, fail)
        )
        if numbers and warn >= fail:
            found.add(
                ("freshness", f"{prefix}fail_after_hours"),
                f"has to be more than {prefix}warn_after_hours: {fail:g} is not more than {warn:g}",
            )


def _analytics(analytics: Any, resources: list[_Resource], found: Findings) -> None:
    columns = analytics.get("columns") if isinstance(analytics, dict) else None
    tables = {resource.table for resource in resources}
    for table in columns if isinstance(columns, dict) else ():
        if table in ANALYTICS_COLUMNS and table not in tables:
            found.add(
                ("analytics", "columns", table),
                f"there is no resource `{table}` in this file; resources: {one_of(sorted(tables))}",
            )


def _own_address(resource: _Resource, found: Findings) -> None:
    path = resource.endpoint.get("path")
    if isinstance(path, str) and "://" in path.split("?")[0]:
        found.add(
            (*_endpoint_path(resource), "path"),
            "is a path below the connection's address, such as `/v1/users`: the token goes to that address"
            " alone",
        )


def _references_and_secrets(value: Any, path: FieldPath, found: Findings) -> None:
    """Every text of a file: references are written right, and nothing that looks secret stands there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            where = (*path, str(key))
            if _is_named_secret(str(key), inner, where):
                _refuse_secret(re.sub(r"\W", "_", str(key).lower()), where, found)
            else:
                _references_and_secrets(inner, where, found)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            _references_and_secrets(inner, (*path, position), found)
    elif isinstance(value, str):
        _references(value, path, found)
        _secret_in_text(value, path, found)


def _references(text: str, path: FieldPath, found: Findings) -> None:
    for reference in REFERENCE_LIKE.findall(text):
        if not REFERENCE.fullmatch(reference):
            found.add(
                path, "a reference to a secret is written `${secret:NAME}`, with letters, digits and `_`"
            )


def _is_named_secret(name: str, value: Any, path: FieldPath) -> bool:
    """Whether this is a literal in a header or parameter that is known to carry a secret."""
    if isinstance(value, list):
        return any(_is_named_secret(name, item, path) for item in value)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return False
    if not str(value).strip() or "{" in str(value):
        return False
    if path[-2:-1] == ("headers",):
        return SECRET_HEADER.search(name) is not None
    carries = any(container in path[:-1] for container in CONTAINERS_OF_PARAMS)
    return carries and name.lower().replace("-", "_") in SECRET_PARAMS


def _secret_in_text(text: str, path: FieldPath, found: Findings) -> None:
    if REFERENCE.search(text):
        return
    if CREDENTIALS_IN_VALUE.match(text) and "headers" in path:
        _refuse_secret("token", path, found)
    elif CREDENTIALS_IN_URL.search(text):
        _refuse_secret("password", path, found)
    elif path and path[-1] in FIELDS_WITH_ADDRESSES and _secret_in_query(text):
        _refuse_secret("api_key", path, found)


def _secret_in_query(text: str) -> bool:
    try:
        query = parse_qsl(urlsplit(text).query)
    except ValueError:
        return False
    return any(name.lower().replace("-", "_") in SECRET_PARAMS and "{" not in value for name, value in query)


def _refuse_secret(name: str, path: FieldPath, found: Findings) -> None:
    found.add(
        path,
        f"a secret does not belong in this file: write `${{secret:{name}}}` here and its value in"
        " .dlt/secrets.toml under [sources.<connection>]",
    )
