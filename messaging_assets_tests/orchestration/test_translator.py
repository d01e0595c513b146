"""What the tables and the API's side look like in the catalogue, value by value."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dlt
import pytest
from dagster import AssetKey, AssetSpec, CodeReferencesMetadataValue, FreshnessPolicy, LocalFileCodeReference
from dagster_dlt.translator import DltResourceTranslatorData

from messaging_assets.api.connection import Connection, connection_from_dict, read_connection
from messaging_assets.orchestration.lineage import DEFAULT_OWNERS, api_specs
from messaging_assets.orchestration.translator import MATERIALISATION, MessagingTranslator

pytestmark = pytest.mark.dagster

FILE = """\
description: The guide's workspace
owners: [team:chat, ann@example.com]
tags: {domain: messaging}
client:
  auth: {type: oauth2, token_url: /oauth/token}
resource_defaults:
  endpoint: {data_selector: data, paginator: {type: offset, limit: 100}}
resources:
  - {name: users, endpoint: {path: /v1/users}}
  - name: userGroups
    description: Who belongs together
    primary_key: [group, member]
    endpoint: /v1/groups
freshness: {warn_after_hours: 1, fail_after_hours: 3}
"""


@pytest.fixture
def chat(tmp_path: Path) -> Connection:
    file = tmp_path / "chat.yaml"
    file.write_text(FILE)
    return read_connection(file)


def lines(spec: AssetSpec) -> list[tuple[str, int | None]]:
    """The code references of an asset: file and line."""
    value = spec.metadata["dagster/code_references"]
    assert isinstance(value, CodeReferencesMetadataValue)
    references = [one for one in value.code_references if isinstance(one, LocalFileCodeReference)]
    return [(Path(one.file_path).name, one.line_number) for one in references]


def test_a_table(chat: Connection) -> None:
    spec = MessagingTranslator(chat).spec(chat.resource("users"))
    assert spec.key == AssetKey(["chat", "users"])
    assert [dep.asset_key for dep in spec.deps] == [AssetKey(["chat", "api", "users"])]
    assert spec.group_name == "chat"
    assert spec.kinds == {"dlt", "duckdb"}
    assert list(spec.owners) == ["team:chat", "ann@example.com"]
    assert {name: value for name, value in spec.tags.items() if not name.startswith("dagster/")} == {
        "domain": "messaging",
        "messaging/connection": "chat",
    }
    assert spec.freshness_policy == FreshnessPolicy.time_window(timedelta(hours=3), timedelta(hours=1))
    assert spec.automation_condition is None
    assert spec.description is not None
    assert spec.description.startswith("The users of the connection `chat`.")
    assert "`chat.users`" in spec.description
    assert lines(spec) == [("chat.yaml", 9), ("assets.py", 1)]
    assert MATERIALISATION.is_file()
    told = {name: value for name, value in spec.metadata.items() if not name.startswith("dagster/")}
    assert told == {"path": "/v1/users", "primary_key": "id", "write_disposition": "merge"}


def test_a_table_is_called_as_duckdb_calls_it(chat: Connection) -> None:
    spec = MessagingTranslator(chat).spec(chat.resource("userGroups"))
    assert spec.key == AssetKey(["chat", "user_groups"])
    assert spec.description is not None
    assert spec.description.startswith("Who belongs together")
    assert spec.metadata["primary_key"] == "group, member"
    assert lines(spec)[0] == ("chat.yaml", 10)


@pytest.mark.parametrize("name", ["userGroups", "user_groups"])
def test_what_dlt_stages_is_the_same_asset(chat: Connection, name: str) -> None:
    pipeline = dlt.pipeline("staging", destination="duckdb")
    data = DltResourceTranslatorData(resource=dlt.resource([], name=name), pipeline=pipeline)
    translator = MessagingTranslator(chat)
    assert translator.get_asset_spec(data) == translator.spec(chat.resource("userGroups"))


@pytest.mark.parametrize("told", ["Who they are", "Who they are."])
def test_what_the_file_says_stands_as_a_sentence_before_the_rest(chat: Connection, told: str) -> None:
    users, *others = chat.resources
    described = replace(chat, resources=(replace(users, description=told), *others))
    spec = MessagingTranslator(described).spec(described.resource("users"))
    assert str(spec.description).startswith("Who they are.\n\nTable `chat.users` in DuckDB")


def test_the_api_side_of_a_table(chat: Connection) -> None:
    [users, groups] = api_specs(chat)
    assert users.key == AssetKey(["chat", "api", "users"])
    assert groups.key == AssetKey(["chat", "api", "user_groups"])
    assert users.group_name == "chat_api"
    assert users.kinds == {"rest", "json"}
    assert list(users.owners) == ["team:chat", "ann@example.com"]
    assert users.description is not None
    assert users.description.startswith("The users at their source: `/v1/users` of the API that")
    assert lines(users) == [("chat.yaml", 9)]


def test_a_connection_without_file_and_owners_is_complete_too(chat: Connection) -> None:
    guide = {"client": {"base_url": "https://api.example.com"}, "resources": ["users"]}
    python = connection_from_dict("python", guide)
    spec = MessagingTranslator(python).spec(python.resource("users"))
    assert tuple(spec.owners) == DEFAULT_OWNERS
    assert lines(spec) == [("assets.py", 1)]
    assert all("dagster/code_references" not in api.metadata for api in api_specs(python))


def test_an_edit_of_the_resource_is_a_new_version_of_the_code(chat: Connection) -> None:
    users, *others = chat.resources
    moved = replace(users, endpoint={**users.endpoint, "path": "/v2/users"})
    other = replace(chat, description="another one")
    edited = replace(chat, resources=(moved, *others))
    versions = [
        MessagingTranslator(one).spec(one.resource("users")).code_version for one in (chat, other, edited)
    ]
    assert versions[0] == versions[1] != versions[2]
