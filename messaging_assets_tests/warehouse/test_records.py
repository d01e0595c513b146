"""Records as APIs really send them: what can be stored is stored without loss, the rest is kept aside."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from messaging_assets.api.digests import content_digest
from messaging_assets.api.errors import MalformedPageError
from messaging_assets_tests.warehouse.conftest import Platform
from messaging_assets_tests.warehouse.test_sync import counts, refuse_to_stage

GOOD = [{"id": f"G{i}", "name": "good"} for i in range(3)]
NO_ID = "it has no usable id"
NO_OBJECT = "it is not an object"
NO_TEXT = "id is not a text as it is in other records"
NO_TIME = "created_at is not a point in time"
HALF = "a text holds half of a surrogate pair, which no text column can hold"
# A bad record, the id under which it is kept, and why.
BAD: list[tuple[Any, str | None, str]] = [
    ({"name": "no id"}, None, NO_ID),
    ({"id": None}, None, NO_ID),
    ({"id": ""}, None, NO_ID),
    ({"id": 1.5}, None, NO_ID),
    ({"id": True}, None, NO_ID),
    ({"id": ["x"]}, None, NO_ID),
    ("text", None, NO_OBJECT),
    (None, None, NO_OBJECT),
    ([], None, NO_OBJECT),
    ({"id": 7}, "7", NO_TEXT),
    ({"id": 2**70}, str(2**70), NO_TEXT),
    ({"created_at": "soon", "id": "B1"}, "B1", NO_TIME),
    ({"created_at": True, "id": "B2"}, "B2", NO_TIME),
    ({"created_at": {}, "id": "B3"}, "B3", NO_TIME),
    ({"created_at": "0001-01-01T00:00:00+05:00", "id": "B4"}, "B4", NO_TIME),
    ({"id": "B5", "name": "half \ud83d"}, "B5", HALF),
    ({"id": "B6", "nested": {"\udc00": 1}}, "B6", HALF),
    ({"id": "\ud83d"}, "\\ud83d", HALF),
]


def test_values_of_every_kind_come_back_through_dlt(platform: Platform) -> None:
    row = {
        "id": "a",
        "name": "nul \x00 byte, \U0001f44d, \u202e, '\"; DROP TABLE x; --",
        "created_at": "2026-03-29T02:10:00+01:00",
        "big": 2**53 + 1,
        "beyond": 2**64,
        "huge": -(10**40),
        "number": 0.1,
        "flag": False,
        "empty": "",
        "nothing": None,
        "list": [],
        "nested": {"a": [1, {"b": None}], "big": 2**70, "nul": "\x00", "deep": [[[[[[1]]]]]]},
        "sent_at": 1774746600123,
        "long": "x" * 1_000_000,
    }
    platform.things(row, {"id": "b"})
    assert counts(platform.sync()) == {"new": 2}
    held = platform.rows()["a"]
    assert held == {
        **{key: value for key, value in row.items() if key != "nothing"},
        "created_at": datetime(2026, 3, 29, 1, 10, tzinfo=UTC),
        "sent_at": datetime(2026, 3, 29, 1, 10, 0, 123000, tzinfo=UTC),
        "beyond": str(2**64),
        "huge": str(-(10**40)),
        "list": "[]",
        "nested": held["nested"],
        "deleted_at": None,
    }
    assert json.loads(held["nested"]) == row["nested"]
    assert all(value is None for key, value in platform.rows()["b"].items() if key != "id")
    assert counts(platform.sync(stage=refuse_to_stage)) == {"unchanged": 2}


def test_field_names_of_every_kind(platform: Platform) -> None:
    row = {
        "id": 1,
        "userId": "camel",
        "user_id": "snake",
        "select": "reserved",
        "at": "refused bare",
        "deleted_at": "2020-01-01T00:00:00Z",
        "_row_hash": "theirs",
        "_sequence": 5,
        "_dlt_id": "dlt",
        "_dlt_load_id": "load",
        "rowid": "pseudo",
        "": "empty",
        "имя": "Cyrillic",
        "日本": "Japanese",
        'a"b': "quoted",
        "a b": "space",
        "x" * 300: "long",
    }
    platform.things(row)
    assert counts(platform.sync()) == {"new": 1}
    held = platform.rows()[1]
    assert held["deleted_at"] is None
    assert (held["user_id"], held["user_id_2"], held["source_row_hash"]) == ("camel", "snake", "theirs")
    assert held["source_deleted_at"] == datetime(2020, 1, 1, tzinfo=UTC)
    stored = {value for value in held.values() if isinstance(value, str)}
    assert stored == {value for key, value in row.items() if isinstance(value, str) and key != "deleted_at"}
    assert counts(platform.sync(stage=refuse_to_stage)) == {"unchanged": 1}


def test_fields_of_similar_names_never_change_places(platform: Platform) -> None:
    platform.things({"id": 1, "userId": "camel"})
    platform.sync()
    platform.sandbox.raw_row("things", {"id": 2, "user_id": "snake"}, "head")
    platform.sync()
    platform.sandbox.raw_row("things", {"id": 3, "user_id": "snake", "userId": "camel"}, "head")
    platform.sync()
    found = platform.query("SELECT id, user_id, user_id_2 FROM chat.things ORDER BY id")
    assert found == [(1, "camel", None), (2, None, "snake"), (3, "camel", "snake")]


def test_created_at_in_camel_case_is_the_column_created_at(platform: Platform) -> None:
    platform.things()
    platform.sync()
    platform.sandbox.raw_row("things", {"id": 1, "createdAt": "2026-03-29T12:00:00Z"})
    platform.sandbox.raw_row("things", {"id": 2, "createdAt": "soon"})
    result = platform.sync()
    assert result.newest == datetime(2026, 3, 29, 12, tzinfo=UTC)
    assert platform.rejects() == [("2", "created_at is not a point in time")]
    assert "created_at_2" not in platform.types()


def test_fields_come_and_go_and_change_their_type(platform: Platform) -> None:
    platform.things({"id": 1, "value": 1, "old": "here"}, {"id": 2, "value": 2**60})
    platform.sync()
    platform.sandbox.replace("things", 1, {"id": 1, "value": 1.5, "fresh": True})
    second = platform.sync()
    assert second.column_changes == ("value: BIGINT became VARCHAR", "fresh: new, BOOLEAN")
    rows = platform.rows()
    assert (rows[1]["value"], rows[2]["value"]) == ("1.5", str(2**60))
    assert (rows[1]["old"], rows[1]["fresh"], rows[2]["fresh"]) == (None, True, None)
    platform.change(2, value={"a": [1]})
    third = platform.sync()
    assert third.column_changes == ("value: VARCHAR became JSON",)
    assert [platform.rows()[i]["value"] for i in (1, 2)] == ['"1.5"', '{"a":[1]}']


def test_hints_of_the_connection_count(platform: Platform) -> None:
    platform.things(
        {"id": 1, "ts": 1774746600, "price": 5, "later": 1},
        columns={
            "ts": {"data_type": "timestamp"},
            "price": {"data_type": "double"},
            "id": {"data_type": "text"},
        },
    )
    platform.sync()
    assert platform.types()["ts"] == "TIMESTAMP WITH TIME ZONE"
    assert platform.types()["price"] == "DOUBLE"
    assert platform.types()["id"] == "BIGINT"
    platform.resources = ({**platform.resources[0], "columns": {"later": {"data_type": "text"}}},)
    platform.change(1, later=2)
    assert platform.sync().column_changes == ("later: BIGINT became VARCHAR",)


class TestRejects:
    def test_bad_records_take_no_other_with_them(self, platform: Platform) -> None:
        platform.things(*GOOD, *(bad for bad, _, _ in BAD), {"id": "G9"})
        result = platform.sync()
        assert counts(result) == {"new": 4, "rejected": len(BAD)}
        assert platform.living() == ["G0", "G1", "G2", "G9"]
        kept = {
            payload: (identity, reason)
            for payload, identity, reason in platform.query(
                "SELECT payload, id, reason FROM chat._rejected_records"
            )
        }
        assert kept == {json.dumps(bad): (identity, reason) for bad, identity, reason in BAD}
        again = platform.sync(stage=refuse_to_stage)
        assert counts(again) == {"unchanged": 4, "rejected": len(BAD)}
        assert again.content_version == result.content_version
        assert len(platform.rejects()) == len(BAD)

    def test_the_first_record_does_not_decide_what_an_id_is(self, platform: Platform) -> None:
        platform.things({"id": 7}, *GOOD)
        assert counts(platform.sync()) == {"new": 3, "rejected": 1}

    def test_an_integer_too_large_for_a_key_is_kept_aside(self, platform: Platform) -> None:
        platform.things({"id": 1}, {"id": 2}, {"id": 2**64})
        assert counts(platform.sync()) == {"new": 2, "rejected": 1}
        assert platform.rejects() == [
            (str(2**64), "id is not an integer of at most 64 bits as it is in other records")
        ]

    def test_a_bad_version_leaves_the_last_good_one(self, platform: Platform) -> None:
        platform.things(*GOOD)
        platform.sync()
        platform.change("G1", created_at="soon")
        assert counts(platform.sync(stage=refuse_to_stage)) == {"unchanged": 2, "rejected": 1}
        assert platform.rows()["G1"]["name"] == "good"
        assert len(platform.living()) == 3

    @pytest.mark.parametrize("well", [{"name": "good"}, {"name": "better"}])
    def test_it_leaves_the_rejects_when_it_arrives_well(
        self, platform: Platform, well: dict[str, str]
    ) -> None:
        platform.things(*GOOD)
        platform.sync()
        platform.change("G1", created_at="soon")
        platform.sync()
        assert [identity for identity, _ in platform.rejects()] == ["G1"]
        # As it was before, or with other content.
        platform.sandbox.replace("things", "G1", {"id": "G1", **well})
        result = platform.sync()
        assert (result.rejected, platform.rejects()) == (0, [])
        assert platform.rows()["G1"]["name"] == well["name"]

    def test_also_when_its_id_had_another_type(self, platform: Platform) -> None:
        platform.things(*GOOD, {"id": 7})
        platform.sync()
        assert [identity for identity, _ in platform.rejects()] == ["7"]
        platform.sandbox.replace("things", 7, {"id": "7"})
        platform.sync()
        assert (platform.living(), platform.rejects()) == (["7", "G0", "G1", "G2"], [])

    def test_also_with_a_key_of_several_fields(self, platform: Platform) -> None:
        bad = {"id": 1, "part": "a", "created_at": "soon"}
        platform.things({"id": 1, "part": "b"}, bad, primary_key=["id", "part"])
        platform.sync()
        assert [identity for identity, _ in platform.rejects()] == ['["1", "a"]']
        platform.sandbox.replace("things", 1, {"id": 1, "part": "a"})
        platform.sync()
        assert platform.rejects() == []

    def test_what_is_gone_at_the_source_stays_among_the_rejects(self, platform: Platform) -> None:
        platform.things(*GOOD, {"id": "B", "created_at": "soon"})
        platform.sync()
        platform.sandbox.delete("things", "B")
        assert counts(platform.sync()) == {"unchanged": 3}
        assert [identity for identity, _ in platform.rejects()] == ["B"]

    def test_a_row_whose_id_comes_with_another_type_is_not_gone(self, platform: Platform) -> None:
        platform.things(*GOOD, {"id": "7"})
        platform.sync()
        platform.sandbox.replace("things", "7", {"id": 7})
        assert counts(platform.sync()) == {"unchanged": 3, "rejected": 1}
        assert "7" in platform.living()

    def test_records_without_id_count_once_however_often_the_list_is_read(self, platform: Platform) -> None:
        platform.things(*GOOD, {"name": "x"}, {"name": "x"}, {"name": "y"}, {"id": "G0"})
        result = platform.sync()
        assert result.pages > 2
        assert result.rejected == len(platform.rejects()) == 2


def test_a_record_nested_beyond_reason_ends_in_a_readable_error() -> None:
    record: dict[str, Any] = {"id": 1}
    for _ in range(5000):
        record = {"v": record}
    with pytest.raises(MalformedPageError, match="nested too deeply"):
        content_digest(record)


def test_a_column_nested_deeper_than_orjson_writes(platform: Platform) -> None:
    text = "[" * 400 + "]" * 400
    platform.things({"id": 1})
    platform.sandbox.raw_text("things", f'{{"id": 2, "v": {text}}}')
    platform.sync()
    assert platform.rows()[2]["v"] == text
