"""HR, NDCG and MRR against hand-worked numbers, against every order of tied items, and their laws."""

from __future__ import annotations

from itertools import permutations
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.metrics.ranks import NOT_LISTED, Ranks, compute_target_metrics, hit_rate, mrr, ndcg

RANKS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=20)


def ranks(*pairs: tuple[int, int]) -> Ranks:
    ahead, tied = np.array(pairs, dtype=np.int64).T
    return Ranks(ahead, tied)


def test_first_third_sixth_and_missed_by_hand():
    found = ranks((0, 1), (2, 1), (5, 1), (NOT_LISTED, 1))
    assert hit_rate(found, 5).tolist() == [1, 1, 0, 0]
    assert hit_rate(found, 10).tolist() == [1, 1, 1, 0]
    # 1/log2(2), 1/log2(4), 1/log2(7)
    assert ndcg(found, 5) == pytest.approx([1, 0.5, 0, 0])
    assert ndcg(found, 10) == pytest.approx([1, 0.5, 0.35620719, 0])
    assert mrr(found, 10) == pytest.approx([1, 1 / 3, 1 / 6, 0])


def test_a_tie_across_the_cut_by_hand():
    # Places 4, 5, 6 are shared: two of three orders hit at 5; gains 1/log2(5) and 1/log2(6), each with chance 1/3.
    found = ranks((3, 3))
    assert hit_rate(found, 5) == pytest.approx([2 / 3])
    assert ndcg(found, 5) == pytest.approx([(0.43067656 + 0.38685281) / 3])
    assert mrr(found, 5) == pytest.approx([(1 / 4 + 1 / 5) / 3])
    assert hit_rate(found, 3).tolist() == [0]


@pytest.mark.parametrize("ahead", range(4))
@pytest.mark.parametrize("tied", range(1, 5))
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_ties_are_the_mean_over_every_order(ahead: int, tied: int, k: int):
    places = [ahead + order.index(0) + 1 for order in permutations(range(tied))]
    found = ranks((ahead, tied))
    assert hit_rate(found, k)[0] == pytest.approx(np.mean([place <= k for place in places]))
    assert ndcg(found, k)[0] == pytest.approx(np.mean([1 / log2(p + 1) if p <= k else 0 for p in places]))
    assert mrr(found, k)[0] == pytest.approx(np.mean([1 / p if p <= k else 0 for p in places]))


@given(RANKS, st.integers(1, 40))
def test_laws_of_one_relevant_item(pairs: list[tuple[int, int]], k: int):
    found = ranks(*pairs)
    hr, gain = hit_rate(found, k), ndcg(found, k)
    tiny = 1e-12
    assert (hr <= hit_rate(found, k + 1) + tiny).all()
    assert (gain <= ndcg(found, k + 1) + tiny).all()
    assert (gain <= hr + tiny).all()
    assert (gain >= hr / log2(k + 1) - tiny).all()
    assert ((hr >= 0) & (hr <= 1)).all()
    assert (mrr(found, k) <= gain + tiny).all()
    assert (mrr(found, k) >= hr / k - tiny).all()


@given(RANKS)
def test_what_ten_adds_to_five_is_bounded(pairs: list[tuple[int, int]]):
    found = compute_target_metrics(ranks(*pairs), (5, 10))
    hits = found["HR@10"].mean() - found["HR@5"].mean()
    gain = found["NDCG@10"].mean() - found["NDCG@5"].mean()
    assert hits / log2(11) - 1e-12 <= gain <= hits / log2(7) + 1e-12


def test_named_as_printed():
    assert list(compute_target_metrics(ranks((0, 1)), (5, 10))) == [
        "HR@5",
        "NDCG@5",
        "MRR@5",
        "HR@10",
        "NDCG@10",
        "MRR@10",
    ]


def test_a_missed_target_is_missed_at_any_length():
    assert hit_rate(ranks((NOT_LISTED, 1)), 1_000_000).tolist() == [0]
