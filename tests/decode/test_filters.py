"""Filters: an allow-list is a deny-list of the rest, and masks over the trie say what a set of rows says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoding import catalogue, prompts, search
from trialigngr.decode.filters import Filter, as_filter
from trialigngr.decode.trie_masks import TrieMasks
from trialigngr.sids.trie import Trie

N = 30


def rows(given: set[int]) -> np.ndarray:
    return np.array(sorted(given), dtype=np.int64)


SETS = st.sets(st.integers(0, N - 1), max_size=N)
FILTERS = st.builds(Filter, SETS.map(rows), st.none() | SETS.map(rows))


def let(given: Filter) -> set[int]:
    return (set(range(N)) if given.only_rows is None else set(given.only_rows.tolist())) - set(
        given.denied_rows.tolist()
    )


@given(FILTERS)
def test_what_it_keeps(given: Filter):
    assert set(np.flatnonzero(given.is_allowed(np.arange(N))).tolist()) == let(given)
    allowed = given.list_allowed_rows(N)
    if allowed is None:
        assert given.only_rows is None
        assert 4 * len(given.denied_rows) <= N
    else:
        assert allowed.tolist() == sorted(let(given))


@given(st.lists(FILTERS, min_size=1, max_size=4), st.integers(0, 9))
def test_a_node_lives_when_an_allowed_item_is_below_it(filters: list[Filter], seed: int):
    trie = Trie.from_codes(catalogue(N, seed, unequal=True))
    counts = [trie.item_counts(depth) for depth in range(3)]
    masks = TrieMasks(filters, trie, counts, torch.device("cpu"))
    for depth, level in enumerate(trie.levels):
        nodes_BM = torch.arange(len(level)).expand(len(filters), -1)
        alive_BM = masks.is_allowed(nodes_BM, depth)
        for one, alive_M in zip(filters, alive_BM.tolist(), strict=True):
            assert alive_M == [
                bool(set(np.flatnonzero(trie.node_of_item[depth] == m)) & let(one)) for m in range(len(level))
            ]


@pytest.mark.parametrize("score_softmax", ["full", "constrained"])
def test_an_allow_list_is_a_deny_list_of_the_rest(models: dict[str, Any], score_softmax: str):
    beam, asked = search(models["qwen, trained"], catalogue(60, seed=4), score_softmax), prompts((5, 3))
    allowed = [np.array([3, 11, 12, 40, 59]), np.arange(0, 60, 2)]
    by_allow = beam(asked, 8, [Filter(only_rows=rows) for rows in allowed])
    by_deny = beam(asked, 8, [np.setdiff1d(np.arange(60), rows) for rows in allowed])
    assert by_allow.leaves_BW.tolist() == by_deny.leaves_BW.tolist()
    assert (by_allow.scores_BW == by_deny.scores_BW).all()
    both = beam(asked, 8, [Filter(rows[:2], rows) for rows in allowed])
    left = beam(asked, 8, [Filter(only_rows=rows[2:]) for rows in allowed])
    assert both.leaves_BW.tolist() == left.leaves_BW.tolist()


def test_rows_and_nothing_are_filters_too():
    assert as_filter(None).is_allowed(np.arange(3)).all()
    assert as_filter(np.array([1, 1])).is_allowed(np.arange(3)).tolist() == [True, False, True]
    given = Filter(only_rows=np.array([2]))
    assert as_filter(given) is given


def test_what_two_filters_let_come_back() -> None:
    rows = np.arange(8)
    some = [Filter(), Filter(np.array([1, 2])), Filter(only_rows=np.array([2, 3, 5])), Filter(np.array([3]), rows[:6])]
    for one in some:
        for other in some:
            both = one.intersect(other).is_allowed(rows)
            assert both.tolist() == (one.is_allowed(rows) & other.is_allowed(rows)).tolist()
