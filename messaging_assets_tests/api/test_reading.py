"""Reading resources of a real server: swept where that is possible, through dlt's paginators elsewhere."""

from typing import Any

import orjson
import pytest

from messaging_assets.api import page
from messaging_assets.api.connection import connection_from_dict
from messaging_assets.api.endpoint import EndpointPages
from messaging_assets.api.errors import (
    ForbiddenError,
    MalformedPageError,
    PagingError,
    ResponseStatusError,
)
from messaging_assets.api.reading import Reading, Stream, first_records, is_swept, open_reading
from messaging_assets.api.row_index import RowIndex
from messaging_assets.api.sweep import Sweep
from messaging_assets.sandbox import At, Broken, Delete, Edit, Faults, Insert, Move, Sandbox
from messaging_assets_tests.guide import connected, guide, listed

NO_RETRIES: dict[str, Any] = {"error_handler": {"max_retries": 0}}


def read(sandbox: Sandbox, resource: dict[str, Any], *others: dict[str, Any]) -> tuple[Reading, list[Any]]:
    api, connection = connected(guide(sandbox, resource, *others))
    with api:
        reading = open_reading(api, connection.resource(resource["name"]), RowIndex())
        records = [record for delivery in reading for record in delivery.records]
    return reading, records


def verified(reading: Reading) -> str:
    assert reading.progress.verdict is not None
    return reading.progress.verdict.verified


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(page_cap=37),
        Faults(total="absent"),
        Faults(total="null", page_cap=50),
        Faults(total="text"),
        Faults(total="wrong"),
        Faults(extra_rows=7),
        Faults(ignore_limit=True, page_cap=120),
        Faults(order="descending"),
        Faults(order="updated"),
        Faults(order="none"),
        Faults(hidden_share=0.3),
        Faults(hidden_first=120, hidden_last=260),
        Faults(hidden_first=120, hidden_last=180, total="absent"),
    ],
    ids=str,
)
def test_every_row_is_read_and_proved(faults: Faults) -> None:
    with Sandbox(messages=450, faults=faults) as sandbox:
        reading, records = read(sandbox, listed("messages"))
        assert isinstance(reading, Sweep)
        assert {record["id"] for record in records} == set(sandbox.ids("messages"))
        assert len(records) == len(sandbox.ids("messages"))
        assert verified(reading) == "full"


@pytest.mark.parametrize("order", ["ascending", "descending", "updated", "none"])
@pytest.mark.parametrize("total", ["right", "absent"])
def test_no_row_is_lost_while_rows_come_and_go(order: Any, total: Any) -> None:
    script = (
        At(2, Delete("messages", count=5, where="head")),
        At(3, Insert("messages", count=150, where="head")),
        At(4, Delete("messages", count=130, where="middle")),
        At(5, Edit("messages", count=3, where="tail")),
        At(6, Move("messages", count=2, where="tail", to="head")),
    )
    with Sandbox(messages=900, faults=Faults(order=order, total=total, script=script)) as sandbox:
        before = set(sandbox.ids("messages"))
        reading, records = read(sandbox, listed("messages"))
        lived = before & set(sandbox.ids("messages"))
        assert lived <= {record["id"] for record in records}
        assert reading.progress.drift_repaired > 0 or reading.progress.passes > 1
        assert verified(reading) == "full"


def test_pages_are_fetched_side_by_side() -> None:
    with Sandbox(messages=3_000, faults=Faults(latency=0.005)) as sandbox:
        read(sandbox, listed("messages"))
        assert 2 < sandbox.most_in_flight <= 8


def test_a_server_that_ignores_the_offset_is_told() -> None:
    with (
        Sandbox(messages=300, faults=Faults(ignore_offset=True)) as sandbox,
        pytest.raises(PagingError, match="first page whatever the offset"),
    ):
        read(sandbox, listed("messages"))


def test_a_page_that_always_fails_is_named_by_its_offset_and_status() -> None:
    broken = Faults(broken=(Broken("status", status=500, position=250),))
    with Sandbox(messages=600, faults=broken) as sandbox, pytest.raises(ResponseStatusError) as failed:
        read(sandbox, listed("messages", **NO_RETRIES))
    assert failed.value.status == 500
    assert "offset 198" in str(failed.value)
    assert "500" in str(failed.value)


@pytest.mark.parametrize("kind", ["html", "malformed", "empty", "not_ok", "null_data", "no_data"])
def test_an_answer_that_is_no_page_is_tried_again_and_never_an_empty_page(kind: Any) -> None:
    once = Faults(broken=(Broken(kind, times=1, resource="messages"),))
    patient: dict[str, Any] = {"error_handler": {"backoff_factor": 0}}
    with Sandbox(messages=250, faults=once) as sandbox:
        _, records = read(sandbox, listed("messages", **patient))
        assert len(records) == 250
    with Sandbox(messages=250, faults=Faults(broken=(Broken(kind),))) as sandbox:
        with pytest.raises(MalformedPageError):
            read(sandbox, listed("messages", **NO_RETRIES))
        assert sandbox.count("/v1/messages") == 1


def test_the_body_of_a_page_that_was_asked_for_again_is_that_of_the_page() -> None:
    once = Faults(broken=(Broken("null_data", times=1, resource="messages"),))
    with Sandbox(messages=9, faults=once) as sandbox:
        api, connection = connected(guide(sandbox, listed("messages", error_handler={"backoff_factor": 0})))
        with api:
            page = EndpointPages(api, connection.resource("messages")).fetch(0, 5)
            assert orjson.loads(page.body())["data"] is None
            records = page.result().records
            assert len(records) == 5
            assert orjson.loads(page.body())["data"] == records


def test_a_refused_resource_is_told() -> None:
    refusing = Faults(broken=(Broken("status", status=403, resource="users"),))
    with Sandbox(faults=refusing) as sandbox, pytest.raises(ForbiddenError):
        read(sandbox, listed("users"))


@pytest.mark.parametrize(
    "endpoint",
    [
        {"path": "/v1/cursor/messages", "paginator": {"type": "cursor", "cursor_path": "next_cursor"}},
        {"path": "/v1/pages/messages", "paginator": {"type": "page_number", "base_page": 1}},
        {"path": "/v1/links/messages", "paginator": "header_link"},
    ],
    ids=lambda endpoint: endpoint["path"],
)
def test_dlts_other_paginators_are_read_until_two_readings_agree(endpoint: dict[str, Any]) -> None:
    with Sandbox(messages=250) as sandbox:
        reading, records = read(sandbox, listed("messages", **endpoint))
        assert isinstance(reading, Stream)
        assert {record["id"] for record in records} == set(sandbox.ids("messages"))
        assert len(records) == 250
        assert verified(reading) == "full"
        assert reading.progress.passes == 2


def test_a_child_of_an_offset_parent_is_read_whole() -> None:
    """The parent is capped, and so is each child's list: anchored paging stands in dlt's client as well."""
    members = {
        "name": "members",
        "primary_key": ["_channels_id", "id"],
        "include_from_parent": ["id"],
        "endpoint": {
            "path": "/v1/channels/{resources.channels.id}/members",
            "data_selector": "data",
            "paginator": {"type": "offset", "limit": 20},
        },
    }
    with Sandbox(channels=5, users=120, messages=10, faults=Faults(page_cap=7)) as sandbox:
        reading, records = read(sandbox, members, listed("channels"))
        assert isinstance(reading, Stream)
        by_channel: dict[str, set[str]] = {}
        for record in records:
            by_channel.setdefault(record["_channels_id"], set()).add(record["id"])
        assert max(map(len, by_channel.values())) > 20
        counts = {channel["id"]: channel["member_count"] for channel in sandbox.rows("channels")}
        assert {channel: len(found) for channel, found in by_channel.items()} == counts
        assert verified(reading) == "full"


@pytest.mark.parametrize(
    "words, swept",
    [
        (listed("messages"), True),
        (listed("messages", params={"archived": "false"}), True),
        (listed("messages", paginator="header_link"), False),
        (listed("messages", path="/v1/channels/{resources.users.id}/members"), False),
        (
            listed("messages", incremental={"cursor_path": "updated_at", "start_param": "updated_since"}),
            True,
        ),
        (listed("messages", response_actions=[{"status_code": 404, "action": "ignore"}]), False),
    ],
)
def test_what_is_swept(words: dict[str, Any], swept: bool) -> None:
    config = {"client": {"base_url": "http://127.0.0.1:1"}, "resources": [listed("users"), words]}
    assert is_swept(connection_from_dict("messaging", config).resource("messages")) is swept


def test_first_records_take_one_request() -> None:
    with Sandbox(messages=250) as sandbox:
        api, connection = connected(guide(sandbox))
        with api:
            (first,) = first_records(api, connection.resource("messages"), 1)
        assert first["id"] == sandbox.ids("messages")[0]
        assert sandbox.count("/v1/messages") == 1


def test_each_answer_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse = page.parse_json

    def noting(body: bytes) -> Any:
        parsed.append(body)
        return parse(body)

    monkeypatch.setattr(page, "parse_json", noting)
    with Sandbox(messages=950) as sandbox:
        read(sandbox, listed("messages"))
        assert len(parsed) == sandbox.count("/v1/messages") > 9
