"""Orders as text, as JSON, and what they choose."""

from collections.abc import Callable

import pytest

from messaging_assets.sandbox import At, Broken, Delete, Edit, Faults, Insert, Move, Workspace
from messaging_assets.sandbox.answers import Choice
from messaging_assets.sandbox.faults import KINDS, scalar_faults


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("503", Broken("status", status=503)),
        ("429,retry_after=2,times=3", Broken("status", status=429, retry_after=2.0, times=3)),
        ("html,rate=0.5,resource=users", Broken("html", rate=0.5, resource="users")),
        ("status,status=500,position=250", Broken("status", status=500, position=250)),
        ("redirect,location=loop,after=1", Broken("redirect", location="loop", after=1)),
        ("429,retry_after_as=date", Broken("status", status=429, retry_after_as="date")),
    ],
)
def test_a_broken_answer_is_read_from_text(text: str, broken: Broken) -> None:
    assert Broken.parse(text) == broken


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("3,delete,messages,count=5,where=tail", At(3, Delete("messages", count=5, where="tail"))),
        ("1/2,insert,users,where=7", At(1, Insert("users", where=7), resource="users", every=2)),
        ("2,move,messages,to=tail,where=head", At(2, Move("messages", where="head", to="tail"))),
        ("2,edit,channels", At(2, Edit("channels"), resource="channels")),
    ],
)
def test_a_change_is_read_from_text(text: str, change: At) -> None:
    assert At.parse(text) == change


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (Broken.parse, "teapot", "'teapot' is none of status, hang"),
        (Broken.parse, "503,often=1", "'often' is none of kind, resource"),
        (Broken.parse, "503,rate", "not of the form name=value"),
        (Broken.parse, "503,rate=much", "rate: 'much' is not a number"),
        (At.parse, "3,explode,messages", "'explode' is none of insert"),
        (At.parse, "x,delete,messages", "invalid literal"),
        (At.parse, "3,delete,messages,where=nowhere", "'nowhere' is none of head"),
    ],
)
def test_a_mistake_in_an_order_is_named(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_faults_survive_json() -> None:
    faults = Faults(
        page_cap=5,
        order="updated",
        statuses={503: 0.5},
        broken=[Broken("hang", times=2)],
        script=[At(3, Insert("users", fields={"a": [1]}), resource="users", every=2), At(1, Move(to="tail"))],
    )
    assert Faults.from_json(faults.to_json()) == faults


def test_a_function_in_a_script_is_refused_as_json() -> None:
    with pytest.raises(TypeError, match="use a Change"):
        Faults(script=[At(1, lambda workspace: workspace.insert("users"))]).to_json()


def test_every_kind_and_every_single_fault_is_described() -> None:
    assert all(KINDS.values())
    assert {name for name, *_ in scalar_faults()} | {"statuses", "broken", "script"} == set(vars(Faults()))


def _draws(faults: Faults, offsets: list[int], seed: int = 1) -> list[bool]:
    choice = Choice(faults, seed)
    return [choice.broken("messages", offset, 100) is not None for offset in offsets]


def test_a_rate_is_kept_and_does_not_depend_on_the_order_of_requests() -> None:
    faults = Faults(statuses={503: 0.2})
    offsets = list(range(0, 100_000, 100))
    forwards, backwards = _draws(faults, offsets), _draws(faults, offsets[::-1])
    assert 150 < sum(forwards) < 250
    assert forwards == backwards[::-1]
    assert forwards != _draws(faults, offsets, seed=2)
    again = _draws(faults, [100] * 1000)
    assert 150 < sum(again) < 250


def test_conditions_all_have_to_hold() -> None:
    choice = Choice(Faults(broken=[Broken("html", resource="users", times=2, after=1, position=150)]), 1)
    assert [
        choice.broken(resource, offset, 100) is not None
        for resource, offset in [
            ("messages", 100), ("users", 0), ("users", 51), ("users", 200), ("users", 100), ("users", 150),
            ("users", 150),
        ]
    ] == [False, False, False, False, True, True, False]  # fmt: skip


def test_without_a_resource_the_token_endpoint_is_left_alone() -> None:
    choice = Choice(Faults(broken=[Broken("status")]), 1)
    assert choice.broken("token", 0, 1) is None
    assert choice.broken("members", 0, 1) is not None


def test_changes_change_what_they_say() -> None:
    workspace = Workspace(messages=10)
    ids = [row["id"] for row in workspace.rows("messages")]
    Delete(count=2).apply(workspace)
    Move(count=1).apply(workspace)
    Insert(count=2, where=3, fields={"text": "new"}).apply(workspace)
    Edit(count=1, where="tail", fields={"text": "edited"}).apply(workspace)
    rows = workspace.rows("messages")
    assert [row["id"] for row in rows if row["text"] != "new"] == [ids[9], *ids[2:9]]
    assert [row["text"] == "new" for row in rows] == [False] * 3 + [True] * 2 + [False] * 5
    assert rows[-1]["text"] == "edited"


def test_a_script_is_due_once_or_again_and_again() -> None:
    assert [page for page in range(1, 12) if At(3, Delete()).due(page)] == [3]
    assert [page for page in range(1, 12) if At(3, Delete(), every=4).due(page)] == [3, 7, 11]
