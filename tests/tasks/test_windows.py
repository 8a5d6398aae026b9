"""How histories are cut: every target once, no window too long, nothing left out that would fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.tasks.windows import Window, cut_all_windows, cut_windows, find_prompt_start

COSTS = st.lists(st.integers(0, 9), min_size=0, max_size=40)
CAP = st.integers(1, 8)


def cut(costs: list[int], cap: int, overlap: int, budget: int) -> list[Window]:
    return list(cut_windows(np.array(costs, dtype=np.int64), cap, overlap, budget))


def test_by_hand():
    # Ten items, cap 4, overlap 2: 0-3 are shown for targets 1 … 4, then blocks that repeat two items.
    assert cut([1] * 10, 4, 2, 100) == [Window(0, 1, 5), Window(3, 5, 8), Window(6, 8, 10)]
    # Three tokens: a window shows three items.
    assert cut([1] * 6, 4, 1, 3) == [Window(0, 1, 4), Window(3, 4, 6)]


def test_short_histories_are_one_window():
    assert cut([2, 2, 2, 2, 2], 4, 2, 100) == [Window(0, 1, 5)]
    assert cut([5], 4, 2, 100) == []
    assert cut([], 4, 2, 100) == []


@given(COSTS, CAP, st.data(), st.integers(1, 40))
def test_laws(costs: list[int], cap: int, data: st.DataObject, budget: int):
    overlap = data.draw(st.integers(0, cap - 1))
    found = cut(costs, cap, overlap, budget)
    asked = [target for window in found for target in range(window.targets_from, window.targets_to)]
    assert asked == list(range(1, len(costs)))
    for window in found:
        assert 0 <= window.first < window.targets_from
        for target in range(window.targets_from, window.targets_to):
            shown = costs[window.first : target]
            assert len(shown) <= cap
            assert sum(shown) <= budget or len(shown) == 1
            # What could have been shown besides is at most kept back by the overlap or by the tokens.
            if len(shown) < min(overlap, target):
                assert sum(costs[window.first - 1 : window.targets_from]) > budget


@given(st.lists(COSTS, max_size=8), CAP, st.data(), st.integers(1, 40))
def test_all_windows_are_those_of_each_sequence(sequences: list[list[int]], cap: int, data: st.DataObject, budget: int):
    overlap = data.draw(st.integers(0, cap - 1))
    lengths = np.array([len(costs) for costs in sequences], dtype=np.int64)
    together = np.array([cost for costs in sequences for cost in costs], dtype=np.int64)
    assert cut_all_windows(together, lengths, cap, overlap, budget).tolist() == [
        [sequence, window.first, window.targets_from, window.targets_to]
        for sequence, costs in enumerate(sequences)
        for window in cut(costs, cap, overlap, budget)
    ]


@given(COSTS, CAP, st.integers(1, 40))
def test_a_prompt_shows_all_that_fits(costs: list[int], cap: int, budget: int):
    first = find_prompt_start(np.array(costs, dtype=np.int64), cap, budget)
    shown = costs[first:]
    if costs:
        assert 1 <= len(shown) <= cap
        assert sum(shown) <= budget or len(shown) == 1
        longer = costs[first - 1 :] if first > 0 else None
        assert longer is None or len(longer) > cap or sum(longer) > budget
    else:
        assert shown == []


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_overlap_is_the_least_that_is_shown(overlap: int):
    found = cut([1] * 30, 4, overlap, 100)
    assert min(window.targets_from - window.first for window in found[1:]) == max(overlap, 1)
