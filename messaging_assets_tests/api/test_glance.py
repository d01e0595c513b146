"""Two looks at a list: equal as long as nothing changed, different as soon as something did."""

from collections.abc import Iterator

import pytest

from messaging_assets.api.connection import Connection, connection_from_dict
from messaging_assets.api.glance import can_glance, glance
from messaging_assets.api.source import Api
from messaging_assets.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(users=5, channels=2, messages=40) as sandbox:
        yield sandbox


def guide(sandbox: Sandbox) -> dict[str, object]:
    auth = {
        "type": "oauth2",
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
        "token_url": f"{sandbox.base_url}/oauth/token",
    }
    endpoint = {"path": "/v1/messages", "data_selector": "data", "paginator": {"type": "offset", "limit": 10}}
    return {
        "client": {"base_url": sandbox.base_url, "auth": auth},
        "resources": [{"name": "messages", "endpoint": endpoint}],
    }


@pytest.mark.parametrize("total", ["right", "absent"])
@pytest.mark.parametrize("change", ["head", "tail", "edited"])
def test_a_change_at_an_end_is_seen_with_and_without_a_total(
    sandbox: Sandbox, total: str, change: str
) -> None:
    sandbox.order(total=total)
    config = guide(sandbox)
    messages = connection_from_dict("chat", config).resource("messages")
    with Api(config, name="chat") as api:
        before = glance(api, messages, held=40)
        assert glance(api, messages, held=40) == before
        assert before.total == (40 if total == "right" else None)
        if change == "edited":
            sandbox.edit("messages", sandbox.ids("messages")[-1], updated_at="2031-01-01T00:00:00Z")
        else:
            sandbox.insert("messages", change)  # type: ignore[arg-type]
        assert glance(api, messages, held=40).fingerprint != before.fingerprint
    assert sandbox.count("/v1/messages") == 6


def test_an_empty_list_can_be_looked_at(sandbox: Sandbox) -> None:
    sandbox.delete("messages", *sandbox.ids("messages"))
    config = guide(sandbox)
    messages = connection_from_dict("chat", config).resource("messages")
    with Api(config, name="chat") as api:
        empty = glance(api, messages)
        sandbox.insert("messages")
        assert glance(api, messages) != empty


def connection_with(endpoint: dict[str, object]) -> Connection:
    return connection_from_dict(
        "chat",
        {
            "client": {"base_url": "https://api.example.com"},
            "resources": ["channels", {"name": "messages", "endpoint": endpoint}],
        },
    )


@pytest.mark.parametrize(
    ("endpoint", "possible"),
    [
        ({"path": "messages", "paginator": {"type": "offset", "limit": 100}}, True),
        ({"path": "messages", "paginator": {"type": "page_number"}}, False),
        ({"path": "messages"}, False),
        (
            {
                "path": "channels/{resources.channels.id}/messages",
                "paginator": {"type": "offset", "limit": 100},
            },
            False,
        ),
    ],
)
def test_only_one_list_paged_by_offset_has_two_ends(endpoint: dict[str, object], possible: bool) -> None:
    assert can_glance(connection_with(endpoint).resource("messages")) == possible
