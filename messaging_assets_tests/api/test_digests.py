"""Digests tell apart what differs and nothing else."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging_assets.api.digests import content_digest, key_digest
from messaging_assets_tests.api.test_page import json_values

records = st.dictionaries(st.text(), json_values, max_size=5)


@given(records)
def test_the_order_of_fields_does_not_count(record: dict[str, Any]) -> None:
    turned = dict(reversed(record.items()))
    assert content_digest(turned) == content_digest(record)
    assert -(2**63) <= content_digest(record) < 2**63


@given(records, records)
def test_different_content_has_another_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (content_digest(one) == content_digest(other)) == same


def test_large_integers_and_lone_surrogates_have_digests() -> None:
    assert content_digest({"n": 2**70}) != content_digest({"n": 2**70 + 1})
    assert content_digest({"t": "\ud800"}) != content_digest({"t": "\ud801"})


def test_the_content_digest_is_the_same_in_every_process() -> None:
    script = (
        "from messaging_assets.api.digests import content_digest as d; print(d({'id': 'a', 'n': [1, None]}))"
    )
    printed = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    # Stored in warehouses: another digest here would rewrite every row of every table once.
    assert printed == {f"{content_digest({'n': [1, None], 'id': 'a'})}\n"} == {"-7117946174949042292\n"}


@pytest.mark.parametrize(
    "value", [None, "", True, 1.5, [], {}, float("nan")], ids=lambda value: type(value).__name__
)
def test_what_cannot_be_a_key(value: Any) -> None:
    assert key_digest({"id": value}, ["id"]) is None
    assert key_digest({"a": 1, "b": value}, ["a", "b"]) is None


@pytest.mark.parametrize("value", [5, "text", None, [1]])
def test_what_is_not_an_object_has_no_key(value: Any) -> None:
    assert key_digest(value, ["id"]) is None


def test_keys_of_different_types_differ() -> None:
    digests = [key_digest({"id": value}, ["id"]) for value in (1, "1", -1, -2, 2**63, 2**61, "2")]
    assert len(set(digests)) == len(digests)
    assert key_digest({"a": 1, "b": 2}, ["a", "b"]) != key_digest({"a": 2, "b": 1}, ["a", "b"])
