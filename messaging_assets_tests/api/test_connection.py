"""Connection files: what is read from them, and which mistakes are named."""

from pathlib import Path
from typing import Any

import dlt
import pytest
import yaml

from messaging_assets.api.connection import (
    Connection,
    Freshness,
    Schedule,
    Sensor,
    connection_from_dict,
    read_connection,
    read_connections,
)
from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import ConfigurationError
from messaging_assets_tests.conftest import Project

PACKAGED = Path(__file__).parents[2] / "messaging_assets" / "connections" / "messaging.yaml"
GUIDES_ERROR_HANDLER = ErrorHandler(frozenset({429, 500, 502, 503, 504}), max_retries=3, backoff_factor=2)


def write(folder: Path, text: str, name: str = "messaging.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def read(folder: Path, text: str) -> Connection:
    return read_connection(write(folder, text))


def mistakes(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)
    return caught.value.mistakes


def test_the_packaged_file_is_the_guide_in_its_own_words() -> None:
    connection = read_connection(PACKAGED)
    content = yaml.safe_load(PACKAGED.read_text(encoding="utf-8"))
    assert content["client"]["auth"]["type"] == "oauth2"
    assert "base_url" not in content["client"]
    assert connection.name == "messaging"
    assert [resource.name for resource in connection.resources] == ["users", "channels", "messages"]
    assert [resource.table for resource in connection.resources] == ["users", "channels", "messages"]
    for resource in connection.resources:
        assert resource.endpoint["path"] == f"/v1/{resource.name}"
        assert resource.endpoint["data_selector"] == "data"
        assert resource.paginator == {"type": "offset", "limit": 100}
        assert resource.primary_key == ("id",)
        assert resource.write_disposition == "merge"
        assert resource.error_handler == GUIDES_ERROR_HANDLER
        assert resource.description
    assert connection.notes == ()


def test_what_a_file_does_not_say_has_defaults(tmp_path: Path) -> None:
    connection = read(tmp_path, "client: {}\nresources: [users]")
    assert connection.description == ""
    assert connection.owners == ()
    assert connection.schedules.sync == Schedule("*/15 * * * *", "UTC", enabled=True)
    assert connection.schedules.reconcile == Schedule("30 3 * * *", "UTC", enabled=True)
    assert connection.sensor == Sensor(60, enabled=True)
    assert connection.freshness == Freshness(2.0, 6.0, 24.0, 72.0)
    assert connection.max_deleted_share == 0.1
    assert connection.analytics.time_zone == "UTC"
    assert connection.analytics.column("messages", "channel_id") == "channel_id"
    users = connection.resource("users")
    assert users.endpoint == {"path": "users"}
    assert users.error_handler.retry_on_status_codes == GUIDES_ERROR_HANDLER.retry_on_status_codes
    assert users.paginator is None
    assert users.primary_key == ("id",)
    with pytest.raises(KeyError):
        connection.resource("nobody")


def test_what_a_file_says_is_read(tmp_path: Path) -> None:
    connection = read(
        tmp_path,
        """
        description: A workspace
        owners: [team:data, someone@example.com]
        tags: {domain: messaging, empty: ""}
        schedules:
          sync: {cron: "@hourly", timezone: Europe/Berlin, enabled: false}
          reconcile: {cron: 0 4 * * sun}
        sensor: {interval_seconds: 30, enabled: false}
        freshness: {warn_after_hours: 1, fail_after_hours: 2.5}
        max_deleted_share: 0.5
        analytics: {time_zone: Europe/Zurich, columns: {messages: {channel_id: room}}}
        client:
          paginator: {type: offset, limit: 50}
        resources:
          - name: userGroups
            primary_key: [team, id]
            write_disposition: {disposition: merge, strategy: upsert}
            columns: [{name: created_at, data_type: timestamp}]
            selected: false
          - name: posts
            columns: {key: {primary_key: true, data_type: bigint}}
            endpoint: {paginator: {type: offset, limit: 10}}
          - messages
        """,
    )
    assert connection.owners == ("team:data", "someone@example.com")
    assert connection.tags == {"domain": "messaging", "empty": ""}
    assert connection.schedules.sync == Schedule("@hourly", "Europe/Berlin", enabled=False)
    assert connection.schedules.reconcile == Schedule("0 4 * * sun", "UTC", enabled=True)
    assert connection.sensor == Sensor(30, enabled=False)
    assert connection.freshness == Freshness(1.0, 2.5, 24.0, 72.0)
    assert connection.max_deleted_share == 0.5
    assert connection.analytics.time_zone == "Europe/Zurich"
    assert connection.analytics.column("messages", "channel_id") == "room"
    assert connection.analytics.column("messages", "user_id") == "user_id"
    groups, posts, _ = connection.resources
    assert (groups.name, groups.table) == ("userGroups", "user_groups")
    assert groups.primary_key == ("team", "id")
    assert groups.write_disposition == "merge"
    assert groups.columns == {"created_at": "timestamp"}
    assert groups.selected is False
    assert groups.paginator == {"type": "offset", "limit": 50}
    assert posts.paginator == {"type": "offset", "limit": 10}
    assert posts.primary_key == ("key",)


def test_defaults_and_endpoint_are_merged_as_dlt_merges_them(tmp_path: Path) -> None:
    connection = read(
        tmp_path,
        """
        client: {}
        resource_defaults:
          columns: {id: {data_type: text}, at: {data_type: date}}
          endpoint:
            params: {a: 1, b: 2}
            headers: {Accept: json}
            paginator: single_page
        resources:
          - name: users
            columns: {at: {data_type: timestamp}}
            endpoint:
              params: {b: 3}
              headers: {X-Version: "2"}
        """,
    )
    users = connection.resource("users")
    assert users.endpoint["params"] == {"a": 1, "b": 3}
    assert users.endpoint["headers"] == {"X-Version": "2"}
    assert users.paginator == "single_page"
    assert users.columns == {"id": "text", "at": "timestamp"}
    assert "params" in users.definition["endpoint"]
    assert "paginator" not in users.definition["endpoint"]


@pytest.mark.parametrize(
    ("client", "defaults", "own", "expected"),
    [
        ("{}", "{}", "{}", 3),
        ("{error_handler: {max_retries: 5}}", "{}", "{}", 5),
        ("{error_handler: {max_retries: 5}}", "{endpoint: {error_handler: {max_retries: 6}}}", "{}", 6),
        (
            "{error_handler: {max_retries: 5}}",
            "{endpoint: {error_handler: {max_retries: 6}}}",
            "{error_handler: {max_retries: 7}}",
            7,
        ),
        # The nearest one counts as a whole: what it does not say is the guide's, not the next one's.
        ("{error_handler: {max_retries: 5}}", "{}", "{error_handler: {backoff_factor: 1}}", 3),
    ],
)
def test_the_nearest_error_handler_counts(
    tmp_path: Path, client: str, defaults: str, own: str, expected: int
) -> None:
    text = f"client: {client}\nresource_defaults: {defaults}\nresources: [{{name: users, endpoint: {own}}}]"
    assert read(tmp_path, text).resource("users").error_handler.max_retries == expected


def test_values_are_what_they_look_like(tmp_path: Path) -> None:
    connection = read(
        tmp_path,
        """
        client: {}
        resources:
          - name: users
            endpoint:
              params: {since: 2024-01-25T11:21:28Z, day: 2024-01-25, zip: 01234, at: 12:30, ok: no, n: 7}
        """,
    )
    assert connection.resource("users").endpoint["params"] == {
        "since": "2024-01-25T11:21:28Z",
        "day": "2024-01-25",
        "zip": "01234",
        "at": "12:30",
        "ok": "no",
        "n": 7,
    }


def test_hints_without_effect_are_named(tmp_path: Path) -> None:
    connection = read(
        tmp_path,
        """
        client: {}
        resource_defaults: {table_format: native, merge_key: id}
        resources:
          - {name: users, schema_contract: freeze, write_disposition: {disposition: merge, strategy: scd2}}
        """,
    )
    notes = "\n".join(connection.notes)
    assert len(connection.notes) == 4
    for words in ("resource_defaults: `table_format`", "`merge_key`", "users: `schema_contract`", "strategy"):
        assert words in notes


def test_the_guide_is_given_back_as_a_copy(tmp_path: Path) -> None:
    connection = read(tmp_path, "client: {headers: {A: b}}\nresources: [{name: users, description: People}]")
    guide = connection.guide()
    assert guide == {
        "client": {"headers": {"A": "b"}},
        "resource_defaults": {},
        "resources": [{"name": "users"}],
    }
    guide["client"]["headers"]["A"] = "c"
    assert connection.client["headers"] == {"A": "b"}


# ---- mistakes ------------------------------------------------------------------------------------


def test_all_mistakes_are_named_at_once_in_the_order_of_their_place(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        """
        client: {auth: {type: oauth}, header: {}}
        resources:
          - {name: users, endpoint: {paginator: {type: offset, limt: 100}}}
          - {name: Users, primary_key: []}
        schedules: {sync: {cron: "*/15 * * *"}}
        """,
    )
    assert [mistake.split(": ")[1] for mistake in found] == [
        "client.auth.type",
        "client.header",
        "resources[0].endpoint.paginator.limt",
        "resources[1].name",
        "resources[1].primary_key",
        "schedules.sync.cron",
    ]
    assert all(mistake.startswith("messaging.yaml: ") for mistake in found)
    assert "did you mean `limit`?" in found[2]
    assert "`maximum_offset`" in found[2]
    assert "did you mean `headers`?" in found[1]
    assert "did you mean `oauth2`?" in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("# nothing but a comment", "is empty"),
        ("a: [", "line 1: this is not YAML"),
        ("client: {}\n\tresources: []", "line 2: this is not YAML"),
        ("client: !python/object:os.system x\nresources: [users]", "line 1: this is not YAML"),
        ("client: {}\n---\nclient: {}", "this is not YAML"),
        ("- users", "is a mapping, not a list"),
        (
            "client: {}\nresources: [users]\nclient: {}",
            "line 3: the key `client` stands here again, first in line 1",
        ),
        ("client: &a [*a]\nresources: [users]", "nested too deeply"),
        ("client: {}\nresources: [users]\nx: " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("resources: [users]", "client: is missing"),
        ("client: {}", "resources: is missing"),
        ("client: {}\nresources: []", "resources: has to be a list with at least one resource"),
        ("client: {}\nresources: [{endpoint: users}]", "resources[0].name: is missing"),
        ("client: {}\nresources: [users, users]", "resources[1]: the resource `users` stands here again"),
        ("client: {}\nresources: [userIds, user_ids]", "the same table `user_ids`"),
        ("client: {}\nresources: [analytics]", "`analytics` is reserved"),
        ("client: {}\nresources: [_mine]", "`_mine` is reserved"),
        ("client: {}\nresources: [{name: users, write_disposition: skip}]", "use `selected: false`"),
        (
            "client: {}\nresources: [{name: users, write_disposition: "
            "{disposition: merge, strategy: scd2, active_record_timestamp: soon}}]",
            "active_record_timestamp: has to be a point in time",
        ),
        ("client: {base_url: 'https://x'}\nresources: [users]", "SOURCES__MESSAGING__BASE_URL"),
        (
            "client: {}\nresources: [{name: users, endpoint: https://other/v1}]",
            "below the connection's address",
        ),
        ("client: {session: x}\nresources: [users]", "Python functions or objects"),
        ("client: {}\nresources: [{name: users, processing_steps: []}]", "Python functions or objects"),
        ("client: {}\nresources: [users]\nsensor: {interval_seconds: 0}", "at least 1, not 0"),
        (
            "client: {}\nresources: [users]\nfreshness: {warn_after_hours: 7}",
            "fail_after_hours: has to be more",
        ),
        ("client: {}\nresources: [users]\nschedules: {sync: {timezone: Europe/Berln}}", "`Europe/Berlin`?"),
        ("client: {}\nresources: [users]\nanalytics: {time_zone: Europe/Zurch}", "`Europe/Zurich`?"),
        ("client: {}\nresources: [users]\nanalytics: {time_zone: localtime}", "is not a time zone"),
        (
            "client: {}\nresources: [users]\nanalytics: {columns: {user: {}}}",
            "analytics.columns.user: unknown key; did you mean `users`?",
        ),
        (
            "client: {}\nresources: [users]\nanalytics: {columns: {messages: {text: body}}}",
            "analytics.columns.messages: there is no resource `messages` in this file; resources: `users`",
        ),
        (
            "client: {}\nresources: [messages]\nanalytics: {columns: {messages: {channel: room}}}",
            "analytics.columns.messages.channel: unknown key; did you mean `channel_id`?",
        ),
        (
            "client: {}\nresources: [messages]\nanalytics: {columns: {messages: {channel_id: roomId}}}",
            "channel_id: is not the name of a column: in the warehouse it is called `room_id`",
        ),
        (
            "client: {}\nresources: [messages]\nanalytics: {columns: {messages: {channel_id: null}}}",
            "analytics.columns.messages.channel_id: has to be the name of a column, not nothing",
        ),
        (
            "client: {timeouts: {read: 0}}\nresources: [users]",
            "client.timeouts.read: has to be a number above 0",
        ),
        (
            "client: {error_handler: {retry_on_status_codes: [99]}}\nresources: [users]",
            "from 100 to 599, not 99",
        ),
        ("client: {paginator: {type: offset, limit: 0}}\nresources: [users]", "at least 1, not 0"),
        ("client: {paginator: offset}\nresources: [users]", "client.paginator.limit: is missing"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in "\n".join(mistakes(tmp_path, text))


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ('{path: "u/{resources.chanels.id}"}', "there is no resource `chanels` to take values from"),
        ('{path: "u/{resources.chanels.id}"}', "did you mean `channels`?"),
        (
            '{path: "u/{id}", params: {id: {type: resolve, resource: nobody, field: id}}}',
            "no resource `nobody`",
        ),
        ('{path: "u/{id}"}', "the placeholder {id} means nothing here"),
        ('{path: "u/{resources.channels.id}/{resources.other.id}"}', "several resources"),
        ('{path: "u/{resources.users.id}"}', "no resource `users`"),
        ('{params: {q: "{incremental.start_value}"}}', "{incremental.start_value} means nothing here"),
        ('{params: {q: "{"}}', "a brace without its partner"),
        ("{params: {id: {type: resolve, resource: channels, field: id}}}", "is not used in the path"),
        (
            '{response_actions: [{status_code: "404", action: ignore}]}',
            "status_code: has to be a whole number",
        ),
        ("{incremental: {cursor_path: at, on_cursor_value_missing: null}}", "dlt refuses this incremental"),
        ("{incremental: {cursor_path: at, convert: str}}", "Python functions or objects"),
    ],
)
def test_a_mistake_in_an_endpoint_is_named(tmp_path: Path, endpoint: str, expected: str) -> None:
    text = f"client: {{}}\nresources: [channels, other, {{name: users, endpoint: {endpoint}}}]"
    assert expected in "\n".join(mistakes(tmp_path, text))


def test_free_values_are_taken_as_they_are(tmp_path: Path) -> None:
    text = """
    client: {}
    resources:
      - name: users
        endpoint:
          method: POST
          data: {q: [1, {a: null}]}
          json: {q: [1, {a: null}]}
          incremental: {cursor_path: at, initial_value: 2024-01-01, end_value: 2025-01-01}
    """
    endpoint = read(tmp_path, text).resource("users").endpoint
    assert endpoint["data"] == endpoint["json"] == {"q": [1, {"a": None}]}
    assert endpoint["incremental"]["initial_value"] == "2024-01-01"


def test_positions_are_ordered_as_numbers(tmp_path: Path) -> None:
    resources = "\n".join(f"  - {{name: r{number}, endpoint: 1}}" for number in range(12))
    found = mistakes(tmp_path, f"client: {{}}\nresources:\n{resources}")
    assert [mistake.split(": ")[1] for mistake in found] == [f"resources[{n}].endpoint" for n in range(12)]


def test_resources_cannot_wait_for_each_other(tmp_path: Path) -> None:
    text = """
    client: {}
    resources:
      - {name: a, endpoint: {path: "{resources.b.id}"}}
      - {name: b, endpoint: {path: "{resources.a.id}"}}
    """
    assert "wait for each other" in "\n".join(mistakes(tmp_path, text))


@pytest.mark.parametrize(
    "client",
    [
        "{auth: {type: oauth2, client_id: geheim}}",
        "{auth: {type: oauth2, client_secret: geheim}}",
        "{auth: {type: bearer, token: geheim}}",
        "{auth: {token: geheim}}",
        "{auth: {type: api_key, api_key: geheim}}",
        "{auth: {type: http_basic, username: me, password: geheim}}",
        "{auth: {type: oauth2_client_credentials, client_secret: geheim}}",
        "{auth: {type: oauth2, access_token_request_data: {password: geheim}}}",
        "{headers: {Authorization: Bearer geheim}}",
        "{headers: {X-Api-Key: geheim}}",
        "{headers: {X-Custom: Bearer geheim}}",
        "{proxy: 'http://me:geheim@proxy'}",
        "{auth: geheim}",
        "{headers: {X-Api-Key: '${env:geheim}'}}",
    ],
)
def test_a_literal_secret_is_refused_and_not_shown(tmp_path: Path, client: str) -> None:
    found = mistakes(tmp_path, f"client: {client}\nresources: [users]")
    assert len(found) == 1
    assert "geheim" not in found[0]
    assert "secret" in found[0] or "Allowed" in found[0]


@pytest.mark.parametrize(
    "endpoint",
    ["{path: '/v1/users?api_key=geheim'}", "{params: {api_key: geheim}}", "{json: {client_secret: geheim}}"],
)
def test_a_literal_secret_in_an_endpoint_is_refused(tmp_path: Path, endpoint: str) -> None:
    found = mistakes(tmp_path, f"client: {{}}\nresources: [{{name: users, endpoint: {endpoint}}}]")
    assert len(found) == 1
    assert "geheim" not in found[0]
    assert "[sources.messaging]" in found[0]


def test_references_to_secrets_may_stand_in_any_text(tmp_path: Path) -> None:
    connection = read(
        tmp_path,
        """
        client:
          auth: {type: api_key, name: X-Key, api_key: "${secret:api_key}"}
          headers: {Authorization: "Bearer ${secret:token}", X-Workspace: "${secret:workspace}"}
          proxy: "http://me:${secret:proxy_password}@proxy:8080"
        resources:
          - {name: users, endpoint: {params: {token: "${secret:token}", page_token: first, key: value}}}
        """,
    )
    assert connection.client["headers"]["X-Workspace"] == "${secret:workspace}"


# ---- folders -------------------------------------------------------------------------------------

SMALL = "client: {}\nresources: [users]"


def test_a_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    write(tmp_path, SMALL, "zulu.yaml")
    write(tmp_path, SMALL, "alpha.yml")
    write(tmp_path, "not: [yaml", ".hidden.yaml")
    write(tmp_path, "not: [yaml", "notes.txt")
    assert [connection.name for connection in read_connections(tmp_path)] == ["alpha", "zulu"]


def test_the_mistakes_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, "client: {}\nresources: [{nam: users}]", "zulu.yaml")
    write(tmp_path, SMALL, "Alpha-1.yaml")
    write(tmp_path, "client: 1\nresources: 2", "beta.yaml")
    with pytest.raises(ConfigurationError) as caught:
        read_connections(tmp_path)
    files = [mistake.split(": ")[0] for mistake in caught.value.mistakes]
    assert files == ["Alpha-1.yaml", "beta.yaml", "beta.yaml", "zulu.yaml"]


@pytest.mark.parametrize("name", ["Messaging.yaml", "1st.yaml", "my-team.yaml", "_x.yaml", "main.yaml"])
def test_a_file_has_the_name_of_a_connection(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        read_connection(write(tmp_path, SMALL, name))


def test_an_empty_or_missing_folder_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        read_connections(tmp_path)
    with pytest.raises(ConfigurationError, match="no such folder"):
        read_connections(tmp_path / "nothing")


def test_two_connections_do_not_share_a_schema(tmp_path: Path) -> None:
    for name in (
        "team.yaml",
        "team_analytics.yaml",
        "team_staging.yaml",
        "other_staging.yaml",
        "same.yaml",
        "same.yml",
    ):
        write(tmp_path, SMALL, name)
    with pytest.raises(ConfigurationError) as caught:
        read_connections(tmp_path)
    assert [mistake.split(": ")[0] for mistake in caught.value.mistakes] == [
        "same.yml",
        "team_analytics.yaml",
        "team_staging.yaml",
    ]


def test_an_unreadable_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "messaging.yaml").write_bytes(b"client: \xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_connections(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_connection(tmp_path / "absent.yaml")


def test_the_configured_folder_is_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [connection.name for connection in read_connections()] == ["messaging"]
    project.write("mine/slow.yaml", SMALL)
    monkeypatch.setenv("MESSAGING__CONNECTIONS", "mine")
    assert [connection.name for connection in read_connections()] == ["slow"]


# ---- Python --------------------------------------------------------------------------------------


def guide() -> dict[str, Any]:
    """The guide as it is printed, with one resource of dlt's own beside it."""
    paginator = {"type": "offset", "limit": 100}
    return {
        "client": {
            "base_url": "https://api.example.com",
            "auth": {
                "type": "oauth2",
                "client_id": "id",
                "client_secret": "secret",
                "token_url": "https://api.example.com/oauth/token",
            },
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
        "resources": [
            {
                "name": name,
                "endpoint": {"path": f"/v1/{name}", "data_selector": "data", "paginator": paginator},
            }
            for name in ("users", "channels", "messages")
        ],
    }


def test_the_guides_dictionary_is_right_as_it_stands() -> None:
    given = guide()
    connection = connection_from_dict("rest_api", given)
    assert given == guide()
    assert connection.guide() == guide()
    assert connection.file is None


def test_a_resource_of_dlt_stays_what_it_is() -> None:
    own = dlt.resource([{"id": 1}], name="own")
    connection = connection_from_dict("rest_api", {**guide(), "resources": [own, "users"]})
    assert connection.guide()["resources"][0] is own
    assert [resource.name for resource in connection.resources] == ["own", "users"]


def test_mistakes_in_a_dictionary_are_named_by_its_name() -> None:
    with pytest.raises(ConfigurationError, match=r"rest_api: client\.base_url: is missing"):
        connection_from_dict("rest_api", {**guide(), "client": {}})
