"""Anchored paging delivers every row that lived all along and kept its place, whatever happens meanwhile."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging_assets.api.errors import PagingError
from messaging_assets.api.paging import AnchoredPaging

Change = Callable[[list[int], int], None]


def read(
    rows: list[int],
    limit: int,
    *,
    cap: int | None = None,
    total: Callable[[list[int]], int | None] = lambda _: None,
    hidden: frozenset[int] = frozenset(),
    change: Change = lambda _rows, _request: None,
    ignores_offset: bool = False,
) -> tuple[set[int], AnchoredPaging, int]:
    """Reads a list to its end; the change happens after each request."""
    seen: set[int] = set()
    paging = AnchoredPaging(limit, seen.__contains__)
    requests = 0
    while paging.next_offset is not None:
        offset = paging.next_offset
        start = 0 if ignores_offset else offset
        size = min(paging.limit, cap or paging.limit)
        page = [row for row in rows[start : start + size] if row not in hidden]
        step = paging.receive(offset, page, total=total(rows))
        if step.accepted:
            seen.update(page)
        requests += 1
        assert requests < 5_000, "it does not end"
        change(rows, requests)
    return seen, paging, requests


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 199, 250])
@pytest.mark.parametrize("cap", [None, 50, 99])
@pytest.mark.parametrize("with_total", [True, False])
def test_a_list_at_rest_is_read_whole(count: int, cap: int | None, with_total: bool) -> None:
    rows = list(range(count))
    seen, paging, requests = read(rows, 100, cap=cap, total=lambda r: len(r) if with_total else None)
    assert seen == set(rows)
    assert paging.drift_repaired == 0
    assert not paging.unanchored
    # One row of each page is the anchor; without a total the end takes looks at what would be behind it.
    assert requests <= count / ((cap or 100) - 1) + (2 if with_total else 5 + 500 / (cap or 100))


def test_a_server_with_smaller_pages_than_asked_loses_nothing() -> None:
    seen, paging, _ = read(list(range(1_000)), 100, cap=50, total=len)
    assert len(seen) == 1_000
    assert paging.page_size == 50


@pytest.mark.parametrize("total", [0, 1, 100, 137, 250, 999])
def test_a_wrong_total_ends_nothing_early(total: int) -> None:
    seen, _, _ = read(list(range(250)), 100, total=lambda _: total)
    assert len(seen) == 250


def test_rows_deleted_before_the_reading_position_hide_none_behind_it() -> None:
    def delete_at_head(rows: list[int], request: int) -> None:
        if request == 2:
            del rows[:30]

    rows = list(range(500))
    survivors = set(rows[30:])
    seen, paging, _ = read(rows, 100, total=len, change=delete_at_head)
    assert survivors <= seen
    assert paging.drift_repaired > 0


def test_a_burst_of_deletions_larger_than_pages_is_stepped_back_over() -> None:
    def delete_burst(rows: list[int], request: int) -> None:
        if request == 4:
            del rows[50:350]

    rows = list(range(1_000))
    survivors = set(rows[:50] + rows[350:])
    seen, _, _ = read(rows, 100, change=delete_burst)
    assert survivors <= seen


def test_many_rows_inserted_at_the_head_are_stepped_forward_over() -> None:
    def insert_at_head(rows: list[int], request: int) -> None:
        if request == 2:
            rows[:0] = range(10_000, 13_000)

    rows = list(range(600))
    seen, _, requests = read(rows, 100, change=insert_at_head)
    assert set(range(600)) <= seen
    assert requests < 80


def test_rows_hidden_after_slicing_end_nothing_early() -> None:
    hidden = frozenset(range(0, 700, 3)) | frozenset(range(300, 380))
    seen, _, _ = read(list(range(700)), 100, hidden=hidden)
    assert seen == set(range(700)) - hidden


@pytest.mark.parametrize("last_hidden", [125, 137, 138, 139, 160, 215])
@pytest.mark.parametrize("total", ["places", "rows", None])
@pytest.mark.parametrize("cap", [None, 10])
def test_whole_pages_of_hidden_rows_end_nothing_early(
    last_hidden: int, total: str | None, cap: int | None
) -> None:
    hidden = frozenset(range(120, last_hidden + 1))
    totals = {"places": 300, "rows": 300 - len(hidden), None: None}
    seen, _, _ = read(list(range(300)), 20, cap=cap, total=lambda _: totals[total], hidden=hidden)
    assert seen == set(range(300)) - hidden


@pytest.mark.parametrize("total", [300, None])
def test_a_first_page_of_hidden_rows_does_not_make_a_list_empty(total: int | None) -> None:
    hidden = frozenset(range(55))
    seen, _, _ = read(list(range(300)), 20, total=lambda _: total, hidden=hidden)
    assert seen == set(range(300)) - hidden


@pytest.mark.parametrize("total", [0, 7, 10_000_000, None])
def test_an_empty_list_takes_few_requests_whatever_its_total(total: int | None) -> None:
    seen, _, requests = read([], 100, total=lambda _: total)
    assert seen == set()
    assert requests <= {0: 1, 7: 6, None: 6}.get(total, 60)


def test_a_server_that_ignores_the_offset_is_an_error_that_says_so() -> None:
    with pytest.raises(PagingError, match="first page whatever the offset"):
        read(list(range(500)), 100, ignores_offset=True)


def test_a_list_that_changes_faster_than_it_is_read_ends() -> None:
    random = Random(1)

    def replace_all(rows: list[int], request: int) -> None:
        rows[:] = [random.randrange(10**9) for _ in rows]

    with pytest.raises(PagingError, match="changes faster"):
        read(list(range(500)), 100, change=replace_all)


def test_one_row_a_page_is_read_but_proves_nothing() -> None:
    seen, paging, _ = read(list(range(20)), 100, cap=1, total=len)
    assert seen == set(range(20))
    assert paging.unanchored


def test_reading_stops_at_the_maximum_offset() -> None:
    paging = AnchoredPaging(10, {0}.__contains__, maximum_offset=9)
    assert paging.receive(0, list(range(10)), total=100).finished
    assert paging.next_offset is None


def test_has_more_false_ends_the_list() -> None:
    paging = AnchoredPaging(10, set[object]().__contains__)
    assert paging.receive(0, list(range(10)), total=None, has_more=False).finished


def test_pages_without_a_single_key_are_read_on() -> None:
    paging = AnchoredPaging(2, set[object]().__contains__)
    assert paging.receive(0, [None, None], total=None).accepted
    assert paging.next_offset == 2
    assert paging.unanchored
    assert paging.receive(2, [], total=None).finished


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**9),
    count=st.sampled_from([0, 1, 5, 20, 99, 101, 250, 700]),
    limit=st.sampled_from([10, 50, 100]),
    cap=st.sampled_from([None, 0.5, 0.8]),
    total_error=st.sampled_from([None, None, 0, 0, 7, -7]),
    hides=st.booleans(),
    rate=st.sampled_from([0.0, 0.1, 0.3, 0.5]),
)
def test_no_row_that_lived_all_along_is_missed(
    seed: int, count: int, limit: int, cap: float | None, total_error: int | None, hides: bool, rate: float
) -> None:
    random = Random(seed)
    rows = list(range(count))
    hidden = frozenset(row for row in rows if hides and row % 4 == seed % 4)
    alive = set(rows) - hidden
    fresh = iter(range(10**6, 10**7))

    def insert(rows: list[int], place: int, many: int) -> None:
        rows[place:place] = [next(fresh) for _ in range(many)]

    def delete(rows: list[int], place: int, many: int) -> None:
        alive.difference_update(rows[place : place + many])
        del rows[place : place + many]

    def change(rows: list[int], request: int) -> None:
        if random.random() >= rate:
            return
        many = random.choice([1, 1, 3, limit, 2 * limit + 1])
        place = random.choice([0, random.randint(0, len(rows)), len(rows)])
        random.choice([insert, delete])(rows, place, many)

    size = None if cap is None or hides else int(limit * cap)
    try:
        seen, paging, _ = read(
            rows,
            limit,
            cap=size,
            total=lambda r: None if total_error is None else max(0, len(r) + total_error),
            hidden=hidden,
            change=change,
        )
    except PagingError:
        assert rate > 0
        return
    assert paging.unanchored or alive <= seen


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    count=st.integers(2, 120),
    caps=st.lists(st.integers(2, 12), min_size=1, max_size=20),
    total=st.sampled_from(["right", "wrong", "none"]),
    has_more=st.sampled_from([None, True]),
    maximum=st.sampled_from([None, 40]),
)
def test_a_page_of_which_the_first_row_alone_is_known_can_be_taken_without_its_keys(
    count: int, caps: list[int], total: str, has_more: bool | None, maximum: int | None
) -> None:
    seen: set[object] = set()
    by_keys, by_count = (AnchoredPaging(12, seen.__contains__, maximum_offset=maximum) for _ in range(2))
    said = {"right": count, "wrong": count + 3, "none": None}[total]
    for number in range(200):
        offset = by_keys.next_offset
        if offset is None:
            break
        page: list[object] = list(range(offset, min(count, offset + caps[number % len(caps)])))
        is_regular = len(page) > 1 and [key in seen for key in page] == [True] + [False] * (len(page) - 1)
        step = by_keys.receive(offset, page, total=said, has_more=has_more)
        if is_regular:
            assert by_count.receive_next(offset, len(page), total=said, has_more=has_more) == step
        else:
            assert by_count.receive(offset, page, total=said, has_more=has_more) == step
        state, other = ({**vars(paging), "_is_known": None} for paging in (by_keys, by_count))
        assert state == other
        if step.accepted:
            seen.update(page)
    assert by_keys.next_offset is None
