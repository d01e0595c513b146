"""The index agrees with a plain dictionary, whatever happens, in a sixth of the memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging_assets.api import row_index
from messaging_assets.api.row_index import Change, RowIndex

rows = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=30)


@settings(deadline=None, max_examples=200)
@given(
    stored=st.dictionaries(st.integers(0, 40), st.integers(0, 3), max_size=30),
    passes=st.lists(st.lists(rows, max_size=4), min_size=1, max_size=3),
    recent=st.integers(1, 20),
)
def test_it_agrees_with_a_dictionary(
    stored: dict[int, int], passes: list[list[list[tuple[int, int]]]], recent: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_index, "RECENT_ROWS", recent)
        index = RowIndex(
            np.array(list(stored), dtype=np.int64), np.array(list(stored.values()), dtype=np.int64)
        )
        held = dict(stored)
        seen_before: set[int] = set()
        for pages in passes:
            index.begin_pass()
            seen: set[int] = set()
            for page in pages:
                keys, contents = [key for key, _ in page], [content for _, content in page]
                assert index.seen_among(keys) == seen & set(keys)
                expected = []
                for key, content in page:
                    if key not in held:
                        expected.append(Change.NEW)
                    elif held[key] != content:
                        expected.append(Change.CHANGED)
                    else:
                        expected.append(Change.REPEATED if key in seen else Change.UNCHANGED)
                    held[key] = content
                    seen.add(key)
                assert index.record(keys, contents).tolist() == expected
            assert index.seen == len(seen)
            assert index.seen_again == len(seen & seen_before)
            all_keys = np.array(sorted(stored), dtype=np.int64)
            missed = all_keys[index.unseen().mask(all_keys)].tolist()
            assert missed == sorted(set(stored) - seen)
            assert len(index.unseen(passes=2)) == len(set(stored) - seen - seen_before)
            seen_before = seen


def test_memory_grows_by_few_bytes_a_row() -> None:
    count = 400_000
    keys = np.arange(count, dtype=np.int64) * 7919
    tracemalloc.start()
    index = RowIndex(keys, keys.copy())
    index.begin_pass()
    for start in range(count, 2 * count, 1_000):
        fresh = list(range(start, start + 1_000))
        index.record([key * 7919 for key in fresh], fresh)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 17 bytes a row in the index, and what the most recent rows take in the dictionary.
    assert held < 2 * count * 17 + row_index.RECENT_ROWS * 250


def test_nothing_is_there_twice_while_it_is_sorted() -> None:
    count = 400_000
    keys = np.arange(count, dtype=np.int64)[::-1].copy()
    contents = keys.copy()
    tracemalloc.start()
    index = RowIndex(keys, contents)
    index.begin_pass()
    assert index.record([7], [7]).tolist() == [Change.UNCHANGED]
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Beside the arrays given: two bytes a row, and while sorting the order and one column.
    assert held < 2.1 * count
    assert most < 18 * count


def test_runs_are_merged_column_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_index, "RECENT_ROWS", 5_000)
    count = 320_000
    index = RowIndex()
    index.begin_pass()
    tracemalloc.start()
    for start in range(0, count, 1_000):
        fresh = list(range(start, start + 1_000))
        index.record([key * 7919 for key in fresh], fresh)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 34 * count


def test_rows_marked_as_deleted_are_not_missing() -> None:
    index = RowIndex(np.array([5, 3, 9]), np.array([1, 1, 1]), np.array([True, False, True]))
    index.begin_pass()
    index.record([9], [1])
    assert index.unseen().mask(np.array([3, 5, 9])).tolist() == [False, True, False]


def test_a_key_that_stands_more_than_once_is_seen_as_a_whole() -> None:
    """A table that was appended to holds keys several times."""
    index = RowIndex(np.array([5, 5, 7, 7]), np.array([1, 2, 1, 1]))
    index.begin_pass()
    index.record([5], [1])
    assert index.unseen().mask(np.array([5, 7])).tolist() == [False, True]


def held_index() -> RowIndex:
    """Four rows; the second is marked as deleted."""
    return RowIndex(
        np.array([40, 10, 30, 20]), np.array([4, 1, 3, 2]), np.array([True, False, True, True], np.bool_)
    )


def test_rows_are_found_by_what_they_say_if_they_live() -> None:
    index = held_index()
    places = index.places_of(np.array([3, 4, 2, 1, 5, 3]))
    assert (places >= 0).tolist() == [True, True, True, False, False, True]
    assert index.contents_at(places[:3]).tolist() == [3, 4, 2]
    assert RowIndex().places_of(np.array([1])).tolist() == [-1]


@pytest.mark.parametrize("seen", [[], [30], [40, 30], [40, 20], [40, 30, 20]])
def test_rows_are_seen_again_only_where_the_first_alone_was_seen(seen: list[int]) -> None:
    index = held_index()
    places = index.places_of(np.array([4, 3, 2]))
    index.begin_pass()
    index.record(seen, [key // 10 for key in seen])
    assert not index.see_again(places)
    assert (index.seen, len(index.unseen())) == (len(seen), 3 - len(seen))


def test_rows_seen_again_count_as_seen() -> None:
    index = held_index()
    places = index.places_of(np.array([4, 3, 2]))
    index.begin_pass()
    index.record([40], [4])
    assert index.see_again(places)
    assert (index.seen, index.seen_again, len(index.unseen())) == (3, 0, 0)
    assert index.seen_among([10, 20, 30, 40]) == {20, 30, 40}
    # In the next pass none of them is seen.
    index.begin_pass()
    assert not index.see_again(places)
    assert index.record([40], [4]).tolist() == [Change.UNCHANGED]
    assert index.seen_again == 1


def test_rows_are_seen_by_what_they_say() -> None:
    index = held_index()
    index.begin_pass()
    index.record([40], [4])
    index.see_contents(np.array([4, 3, 3, 1, 7]))
    assert index.seen == 2
    assert index.seen_among([10, 20, 30, 40]) == {30, 40}
