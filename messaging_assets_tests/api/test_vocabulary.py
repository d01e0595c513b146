"""The words: all of dlt's, the guide's and the platform's; no mistake goes unseen or is invented."""

import copy
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pytest
import requests
import yaml
from dagster import AssetSpec
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.schema.typing import TColumnSchema
from dlt.common.typing import is_typeddict
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
from dlt.sources.helpers.rest_client.paginators import SinglePagePaginator
from dlt.sources.rest_api import rest_api_resources
from dlt.sources.rest_api import typing as dlt_words
from dlt.sources.rest_api.config_setup import AUTH_MAP, PAGINATOR_MAP
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging_assets.api.connection import read_connection
from messaging_assets.api.errors import ConfigurationError
from messaging_assets.api.vocabulary import (
    SECRET_FIELDS,
    auth_words,
    client_words,
    endpoint_words,
    mistakes_in,
    paginator_words,
    resource_words,
)

PACKAGED = Path(__file__).parents[2] / "messaging_assets" / "connections" / "messaging.yaml"
ADDRESS = "https://api.example.com"


def python_guide(client: dict[str, Any] | None = None, **resource: Any) -> dict[str, Any]:
    return {
        "client": {"base_url": ADDRESS, **(client or {})},
        "resources": ["parents", {"name": "users", **resource}],
    }


def messages(guide: Any, *, python: bool = True) -> list[str]:
    return [str(mistake) for mistake in mistakes_in(guide, python=python)]


# ---- dlt's words are all there -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (dlt_words.ClientConfig, client_words),
        (dlt_words.Endpoint, endpoint_words),
        (dlt_words.EndpointResource, lambda: resource_words(defaults=False)),
        (dlt_words.EndpointResourceBase, lambda: resource_words(defaults=True)),
    ],
)
def test_every_word_of_dlt_is_known(spec: Any, words: Callable[[], Any]) -> None:
    # dlt names this word too, but its resources then refuse it.
    assert set(typing.get_type_hints(spec)) - {"parent_table_name"} <= set(words().checks)


def test_every_type_of_dlt_has_its_words() -> None:
    assert set(typing.get_args(dlt_words.AuthType)) <= set(auth_words())
    assert set(typing.get_args(dlt_words.PaginatorType)) <= set(paginator_words())
    configs = {name: spec for name, spec in vars(dlt_words).items() if name.endswith("PaginatorConfig")}
    for spec in (spec for spec in configs.values() if is_typeddict(spec)):
        keys = set(typing.get_type_hints(spec))
        assert any(keys == set(words.checks) for words in paginator_words().values()), spec
    assert "total_path" in paginator_words()["offset"].checks
    assert "cursor_path" in paginator_words()["cursor"].checks


def test_the_secret_fields_are_those_that_dlt_calls_secret() -> None:
    for auth_class in AUTH_MAP.values():
        hints = typing.get_type_hints(auth_class, include_extras=True)
        for name, hint in hints.items():
            if is_secret_hint(hint):
                assert name in SECRET_FIELDS


# ---- what dlt accepts is accepted ----------------------------------------------------------------

OWN = dlt.resource([{"id": 1}], name="own")
RIGHT_IN_PYTHON: list[dict[str, Any]] = [
    python_guide(
        {"auth": BearerTokenAuth("x"), "paginator": SinglePagePaginator(), "session": requests.Session()}
    ),
    python_guide({"auth": {"token": "x"}}),
    python_guide({"auth": {"type": "api_key", "api_key": "x", "location": "query"}}),
    python_guide({"auth": {"type": "http_basic", "username": "me", "password": "x"}}),
    python_guide({"headers": {"Authorization": "Bearer x"}, "paginator": "json_link"}),
    python_guide({"paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "after"}}),
    python_guide({"paginator": {"type": "header_cursor", "cursor_key": "X-Next"}}),
    python_guide({"paginator": {"type": "page_number", "total_path": None, "maximum_page": 3}}),
    python_guide({"paginator": {"type": "auto"}}),
    python_guide(endpoint="v1/users"),
    python_guide(endpoint={"auth": None, "paginator": None, "data_selector": None}),
    python_guide(endpoint={"path": "u/{resources.parents.id}"}, include_from_parent=["name"]),
    python_guide(
        endpoint={
            "path": "u/{id}",
            "params": {"id": {"type": "resolve", "resource": "parents", "field": "id"}},
        }
    ),
    python_guide(endpoint={"params": {"a": {"type": "incremental", "cursor_path": "at", "convert": str}}}),
    python_guide(endpoint={"params": {"a": {"type": "incremental", "cursor_path": "at", "transform": str}}}),
    python_guide(endpoint={"params": {"a": dlt.sources.incremental("at", initial_value="2024")}}),
    python_guide(
        endpoint={
            "params": {"since": "{incremental.start_value}"},
            "incremental": {
                "cursor_path": "at",
                "initial_value": "2024-01-01",
                "lag": 1.5,
                "last_value_func": max,
            },
        }
    ),
    python_guide(endpoint={"method": "POST", "json": {"q": "{resources.parents.id}", "n": [1, {"a": None}]}}),
    python_guide(endpoint={"response_actions": [{"status_code": 404, "action": "ignore"}, print]}),
    python_guide(endpoint={"response_actions": [{"content": "x", "action": [print, print]}]}),
    python_guide(processing_steps=[{"filter": lambda row: row["id"]}, {"map": lambda row: row}]),
    python_guide(columns={"at": {"data_type": "timestamp", "timezone": True, "x-anything": 1}}),
    python_guide(columns=[{"name": "at", "data_type": "timestamp"}], primary_key=["a", "b"]),
    python_guide(
        primary_key=lambda row: row["key"], table_name=lambda row: row["kind"], write_disposition="skip"
    ),
    python_guide(write_disposition={"disposition": "merge", "strategy": "scd2", "boundary_timestamp": None}),
    python_guide(schema_contract={"tables": "freeze"}, table_format="delta", file_format="parquet"),
    python_guide(max_table_nesting=1, selected=False, parallelized=True, merge_key="id"),
    python_guide(nested_hints={"rows": {"columns": {"at": {"data_type": "date"}}}}),
    {"client": {"base_url": ADDRESS}, "resource_defaults": None, "resources": [OWN, "users"]},
    {"client": {"base_url": ADDRESS}, "resources": [{"name": "api"}, {"name": "_x"}, "Users", "users"]},
]


@pytest.mark.parametrize("guide", RIGHT_IN_PYTHON, ids=range(len(RIGHT_IN_PYTHON)))
def test_what_dlt_accepts_is_accepted(guide: dict[str, Any]) -> None:
    assert messages(guide) == []
    rest_api_resources(copy.copy(guide))  # type: ignore[arg-type]


# Values for dlt's types, derived from the types; functions and objects are left to the list above.
WORDS = st.text(alphabet="abcdefgh", min_size=1, max_size=6)
SAFE_PATH = st.sampled_from(["data", "data.items", "$", "meta.next"])


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values that fit a type of dlt."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return st.one_of(WORDS, st.integers(), st.booleans(), st.none())
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is typing.Union:
        return st.one_of([values_of(argument) for argument in arguments])
    if origin is list or getattr(origin, "__name__", "") == "Sequence":
        return st.lists(values_of(arguments[0]), min_size=1, max_size=2)
    if origin is dict:
        return st.dictionaries(WORDS, values_of(arguments[1]), max_size=2)
    if is_typeddict(hint):
        return typed(hint)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: WORDS,
        int: st.integers(1, 500),
        float: st.floats(0, 100),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return simple.get(hint, st.nothing())


def typed(spec: Any, **own: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Dictionaries of one of dlt's typed dictionaries."""
    fields = {key: own.get(key, values_of(hint)) for key, hint in typing.get_type_hints(spec).items()}
    fields = {key: values for key, values in fields.items() if not values.is_empty}
    required = {key: values for key, values in fields.items() if key in spec.__required_keys__ or key in own}
    optional = {key: values for key, values in fields.items() if key not in required}
    return st.fixed_dictionaries(required, optional=optional)


def paginators() -> st.SearchStrategy[Any]:
    def of_type(name: str) -> st.SearchStrategy[Any]:
        spec = getattr(
            dlt_words, f"{getattr(PAGINATOR_MAP[name], '__name__', '')}Config", dlt_words.PaginatorTypeConfig
        )
        paths = {key: SAFE_PATH for key in typing.get_type_hints(spec) if key.endswith("_path")}
        own = {"limit": st.integers(1, 500)} if name == "offset" else {}
        return typed(spec, type=st.just(name), **paths, **own)

    return st.sampled_from(sorted(PAGINATOR_MAP)).flatmap(of_type)


def endpoints() -> st.SearchStrategy[dict[str, Any]]:
    placeholders = st.sampled_from(
        ["v1/users", "u/{resources.parents.id}", "{resources.nobody.id}", "{x}", "a{{b}}"]
    )
    return typed(
        dlt_words.Endpoint,
        path=placeholders,
        params=st.one_of(
            st.dictionaries(WORDS, st.one_of(WORDS, st.integers(), placeholders), max_size=2),
            st.just({"x": "y"}),
            st.just({"since": {"type": "incremental", "cursor_path": "at"}}),
        ),
        json=st.dictionaries(WORDS, st.one_of(WORDS, st.integers()), max_size=2),
        data=WORDS,
        paginator=paginators(),
        data_selector=SAFE_PATH,
        response_actions=st.just([{"status_code": 404, "action": "ignore"}]),
        auth=st.none(),
        headers=st.dictionaries(WORDS, WORDS, max_size=2),
        incremental=typed(dlt_words.IncrementalConfig, cursor_path=SAFE_PATH),
    ).flatmap(
        lambda endpoint: st.sets(st.sampled_from(sorted(endpoint))).map(
            lambda keys: {k: endpoint[k] for k in keys}
        )
    )


def guides() -> st.SearchStrategy[dict[str, Any]]:
    resource = typed(
        dlt_words.EndpointResource,
        name=st.sampled_from(["users", "userGroups"]),
        endpoint=endpoints(),
        columns=st.dictionaries(WORDS, typed(TColumnSchema), max_size=2),
        include_from_parent=st.just([]),
    )
    return st.fixed_dictionaries(
        {
            "client": st.just({"base_url": ADDRESS}),
            "resources": resource.map(lambda users: ["parents", users]),
        }
    )


def dlt_accepts(guide: dict[str, Any]) -> bool:
    try:
        rest_api_resources(copy.deepcopy(guide))  # type: ignore[arg-type]
    except Exception:
        return False
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(guides())
def test_dlt_and_the_vocabulary_agree(guide: dict[str, Any]) -> None:
    accepted = dlt_accepts(guide)
    found = messages(guide)
    if accepted:
        assert found == []
    in_file = copy.deepcopy(guide)
    del in_file["client"]["base_url"]
    if not messages(in_file, python=False):
        assert accepted, guide


# ---- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guide", "expected"),
    [
        (None, "the configuration is a mapping, not nothing"),
        ([], "the configuration is a mapping, not a list"),
        ({**python_guide(), "description": "x"}, "description: unknown key"),
        (python_guide(description="x"), "is a word of connection files"),
        (python_guide({"auth": {"type": "oauth2", "client_secret": 123}}), "dlt.secrets.get(name, str)"),
        (python_guide({"auth": 3}), "client.auth: has to be a mapping with a type, not a whole number"),
        (python_guide({"session": "x"}), "client.session: has to be an object of Session, not a text"),
        (python_guide(processing_steps=[{"filter": 1}]), "filter: has to be a function"),
        (python_guide(columns={"a": {"data_type": "timestmp"}}), "did you mean `timestamp`?"),
        (python_guide(primary_key=[]), "the name of a column or a list of names"),
        (python_guide(columns=[{"data_type": "text"}]), "columns[0].name: is missing"),
        (python_guide(endpoint={"method": "GETT"}), "did you mean `GET`?"),
        (python_guide(endpoint={"data_selector": "$["}), "is not a JSON path"),
        (python_guide(endpoint={"params": {"a": {"type": "x"}}}), "allowed: `resolve`, `incremental`"),
        (python_guide(endpoint={"paginator": {"limit": 1}}), "paginator.type: is missing"),
        (python_guide(endpoint={"error_handler": None}), "error_handler is a mapping, not nothing"),
        (python_guide(endpoint={"error_handler": {"max_retries": True}}), "has to be a whole number"),
        (python_guide(endpoint={"error_handler": {"backoff_factor": float("nan")}}), "has to be a number"),
        ({"client": {"base_url": "ftp://x"}, "resources": ["a"]}, "begins with http:// or https://"),
    ],
)
def test_a_mistake_in_python_is_named(guide: Any, expected: str) -> None:
    assert expected in "\n".join(messages(guide))


def test_the_value_of_a_text_is_not_shown() -> None:
    guide = python_guide({"auth": "geheim", "paginator": "geheim", "headers": "geheim", "proxy": "geheim"})
    found = messages(guide)
    assert len(found) == 4
    assert "geheim" not in "\n".join(found)


def test_owners_and_tags_are_those_that_dagster_takes() -> None:
    content = {
        "client": {},
        "resources": ["users"],
        "owners": ["team:data", "some.one+x@mail.example.com"],
        "tags": {"team/domain": "messaging", "a.b-c_d": ""},
    }
    assert messages(content, python=False) == []
    AssetSpec("users", owners=content["owners"], tags=content["tags"])  # type: ignore[arg-type]
    wrong = {
        **content,
        "owners": ["nobody", "team:", "a@b"],
        "tags": {"a b": "x", "": "x", "c": "x y", "d": 1},
    }
    assert len(messages(wrong, python=False)) == 7


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all fields of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, field in inner for place in places(field, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], key: Any, value: Any) -> Any:
    """A copy of the document with this value under this key, beside the field that the path names."""
    document = copy.deepcopy(document)
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    parent[key] = value
    return document


CONTENT = {
    **yaml.safe_load(PACKAGED.read_text(encoding="utf-8")),
    "analytics": {"time_zone": "Europe/Zurich", "columns": {"messages": {"channel_id": "room"}}},
}
FIELDS = [path for path in places(CONTENT) if path]


class Odd:
    """A value that no field takes."""


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FIELDS), st.sampled_from([Odd(), {"odd": 1}, [["odd"]], True]))
def test_a_wrong_value_anywhere_is_a_mistake_at_its_place(path: tuple[Any, ...], value: Any) -> None:
    wrong = replaced(CONTENT, path, path[-1], value)
    found = mistakes_in(wrong)
    assert found
    assert any(mistake.path[: len(path)] == path for mistake in found), [str(mistake) for mistake in found]


@given(
    st.sampled_from([path for path in FIELDS if isinstance(path[-1], str)]),
    st.text(alphabet="xyz", min_size=1),
)
def test_an_unknown_key_anywhere_is_one_mistake_at_its_place(path: tuple[Any, ...], suffix: str) -> None:
    wrong = replaced(CONTENT, path, f"{path[-1]}{suffix}", None)
    found = mistakes_in(wrong)
    assert [mistake.path for mistake in found] == [(*path[:-1], f"{path[-1]}{suffix}")]
    assert "unknown key" in found[0].message


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), ANYTHING), min_size=1, max_size=4), st.booleans())
def test_any_document_gives_mistakes_or_none_but_no_other_error(
    changes: list[tuple[tuple[Any, ...], Any]], python: bool
) -> None:
    document = copy.deepcopy(CONTENT)
    for path, value in changes:
        try:
            document = replaced(document, path, path[-1], value)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that field away
    found = mistakes_in(document, python=python)
    assert found == sorted(found, key=lambda mistake: (mistake.order, mistake.message))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(ANYTHING.map(yaml.safe_dump), st.text(max_size=40)))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "messaging.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(ConfigurationError):
        read_connection(file)


@pytest.mark.parametrize(
    ("client", "mistake"),
    [
        ({"in_flight": 1, "requests_per_second": 0.5}, None),
        ({"in_flight": 0}, "client.in_flight: has to be a whole number of at least 1, not 0"),
        ({"in_flight": 2.5}, "client.in_flight: has to be a whole number of at least 1, not 2.5"),
        ({"requests_per_second": 0}, "client.requests_per_second: has to be a number above 0, not 0"),
        ({"requests_per_second": "5"}, "client.requests_per_second: has to be a number above 0, not a text"),
        ({"request_per_second": 5}, "client.request_per_second: unknown key"),
    ],
)
@pytest.mark.parametrize("python", [True, False])
def test_how_fast_the_api_may_be_asked(client: dict[str, Any], mistake: str | None, python: bool) -> None:
    address = {"base_url": ADDRESS} if python else {}
    found = messages({"client": {**address, **client}, "resources": ["users"]}, python=python)
    assert len(found) == (mistake is not None)
    assert all(told.startswith(mistake or "-") for told in found)
