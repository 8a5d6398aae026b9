"""Lists in one array: what they hold, what they take, and the numbers that hold them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.world import World
from trialigngr.tasks.task import View
from trialigngr.tasks.token_lists import TokenLists, expand_ranges, shrink_unsigned, split_list

LISTS = st.lists(st.none() | st.lists(st.sampled_from([0, 5, 255, 256, 70_000, 1 << 33]), min_size=1, max_size=5))


@given(LISTS, st.integers(1, 6), st.lists(st.integers(0, 1 << 20), max_size=3), st.randoms())
def test_rows_are_what_they_were_made_of(lists: list[list[int] | None], cut: int, suffix: list[int], random):  # type: ignore[no-untyped-def]
    kept = TokenLists.from_chunks([lists[:2], lists[2:]])
    assert list(kept) == lists
    assert kept.lengths.tolist() == [len(ids or ()) for ids in lists]
    rows = np.array([random.randrange(len(lists)) for _ in range(7 if lists else 0)], dtype=np.int64)
    assert kept.count_tokens(rows).tolist() == [len(lists[row] or ()) for row in rows]
    assert kept.take_rows(rows) == [lists[row] or [] for row in rows]
    wanted = [[*ids[:cut], *suffix] if (ids := lists[row]) else [] for row in rows]
    assert kept.take_rows(rows, cut, suffix) == wanted
    tokens, ends = kept.join_rows(rows, cut, suffix)
    assert tokens == [token for ids in wanted for token in ids]
    assert ends.tolist() == np.cumsum([len(ids) for ids in wanted]).tolist()


def test_a_table_of_lists():
    assert TokenLists.from_chunks([[[3, 4], None, [5]]]).pad(-1).tolist() == [[3, 4], [-1, -1], [5, -1]]
    assert TokenLists.from_chunks([[None]]).pad(-1).tolist() == [[-1]]
    assert TokenLists.from_chunks([]).pad(-1).shape == (0, 1)


@pytest.mark.parametrize(("largest", "kind"), [(0, "u1"), (255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "u4")])
def test_numbers_are_as_small_as_they_can_be(largest: int, kind: str):
    shrunk = shrink_unsigned(np.array([largest, 0]))
    assert (shrunk.dtype, shrunk.tolist()) == (np.dtype(kind), [largest, 0])


def test_ranges_and_pieces():
    assert expand_ranges(np.array([5, 9, 1]), np.array([2, 0, 3])).tolist() == [5, 6, 1, 2, 3]
    assert split_list([5, 6, 7], np.array([2, 2, 3])) == [[5, 6], [], [7]]


def test_all_that_a_task_keeps_is_arrays(world: World):
    """Nothing is kept a group or an item: a million of either are a few arrays."""
    examples = world.examples("titles_to_title")
    examples.draw_batch(0, 0, 8)
    views = examples.views.token_ids
    assert all(type(views[view].tokens) is np.ndarray for view in View)
    # Titles, captions and SIDs of twelve items; numbers of two bytes and of one.
    assert sum(views[view].tokens.nbytes + views[view].offsets.nbytes for view in View) < 400 * len(world.catalog)
    groups = examples._example_groups
    columns = (groups.owner_G, groups.first_G, groups.start_G, groups.stop_G, groups.size_G)
    assert [column.dtype for column in columns] == [np.uint8] * 5
