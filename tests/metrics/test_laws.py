"""Figures of any real ranking obey the laws; figures that no ranking can have break them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.metrics.consistency import RoundedValue, find_inconsistencies
from trialigngr.metrics.ranks import Ranks, hit_rate, mrr, ndcg

RANKS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=20)
METRICS = {"HR": hit_rate, "NDCG": ndcg, "MRR": mrr}


@given(RANKS, st.integers(2, 6))
def test_real_rankings_are_never_blamed_however_they_are_rounded(pairs: list[tuple[int, int]], decimals: int) -> None:
    ranks = Ranks(*np.array(pairs, dtype=np.int64).T)
    row = {
        (name, k): RoundedValue(round(float(metric(ranks, k).mean()), decimals), 0.5 * 10**-decimals + 1e-12)
        for name, metric in METRICS.items()
        for k in (1, 5, 10, 20)
    }
    assert list(find_inconsistencies(row)) == []


def figures(**values: float) -> dict[tuple[str, int], RoundedValue]:
    return {(key.rpartition("_")[0], int(key.rpartition("_")[2])): RoundedValue(value) for key, value in values.items()}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (figures(HR_5=0.3, HR_10=0.2), "HR@5 = 0.3000 is above HR@10 = 0.2000"),
        (figures(HR_5=0.3, NDCG_5=0.31), "NDCG@5 = 0.3100 is above HR@5"),
        (figures(HR_10=0.3, NDCG_10=0.08), "NDCG@10 = 0.0800 is below 0.289"),
        (figures(HR_10=0.3, MRR_10=0.02), "MRR@10 = 0.0200 is below 0.100"),
        (figures(HR_5=1.2), "no share between 0 and 1"),
        (figures(HR_5=0.2, HR_10=0.3, NDCG_5=0.1, NDCG_10=0.15), "= 0.500 lies outside [0.289, 0.356]"),
        (figures(HR_5=0.2, HR_10=0.2, NDCG_5=0.1, NDCG_10=0.15), "0.0500 / 0.0000 lies outside"),
    ],
)
def test_each_law(row: dict[tuple[str, int], RoundedValue], sentence: str) -> None:
    assert any(sentence in found for found in find_inconsistencies(row))


def test_the_bounds_are_tight() -> None:
    """All new hits at the first or at the last of the new ranks are just possible."""
    for rank in (6, 10):
        gain = 1 / np.log2(rank + 1)
        assert not list(find_inconsistencies(figures(HR_5=0.2, HR_10=0.3, NDCG_5=0.1, NDCG_10=0.1 + 0.1 * gain)))
    values = [0.1 + 0.1 / np.log2(rank + 1) for rank in (5, 6, 10, 11)]
    blamed = [bool(list(find_inconsistencies(figures(HR_5=0.2, HR_10=0.3, NDCG_5=0.1, NDCG_10=v)))) for v in values]
    assert blamed == [True, False, False, True]
    assert all(a > b for a, b in pairwise(values))
