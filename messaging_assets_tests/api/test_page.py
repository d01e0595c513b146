"""A page is decoded without loss, and what is not a page is refused without a word of its content."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging_assets.api.errors import MalformedPageError
from messaging_assets.api.page import Page, PageDecoder, parse_json

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_any_json_value_is_parsed_exactly(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**30, 12345678901234567890123])
def test_integers_of_any_size_stay_integers(number: int) -> None:
    (parsed,) = parse_json(f"[{number}]".encode())
    assert parsed == number
    assert type(parsed) is int
    assert parse_json(f'{{"a": {{"b":{number}}}, "c": "{number}"}}'.encode()) == {
        "a": {"b": number},
        "c": str(number),
    }


@pytest.mark.parametrize("before", range(8))
@pytest.mark.parametrize("number", [2**64, 2**64 + 1, 10**30, -(2**63) - 1])
def test_integers_of_any_size_are_found_wherever_they_stand(number: int, before: int) -> None:
    (parsed,) = parse_json(b" " * before + f"[{number}]".encode())
    assert (parsed, type(parsed)) == (number, int)


def test_lone_surrogates_are_read() -> None:
    assert parse_json(b'["\\ud800", "ok"]') == ["\ud800", "ok"]


@pytest.mark.parametrize(
    "body, kind",
    [
        (b"", "not JSON"),
        (b"<!DOCTYPE html><p>secret-word</p>", "HTML"),
        (b'{"data": [{"text": "secret-word"', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[NaN]", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_not_json_is_refused_without_its_content(body: bytes, kind: str) -> None:
    with pytest.raises(MalformedPageError, match=kind) as refused:
        parse_json(body)
    assert "secret-word" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        {"data": 5},
        {"data": "secret-word"},
        {"ok": False, "data": []},
        [],
        "data",
        5,
        None,
    ],
)
def test_an_answer_without_a_list_is_never_an_empty_page(answer: Any) -> None:
    with pytest.raises(MalformedPageError) as refused:
        PageDecoder("data")(json.dumps(answer).encode())
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize(
    "total, count",
    [(12, 12), ("12", 12), (0, 0), (None, None), (-1, None), (1.5, None), (True, None), ("many", None)],
)
def test_the_total_is_a_number_or_none(total: Any, count: int | None) -> None:
    assert PageDecoder("data")(json.dumps({"data": [], "total": total}).encode()) == Page([], count)


@pytest.mark.parametrize(
    "flag, meant", [(True, True), ("false", False), (0, False), (None, None), ("x", None)]
)
def test_has_more(flag: Any, meant: bool | None) -> None:
    body = json.dumps({"data": [1], "meta": {"more": flag}}).encode()
    assert PageDecoder("data", None, "meta.more")(body) == Page([1], None, meant)


def test_paths_into_the_answer() -> None:
    body = json.dumps({"result": {"items": [{"id": 1}, {"id": 2}], "count": "2"}}).encode()
    assert PageDecoder("result.items", "result.count")(body) == Page([{"id": 1}, {"id": 2}], 2)


def test_a_single_object_is_a_page_of_one() -> None:
    assert PageDecoder("$")(b'{"id": 1}') == Page([{"id": 1}])
    assert PageDecoder("$")(b'[{"id": 1}, {"id": 2}]') == Page([{"id": 1}, {"id": 2}])


def test_without_a_selector_the_list_is_looked_for() -> None:
    assert PageDecoder(None)(b'{"meta": {}, "items": [{"id": 1}, {"id": 2}]}').records == [
        {"id": 1},
        {"id": 2},
    ]
