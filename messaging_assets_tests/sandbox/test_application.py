"""The API over real HTTP: endpoints, ways of paging, faults of lists, authorisation, what was asked."""

import json
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import quote

import pytest

from messaging_assets.sandbox import At, Broken, Delete, Edit, Insert, Move, Sandbox
from messaging_assets_tests.sandbox.client import Client

MESSAGES = "/v1/messages"


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(users=30, channels=4, messages=250) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    """A running sandbox in which nothing is wrong; tests leave its rows as they are."""
    shared.order()
    shared.reset_counters()
    yield shared


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    with Client(sandbox) as client:
        yield client


# Reading


def test_the_lists_hold_what_the_guide_says(sandbox: Sandbox, client: Client) -> None:
    for name, total in (("users", 30), ("channels", 4), ("messages", 250)):
        body = client.get(f"/v1/{name}", limit=3, offset=1).json()
        assert body["total"] == total
        assert body["data"] == sandbox.rows(name)[1:4]
        assert all({"id", "name", "created_at"} <= row.keys() for row in body["data"])
    message = client.page(MESSAGES, limit=1)[0]
    assert {"channel_id", "user_id", "text", "updated_at", "reactions", "thread_parent_id"} <= message.keys()


@pytest.mark.parametrize(
    ("params", "rows"),
    [
        ({}, (0, 100)),
        ({"limit": 10}, (0, 10)),
        ({"limit": 100, "offset": 200}, (200, 250)),
        ({"offset": 250}, (250, 250)),
        ({"limit": 5000}, (0, 250)),
        ({"limit": 0}, (0, 0)),
    ],
)
def test_limit_and_offset(sandbox: Sandbox, client: Client, params: dict[str, int], rows: Any) -> None:
    assert client.ids(MESSAGES, **params) == sandbox.ids("messages")[slice(*rows)]


@pytest.mark.parametrize("params", [{"limit": "many"}, {"offset": "-1"}, {"updated_since": "yesterday"}])
def test_what_is_no_number_is_refused(client: Client, params: dict[str, Any]) -> None:
    assert client.get(MESSAGES, **params).status_code == 400


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/v1/users/U999999", "/v1/users/U000001/x", "/v1/channels/C9/members"]
)
def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_single_rows_and_members(sandbox: Sandbox, client: Client) -> None:
    assert client.get("/v1/users/U000003").json() == {"data": sandbox.rows("users")[2]}
    channel = sandbox.rows("channels")[1]
    path = f"/v1/channels/{channel['id']}/members"
    members = client.all_ids(path, limit=3)
    assert len(set(members)) == len(members) == channel["member_count"]
    assert set(members) <= set(sandbox.ids("users"))
    assert client.get(path, limit=1).json()["total"] == channel["member_count"]


def test_an_id_with_a_slash_has_to_be_encoded() -> None:
    with Sandbox(users=1) as sandbox, Client(sandbox) as client:
        sandbox.insert("users", id="a/b ?")
        assert client.get("/v1/users/a/b ?").status_code == 404
        assert client.get("/v1/users/" + quote("a/b ?", safe="")).json()["data"]["id"] == "a/b ?"


def test_the_body_of_a_post_may_hold_limit_and_offset(sandbox: Sandbox, client: Client) -> None:
    for body in ({"limit": 2, "offset": 5}, {"page": {"limit": 2, "offset": 5}}):
        answer = client.session.post(sandbox.base_url + MESSAGES, json=body, timeout=5)
        assert [row["id"] for row in answer.json()["data"]] == sandbox.ids("messages")[5:7]


def test_a_filter_by_update(sandbox: Sandbox, client: Client) -> None:
    rows = sandbox.rows("messages")
    body = client.get(MESSAGES, updated_since=rows[200]["updated_at"], limit=30, offset=10).json()
    assert [row["id"] for row in body["data"]] == [row["id"] for row in rows[210:240]]
    assert body["total"] == 50


def test_other_ways_of_paging_hold_the_same_rows(sandbox: Sandbox, client: Client) -> None:
    truth = sandbox.ids("messages")
    assert _by_cursor(client, limit=60) == truth
    pages = [client.ids("/v1/pages/messages", limit=60, page=page) for page in range(1, 7)]
    assert list(chain.from_iterable(pages)) == truth
    assert client.get("/v1/pages/messages", limit=60).json()["total_pages"] == 5
    assert _by_links(client, limit=60) == truth
    link: str | None = "/v1/next/messages?limit=60"
    ids: list[str] = []
    while link:
        body = client.get(link).json()
        ids += [row["id"] for row in body["data"]]
        link = body["next"]
    assert ids == truth


def _by_cursor(client: Client, limit: int) -> list[str]:
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        body = client.get("/v1/cursor/messages", limit=limit, cursor=cursor).json()
        ids += [row["id"] for row in body["data"]]
        cursor = body["next_cursor"]
    return ids


def _by_links(client: Client, limit: int) -> list[str]:
    answer = client.get("/v1/links/messages", limit=limit)
    ids = [row["id"] for row in answer.json()["data"]]
    while "next" in answer.links:
        answer = client.get(answer.links["next"]["url"])
        ids += [row["id"] for row in answer.json()["data"]]
    return ids


def test_a_cursor_bears_deletions_before_it() -> None:
    with Sandbox(messages=100) as sandbox, Client(sandbox) as client:
        truth = sandbox.ids("messages")
        sandbox.order(script=[At(2, Delete(count=5))])
        assert _by_cursor(client, limit=10) == truth
        assert client.get("/v1/cursor/messages", cursor="nonsense").status_code == 400


# Faults of lists


def test_pages_smaller_or_larger_than_asked(sandbox: Sandbox, client: Client) -> None:
    truth = sandbox.ids("messages")
    sandbox.order(page_cap=50)
    assert client.ids(MESSAGES, limit=100, offset=20) == truth[20:70]
    sandbox.order(extra_rows=5)
    assert client.ids(MESSAGES, limit=100, offset=20) == truth[20:125]
    sandbox.order(ignore_limit=True)
    assert client.ids(MESSAGES, limit=1) == truth
    sandbox.order(ignore_limit=True, page_cap=30)
    assert client.ids(MESSAGES, limit=100, offset=30) == truth[30:60]
    sandbox.order(ignore_offset=True)
    assert client.ids(MESSAGES, limit=10, offset=9999) == truth[:10]


@pytest.mark.parametrize(
    ("total", "body"),
    [("absent", {}), ("null", {"total": None}), ("text", {"total": "250"}), ("wrong", {"total": 257})],
)
def test_totals(sandbox: Sandbox, client: Client, total: Any, body: dict[str, Any]) -> None:
    sandbox.order(total=total)
    answer = client.get(MESSAGES, limit=1).json()
    del answer["data"]
    assert answer == body


def test_hidden_rows_make_short_and_empty_pages(sandbox: Sandbox, client: Client) -> None:
    truth = sandbox.ids("messages")
    sandbox.faults.hidden_share = 0.3
    visible = sandbox.ids("messages")
    assert 150 < len(visible) < 200
    pages = [client.ids(MESSAGES, limit=50, offset=offset) for offset in range(0, 250, 50)]
    assert list(chain.from_iterable(pages)) == visible
    assert all(len(page) < 50 for page in pages)
    sandbox.order(hidden_first=60, hidden_last=179)
    assert sandbox.ids("messages") == truth[:60] + truth[180:]
    assert client.ids(MESSAGES, limit=50, offset=100) == []
    assert client.get(MESSAGES).json()["total"] == 250
    assert client.get("/v1/messages/" + truth[100]).status_code == 404


@pytest.mark.parametrize("order", ["descending", "updated", "updated_ascending", "none"])
def test_an_order_of_lists_can_be_set_at_any_time(sandbox: Sandbox, client: Client, order: Any) -> None:
    truth = sandbox.ids("messages")
    sandbox.faults.order = order
    ids = client.all_ids(MESSAGES)
    assert ids == sandbox.ids("messages")
    assert sorted(ids) == truth
    assert ids != truth or order == "updated_ascending"


def test_an_unstable_order_is_another_one_each_time(sandbox: Sandbox, client: Client) -> None:
    truth = set(sandbox.ids("messages"))
    sandbox.order(order="unstable")
    pages = [tuple(client.ids(MESSAGES, limit=1000)) for _ in range(5)]
    assert len(set(pages)) == 5
    assert all(set(page) == truth and len(page) == 250 for page in pages)


def test_a_script_changes_rows_while_they_are_read() -> None:
    with Sandbox(users=20, messages=100) as sandbox, Client(sandbox) as client:
        truth = sandbox.ids("messages")
        seen: list[int] = []
        sandbox.order(
            script=[
                At(2, Delete(count=3)),
                At(3, Move(count=1, where="tail", to="head")),
                At(4, Edit(count=2, where="head", fields={"text": "edited"})),
                At(2, Insert("users", where="head"), resource="users"),
                At(1, lambda workspace: seen.append(workspace.total("messages")), every=2),
            ]
        )
        assert client.ids(MESSAGES, limit=10, offset=0) == truth[:10]
        # Three rows were deleted in front: plain stepping misses as many.
        assert client.ids(MESSAGES, limit=10, offset=10) == truth[13:23]
        assert client.ids(MESSAGES, limit=10, offset=0) == [truth[99], *truth[3:12]]
        assert [row["text"] == "edited" for row in client.page(MESSAGES, limit=3)] == [True, True, False]
        assert seen == [100, 97]
        client.page("/v1/users")
        assert len(client.page("/v1/users")) == 21
        assert len(client.page("/v1/users")) == 21


def test_pages_of_a_script_are_counted_anew_with_each_order() -> None:
    with Sandbox(messages=10) as sandbox, Client(sandbox) as client:
        for left in (9, 8):
            sandbox.order(script=[At(1, Delete())])
            assert len(client.page(MESSAGES)) == left
            assert len(client.page(MESSAGES)) == left


def test_rows_of_any_kind_arrive_as_they_are() -> None:
    with Sandbox(messages=2) as sandbox, Client(sandbox) as client:
        sandbox.raw_text(
            "messages", '{"id": "big", "n": 123456789012345678901234567890, "s": "\\ud800"}', "head"
        )
        sandbox.raw_row("messages", None)
        sandbox.add_resource("emoji", [{"id": 1}, 2])
        text = client.get(MESSAGES).text
        assert '"n": 123456789012345678901234567890, "s": "\\ud800"' in text
        assert json.loads(text)["data"] == sandbox.rows("messages")
        assert client.get("/v1/emoji").json() == {"data": [{"id": 1}, 2], "total": 2}
        assert client.get("/v1/emoji/1").status_code == 404
        assert sandbox.ids("messages") == ["big", "M000000001", "M000000002"]


# Authorisation


def test_the_root_says_what_there_is_to_whoever_asks(sandbox: Sandbox) -> None:
    with Client(sandbox, authorised=False) as client:
        assert client.get("/").json()["lists"] == ["/v1/users", "/v1/channels", "/v1/messages"]
    assert sandbox.count("/") == 1


def test_without_a_good_token_there_are_no_rows(sandbox: Sandbox) -> None:
    with Client(sandbox, authorised=False) as client:
        answer = client.get(MESSAGES)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        client.session.headers["authorization"] = "Bearer wrong"
        assert client.get(MESSAGES).status_code == 401
    assert [(asked.authorised, asked.credentials) for asked in sandbox.requests] == [
        (False, False),
        (False, True),
    ]


def test_tokens_expire_and_are_revoked(sandbox: Sandbox, client: Client) -> None:
    sandbox.order(token_life=0.1)
    client.renew()
    assert client.get(MESSAGES).status_code == 200
    time.sleep(0.11)
    assert client.get(MESSAGES).status_code == 401
    sandbox.order(token_uses=1)
    client.renew()
    assert [client.get(MESSAGES).status_code for _ in range(2)] == [200, 401]
    sandbox.order()
    client.renew()
    sandbox.revoke_tokens()
    assert client.get(MESSAGES).status_code == 401


def test_the_token_endpoint_can_refuse_and_fail(sandbox: Sandbox, client: Client) -> None:
    assert client.token(client_secret="wrong").status_code == 401
    sandbox.order(broken=[Broken("status", resource="token", status=503, times=1)])
    assert [client.token().status_code for _ in range(2)] == [503, 200]
    sandbox.order(broken=[Broken("html", resource="token")])
    assert "html" in client.token().headers["content-type"]
    sandbox.order(expires_in="text")
    assert client.token().json()["expires_in"] == "3600"


@pytest.mark.parametrize("authentication", ["basic", "api_key", "none"])
def test_other_ways_to_authorise(authentication: Any) -> None:
    with (
        Sandbox(messages=1, authentication=authentication) as sandbox,
        Client(sandbox, authorised=False) as client,
    ):
        assert client.get(MESSAGES).status_code == (200 if authentication == "none" else 401)
        if authentication == "basic":
            client.session.auth = (sandbox.client_id, sandbox.client_secret)
        elif authentication == "api_key":
            assert client.get(MESSAGES, api_key=sandbox.client_secret).status_code == 200
            client.session.headers["x-api-key"] = sandbox.client_secret
        assert client.get(MESSAGES).status_code == 200
        assert sandbox.client_secret not in repr(sandbox.requests)


# What is counted


def test_it_counts_what_it_was_asked_and_keeps_no_secret(sandbox: Sandbox, client: Client) -> None:
    token = str(client.session.headers["authorization"]).removeprefix("Bearer ")
    client.token(scope="read", audience="api")
    client.get(MESSAGES, limit=5)
    client.get("/v2/messages")
    last = sandbox.requests[-2]
    assert (last.method, last.path, last.params, last.status) == ("GET", MESSAGES, {"limit": "5"}, 200)
    assert sandbox.requests[-3].params == {
        "grant_type": "client_credentials", "scope": "read", "audience": "api",
    }  # fmt: skip
    assert [sandbox.count(MESSAGES), sandbox.count(status=404), sandbox.count()] == [1, 1, 4]
    assert sandbox.token_requests == 2
    assert token not in repr(sandbox.requests)
    assert sandbox.client_secret not in repr(sandbox.requests)
    sandbox.reset_counters()
    assert sandbox.requests == []


def test_a_rate_limit_and_when_to_come_back(sandbox: Sandbox, client: Client) -> None:
    sandbox.order(rate_limit=3, rate_limit_seconds=0.3)
    answers = [client.get(MESSAGES, limit=1) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "1"
    time.sleep(0.3)
    assert client.get(MESSAGES, limit=1).status_code == 200


@pytest.mark.parametrize(
    ("kind", "prefix", "since"),
    [("seconds", "x-ratelimit", 0), ("draft", "ratelimit", 0), ("epoch", "x-ratelimit", 1)],
)
def test_what_is_left_of_a_rate_limit_by_a_clock_of_ones_own(kind: Any, prefix: str, since: int) -> None:
    now = [1000.0]
    with (
        Sandbox(messages=5, authentication="none", seconds=lambda: now[0]) as sandbox,
        Client(sandbox, authorised=False) as client,
    ):
        sandbox.order(rate_limit=2, rate_limit_seconds=20, rate_limit_headers=kind)
        told = []
        began = time.time() * since
        for seconds in (0.0, 4.5, 0.0, 15.5):
            now[0] += seconds
            answer = client.get(MESSAGES, limit=1)
            names = ("limit", "remaining", "reset")
            limit, remaining, reset = (int(answer.headers[f"{prefix}-{name}"]) for name in names)
            told.append((answer.status_code, limit, remaining))
            left = 1020 - now[0] if now[0] < 1020 else 20
            assert left <= reset - began <= left + 6
        assert told == [(200, 2, 1), (200, 2, 0), (429, 2, 0), (200, 2, 1)]
        assert [asked.seconds for asked in sandbox.requests] == [1000, 1004.5, 1004.5, 1020]
        sandbox.order(rate_limit=2)
        assert "x-ratelimit-remaining" not in client.get(MESSAGES, limit=1).headers


def test_latency(sandbox: Sandbox, client: Client) -> None:
    sandbox.order(latency=0.05, latency_jitter=0.01)
    start = time.monotonic()
    client.get(MESSAGES, limit=1)
    assert time.monotonic() - start >= 0.05
