import copy
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pytest
import requests
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

from messaging_assets.api import Api, rest_api_source
from messaging_assets.api.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    ForbiddenError,
    MalformedPageError,
    MessagingError,
    PagingError,
    ResponseStatusError,
    UnreachableError,
)
from messaging_assets.api.page import PageDecoder
from messaging_assets.sandbox import At, Broken, Delete, Faults, Insert, Sandbox
from messaging_assets_tests.api.fake_clock import FakeClock
from messaging_assets_tests.api.small_server import Received, Reply, SmallServer

ROOT = Path(__file__).parents[2]
NAMES = ("users", "channels", "messages")


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox(users=30, messages=320) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    shared_sandbox.order(Faults())
    shared_sandbox.reset_counters()
    return shared_sandbox


def guide(sandbox: Sandbox, *names: str, **endpoint: Any) -> dict[str, Any]:
    """The integration guide's configuration, word for word but for the address."""
    return {
        "client": {
            "base_url": sandbox.base_url,
            "auth": {
                "type": "oauth2",
                "client_id": sandbox.client_id,
                "client_secret": sandbox.client_secret,
                "token_url": sandbox.base_url + "/oauth/token",
            },
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
        "resources": [
            {
                "name": name,
                "endpoint": {
                    "path": f"/v1/{name}",
                    "data_selector": "data",
                    "paginator": {"type": "offset", "limit": 100},
                    **endpoint,
                },
            }
            for name in names or NAMES
        ],
    }


def api(config: dict[str, Any], clock: FakeClock | None = None) -> Api:
    return Api(config, name="messaging", clock=clock or FakeClock())


def rows(config: dict[str, Any], resource: str, clock: FakeClock | None = None) -> list[Any]:
    """Read a resource through dlt, without a pipeline."""
    with api(config, clock) as opened:
        return list(opened.source().resources[resource])


def cause(error: BaseException) -> MessagingError:
    """Return our error inside of dlt's."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, MessagingError):
        found = found.__cause__ or found.__context__
    assert isinstance(found, MessagingError)
    return found


def failure(config: dict[str, Any], resource: str) -> MessagingError:
    with pytest.raises(Exception) as raised:
        rows(config, resource)
    return cause(raised.value)


def ids(read: list[Any]) -> list[Any]:
    return [row["id"] for row in read]


# --- the guide as it stands

SCRIPT = """
import sys
import dlt
from messaging_assets.api import rest_api_source
from messaging_assets.sandbox import Faults, Sandbox

def main():
    with Sandbox(users=30, messages=320, faults=Faults(page_cap=40)) as sandbox:
        source = rest_api_source({
            "client": {"base_url": sandbox.base_url,
                       "auth": {"type": "oauth2", "client_id": sandbox.client_id,
                                "client_secret": sandbox.client_secret,
                                "token_url": sandbox.base_url + "/oauth/token"}},
            "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
            "resources": [
                {"name": name, "endpoint": {"path": "/v1/" + name, "data_selector": "data",
                    "paginator": {"type": "offset", "limit": 100},
                    "error_handler": {"retry_on_status_codes": [429, 500, 502, 503, 504],
                                      "max_retries": 3, "backoff_factor": 2}}}
                for name in ("users", "channels", "messages")]})
        pipeline = dlt.pipeline("guide", destination=dlt.destinations.duckdb("guide.duckdb"),
                                dataset_name="messages", pipelines_dir="pipelines")
        pipeline.run(source)
        with pipeline.sql_client() as client:
            for name in ("users", "channels", "messages"):
                held = [row[0] for row in client.execute_sql(f"select id from {name}")]
                assert sorted(held) == sorted(sandbox.ids(name)), name
        print("exact")
main()
"""


def test_the_guides_code_runs_with_one_import_changed_and_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.stdout, done.returncode) == ("", "exact\n", 0)


def test_the_callers_dictionary_is_not_changed(sandbox: Sandbox) -> None:
    config = guide(sandbox)
    config["client"]["error_handler"] = {"max_retries": 1}
    config["resource_defaults"]["endpoint"] = {"error_handler": {"max_retries": 1}, "params": {"a": 1}}
    before = copy.deepcopy(config)
    assert list(rest_api_source(config).resources) == ["users", "channels", "messages"]
    assert rows(config, "users")
    assert config == before


def test_mistakes_are_named_all_at_once(sandbox: Sandbox) -> None:
    config = guide(sandbox)
    config["client"]["bse_url"] = "x"
    config["resources"][0]["endpoint"]["paginator"]["limt"] = 5
    with pytest.raises(ConfigurationError) as raised:
        rest_api_source(config)
    assert "bse_url" in str(raised.value)
    assert "limt" in str(raised.value)


def test_a_session_of_ones_own_is_refused_with_the_way_to_say_it(sandbox: Sandbox) -> None:
    config = guide(sandbox)
    config["client"]["session"] = requests.Session()
    with pytest.raises(ConfigurationError, match=r"client\.session"):
        rest_api_source(config)


def test_a_source_that_nobody_holds_closes_its_connections(sandbox: Sandbox) -> None:
    before = set(threading.enumerate())
    source = rest_api_source(guide(sandbox))
    assert list(source.resources["users"])
    own = set(threading.enumerate()) - before
    assert [thread.name for thread in own] == ["messaging-transport"]
    del source
    # dlt itself remembers the configuration of the source made last.
    rest_api_source({"client": {"base_url": sandbox.base_url}, "resources": ["users"]})
    gc.collect()
    for thread in own:
        thread.join(5)
        assert not thread.is_alive()


def test_a_source_can_be_read_twice(sandbox: Sandbox) -> None:
    with api(guide(sandbox)) as opened:
        for _ in range(2):
            assert ids(list(opened.source().resources["users"])) == sandbox.ids("users")


# --- paging


@pytest.mark.parametrize(
    "faults",
    [
        Faults(page_cap=40),
        Faults(total="absent"),
        Faults(total="null", page_cap=7),
        Faults(script=[At(2, Delete("messages", 5, 0)), At(3, Insert("messages", 3, 0))]),
    ],
)
def test_lists_are_read_completely(faults: Faults) -> None:
    with Sandbox(messages=320, faults=faults) as own:
        before = set(own.ids("messages"))
        read = ids(rows(guide(own), "messages"))
        assert set(read) >= before & set(own.ids("messages"))
        assert len(set(read)) == len(read)


@pytest.mark.parametrize("place", ["client", "defaults", "instance"])
def test_the_paginator_may_stand_on_the_client_in_the_defaults_or_be_an_object(
    sandbox: Sandbox, place: str
) -> None:
    config = guide(sandbox, "messages")
    paginator: Any = config["resources"][0]["endpoint"].pop("paginator")
    if place == "client":
        config["client"]["paginator"] = paginator
    elif place == "defaults":
        config["resource_defaults"]["endpoint"] = {"paginator": paginator}
    else:
        config["resources"][0]["endpoint"]["paginator"] = OffsetPaginator(limit=100, total_path="total")
    sandbox.order(Faults(page_cap=40))
    assert ids(rows(config, "messages")) == sandbox.ids("messages")


def test_other_paginators_stay_dlts(sandbox: Sandbox) -> None:
    paginator = {"type": "json_link", "next_url_path": "next"}
    answers = {
        "/v1/users": b'{"data": [{"id": 1}], "next": "/v1/more"}',
        "/v1/more": b'{"data": [{"id": 2}]}',
    }
    with SmallServer(lambda received: Reply(body=answers[received.target])) as server:
        config = guide(sandbox, "users", paginator=paginator)
        config["client"] = {"base_url": server.url}
        assert ids(rows(config, "users")) == [1, 2]


def test_a_link_to_another_host_gets_no_credentials(sandbox: Sandbox) -> None:
    with SmallServer(lambda _: Reply()) as other:
        body = f'{{"data": [{{"id": 1}}], "next": "{other.url}/v1/more"}}'.encode()
        with SmallServer(lambda _: Reply(body=body)) as server:
            config = guide(sandbox, "users", paginator={"type": "json_link", "next_url_path": "next"})
            config["client"] = {"base_url": server.url, "auth": {"type": "bearer", "token": "t"}}
            assert "another host" in str(failure(config, "users"))
        assert other.received == []


# --- error_handler


def test_the_nearest_error_handler_counts_as_a_whole(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=418)]))
    config = guide(sandbox)
    handler = {"retry_on_status_codes": [418], "backoff_factor": 1}
    config["client"]["error_handler"] = {**handler, "max_retries": 1}
    users, channels, _ = config["resources"]
    users["endpoint"]["error_handler"] = {**handler, "max_retries": 4}
    channels["endpoint"]["error_handler"] = {"max_retries": 6}
    for resource, attempts in (("users", 5), ("channels", 1), ("messages", 2)):
        sandbox.reset_counters()
        assert isinstance(failure(config, resource), ResponseStatusError)
        assert sandbox.count(f"/v1/{resource}") == attempts


def test_the_error_handler_may_stand_in_the_defaults(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=503)]))
    config = guide(sandbox)
    config["client"]["error_handler"] = {"max_retries": 5}
    config["resource_defaults"]["endpoint"] = {"error_handler": {"max_retries": 1}}
    assert isinstance(failure(config, "users"), ResponseStatusError)
    assert sandbox.count("/v1/users") == 2


def test_without_any_the_guides_numbers_hold(sandbox: Sandbox) -> None:
    clock = FakeClock()
    sandbox.order(Faults(broken=[Broken("status", status=503, times=3)]))
    assert ids(rows(guide(sandbox), "users", clock)) == sandbox.ids("users")
    assert [2 <= clock.sleeps[0] <= 2.5, 4 <= clock.sleeps[1] <= 5, 8 <= clock.sleeps[2] <= 10] == [True] * 3


@pytest.mark.parametrize("kind", ["cut", "html", "malformed", "not_ok", "null_data", "no_data", "empty"])
def test_an_answer_that_is_no_page_is_tried_again_and_never_an_empty_page(
    sandbox: Sandbox, kind: Any
) -> None:
    sandbox.order(Faults(broken=[Broken(kind, times=1)]))
    assert ids(rows(guide(sandbox), "messages")) == sandbox.ids("messages")
    sandbox.order(Faults(broken=[Broken(kind)]))
    assert isinstance(failure(guide(sandbox), "messages"), MalformedPageError | UnreachableError)


def test_pages_that_contradict_each_other_are_told_with_the_address_of_the_list(sandbox: Sandbox) -> None:
    sandbox.order(Faults(ignore_offset=True))
    found = failure(guide(sandbox), "messages")
    assert isinstance(found, PagingError)
    assert found.where == f"{sandbox.base_url}/v1/messages"


# --- authorisation


def test_wrong_credentials_fail_once_for_all_resources(sandbox: Sandbox) -> None:
    config = guide(sandbox)
    config["client"]["auth"]["client_secret"] = "a wrong one"
    with api(config) as opened:
        for name in NAMES:
            with pytest.raises(Exception) as raised:
                list(opened.source().resources[name])
            assert isinstance(cause(raised.value), AuthenticationError)
            assert "sources.messaging.client_secret" in str(raised.value)
            assert "a wrong one" not in str(raised.value)
    assert sandbox.token_requests == 1
    assert sandbox.count() == 1


def test_a_dictionarys_own_places_are_named_where_there_is_no_connection(sandbox: Sandbox) -> None:
    config = guide(sandbox)
    config["client"]["auth"]["client_secret"] = "a wrong one"
    with pytest.raises(Exception, match=r"client\.auth\.client_id and client\.auth\.client_secret"):
        list(rest_api_source(config).resources["users"])


def test_an_unreachable_host_is_found_out_once_for_all_resources() -> None:
    clock = FakeClock()
    config = {"client": {"base_url": "http://no-such-host.invalid"}, "resources": list(NAMES)}
    with api(config, clock) as opened:
        for name in NAMES:
            with pytest.raises(Exception, match="DNS") as raised:
                list(opened.source().resources[name])
            assert isinstance(cause(raised.value), UnreachableError)
    assert len(clock.sleeps) == 3


def test_one_token_and_early_revocation(sandbox: Sandbox) -> None:
    with api(guide(sandbox)) as opened:
        assert ids(list(opened.source().resources["users"])) == sandbox.ids("users")
        sandbox.revoke_tokens()
        assert ids(list(opened.source().resources["messages"])) == sandbox.ids("messages")
    assert sandbox.token_requests == 2


def test_an_endpoint_may_have_an_authorisation_of_its_own() -> None:
    with SmallServer(lambda _: Reply(body=b'{"data": [{"id": 1}]}')) as server:
        config: dict[str, Any] = {
            "client": {"base_url": server.url, "auth": {"type": "bearer", "token": "everybodys"}},
            "resource_defaults": {"endpoint": {"data_selector": "data", "paginator": "single_page"}},
            "resources": [
                "users",
                {"name": "own", "endpoint": {"auth": {"type": "bearer", "token": "mine"}}},
            ],
        }
        assert ids(rows(config, "users")) == ids(rows(config, "own")) == [1]
        assert [r.headers["Authorization"] for r in server.received] == ["Bearer everybodys", "Bearer mine"]


def test_an_authorisation_by_name_is_looked_up_by_dlt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__CREDENTIALS__TOKEN", "looked-up")
    with SmallServer(lambda _: Reply(body=b"[]")) as server:
        config = {"client": {"base_url": server.url, "auth": "bearer"}, "resources": ["users"]}
        assert rows(config, "users") == []
        assert server.received[0].headers["Authorization"] == "Bearer looked-up"


def test_403_on_one_resource_leaves_the_others_alone(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=403, resource="channels")]))
    assert isinstance(failure(guide(sandbox), "channels"), ForbiddenError)
    assert ids(rows(guide(sandbox), "users")) == sandbox.ids("users")


# --- what else dlt's source accepts


def test_response_actions_see_what_the_transport_got(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=404, resource="channels")]))
    config = guide(sandbox, response_actions=[{"status_code": 404, "action": "ignore"}])
    assert rows(config, "channels") == []
    assert ids(rows(config, "users")) == sandbox.ids("users")


def test_a_response_action_may_change_what_is_no_json(sandbox: Sandbox) -> None:
    def from_lines(response: requests.Response, *_: Any, **__: Any) -> None:
        response._content = b"[" + b",".join(response.content.splitlines()) + b"]"

    with SmallServer(lambda _: Reply(body=b'{"id": 1}\n{"id": 2}')) as server:
        config = guide(sandbox, "users", response_actions=[from_lines], paginator="single_page")
        del config["resources"][0]["endpoint"]["data_selector"]
        config["client"] = {"base_url": server.url}
        assert ids(rows(config, "users")) == [1, 2]


def test_resources_below_a_parent_and_names_alone(sandbox: Sandbox) -> None:
    config = guide(sandbox, "channels")
    config["resource_defaults"]["endpoint"] = {
        "data_selector": "data",
        "paginator": {"type": "offset", "limit": 5},
    }
    config["resources"] += [
        {
            "name": "members",
            "primary_key": ["_channels_id", "id"],
            "endpoint": {"path": "/v1/channels/{resources.channels.id}/members"},
            "include_from_parent": ["id"],
        },
        "v1/users",
    ]
    members = rows(config, "members")
    assert {row["_channels_id"] for row in members} <= set(sandbox.ids("channels"))
    assert len(members) > 8
    assert ids(rows(config, "v1/users")) == sandbox.ids("users")


def test_a_resource_of_dlts_own_passes_through(sandbox: Sandbox) -> None:
    config = guide(sandbox, "users")
    config["resources"].append(dlt.resource([{"id": 1}], name="own"))
    assert rows(config, "own") == [{"id": 1}]


def test_time_outs_and_sizes_can_be_set(sandbox: Sandbox) -> None:
    config = guide(sandbox, error_handler={"max_retries": 0})
    config["client"] |= {"timeouts": {"read": 0.1, "connect": 1}, "max_body_megabytes": 0.001}
    assert "larger than" in str(failure(config, "messages"))
    sandbox.order(Faults(broken=[Broken("hang", resource="users")]))
    assert "time-out" in str(failure(config, "users"))


# --- Api


def test_a_request_for_the_sweep_has_all_but_offset_and_limit(sandbox: Sandbox) -> None:
    config = guide(
        sandbox,
        "messages",
        path="v1/{kind}",
        params={"kind": "messages", "q": "a", "since": {"type": "incremental", "cursor_path": "updated_at"}},
        headers={"X-Own": "2"},
        error_handler={"max_retries": 1},
    )
    config["client"]["headers"] = {"X-Own": "1", "X-All": "3"}
    with api(config) as opened:
        request = opened.endpoint_request("messages")
        assert request.url == sandbox.base_url + "/v1/messages"
        assert request.params == {"q": "a"}
        assert request.headers == {"X-Own": "2", "X-All": "3"}
        assert (request.method, request.body, request.json) == ("GET", None, None)
        assert request.error_handler.max_retries == 1
        page = opened.transport.call(
            request, lambda response: PageDecoder("data")(response.body), opened.usage("messages")
        )
        assert page.records == sandbox.rows("messages")[:100]
        assert opened.usage("messages").requests == 1


def test_bodies_of_requests_for_the_sweep() -> None:
    config: dict[str, Any] = {
        "client": {"base_url": "https://api.example.com/base/"},
        "resources": [
            {"name": "a", "endpoint": {"path": "/a", "method": "POST", "json": {"filter": {"x": 1}}}},
            {"name": "b", "endpoint": {"path": "b", "method": "POST", "data": {"x": "1 2"}}},
            {"name": "c", "endpoint": {"path": "https://other.example.com/c"}},
        ],
    }
    with api(config) as opened:
        first, second, third = (opened.endpoint_request(name) for name in "abc")
        assert (first.url, first.method, first.json) == (
            "https://api.example.com/base/a",
            "POST",
            {"filter": {"x": 1}},
        )
        assert second.body == b"x=1+2"
        assert third.url == "https://other.example.com/c"


def test_a_resource_below_a_parent_has_no_request_of_its_own(sandbox: Sandbox) -> None:
    config = guide(sandbox, "channels")
    config["resources"].append({"name": "m", "endpoint": {"path": "/v1/{resources.channels.id}/members"}})
    with api(config) as opened, pytest.raises(ConfigurationError, match="resources: m depends"):
        opened.endpoint_request("m")


def test_usage_counts_by_resource(sandbox: Sandbox) -> None:
    sandbox.order(Faults(broken=[Broken("status", status=503, times=1, resource="users")]))
    with api(guide(sandbox)) as opened:
        list(opened.source().resources["users"])
        list(opened.source().resources["channels"])
        assert (opened.usage("users").retries, opened.usage("channels").retries) == (1, 0)
        assert opened.usage("users").bytes_received > 0
        assert opened.transport.usage.requests == sandbox.count()


def test_dlt_names_the_source_after_the_connection(sandbox: Sandbox) -> None:
    with api(guide(sandbox)) as opened:
        assert opened.source().name == "messaging"
        assert opened.source(name="other").name == "other"


def test_nothing_secret_or_of_a_message_is_in_any_error(sandbox: Sandbox) -> None:
    def reply(received: Received) -> Reply:
        if received.target == "/oauth/token":
            return Reply(body=b'{"access_token": "the-token"}')
        return Reply(status=500, body=b'{"text": "a private message"}')

    with SmallServer(reply) as server:
        config = guide(sandbox, params={"api_key": "a-key"})
        config["client"]["base_url"] = server.url
        config["client"]["auth"] |= {"token_url": server.url + "/oauth/token", "client_secret": "a-secret"}
        with pytest.raises(Exception) as raised:
            rows(config, "users")
    error: BaseException | None = raised.value
    while error is not None:
        for secret in ("the-token", "a-secret", "a-key", "a private message"):
            assert secret not in str(error)
        error = error.__cause__
    assert isinstance(cause(raised.value), ApiError)
