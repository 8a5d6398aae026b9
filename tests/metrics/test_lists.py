"""What lists are like, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.metrics.lists import (
    compute_list_metrics,
    coverage,
    invalid_rate,
    novelty,
    popularity_bias,
    short_list_rate,
)

COUNTS = np.array([6, 2, 0, 0])
LISTS = np.array([[0, 1, 2], [0, 2, -1]])


def test_coverage_by_hand() -> None:
    assert coverage(LISTS, 1, 4) == 1 / 4
    assert coverage(LISTS, 2, 4) == 3 / 4


def test_novelty_by_hand() -> None:
    # p = (count + 1) / (8 + 4): 7/12, 3/12, 1/12; items listed in the first two places: 0, 1, 0, 2.
    expected = -(2 * math.log2(7 / 12) + math.log2(3 / 12) + math.log2(1 / 12)) / 4
    assert novelty(LISTS, 2, COUNTS) == pytest.approx(expected)


def test_popularity_bias_by_hand() -> None:
    taken = np.array([0, 1])  # (6 + 2) / 2 = 4
    assert popularity_bias(LISTS, 1, COUNTS, taken) == pytest.approx(6 / 4 - 1)
    assert popularity_bias(LISTS, 3, COUNTS, taken) == pytest.approx((6 + 2 + 0 + 6 + 0) / 5 / 4 - 1)
    assert math.isnan(popularity_bias(LISTS, 3, np.zeros(4, np.int64), taken))


def test_invalid_places_are_those_outside_and_those_said_twice() -> None:
    assert invalid_rate(LISTS, 3, 4) == 0
    assert invalid_rate(np.array([[0, 1, 0], [4, -1, -1]]), 3, 4) == 2 / 4
    assert invalid_rate(np.array([[0, 1, 0], [4, -1, -1]]), 2, 4) == 1 / 3
    assert invalid_rate(np.array([[-2, 0]]), 2, 4) == 1 / 2


def test_short_lists_by_hand() -> None:
    assert short_list_rate(LISTS, 3) == 1 / 2
    assert short_list_rate(LISTS, 2) == 0


@given(st.lists(st.permutations(range(6)), min_size=1, max_size=8), st.integers(1, 6))
def test_laws(rows: list[list[int]], k: int) -> None:
    lists, counts = np.array(rows), np.array([9, 4, 2, 1, 0, 0])
    assert invalid_rate(lists, k, 6) == short_list_rate(lists, k) == 0
    assert k / 6 <= coverage(lists, k, 6) <= coverage(lists, 6, 6) == 1
    best, worst = -math.log2(10 / 22), -math.log2(1 / 22)
    assert best - 1e-9 <= novelty(lists, k, counts) <= worst + 1e-9
    found = compute_list_metrics(lists, (2, 5), counts, np.array([0]))
    assert list(found) == [f"{name}@{n}" for n in (2, 5) for name in ("Coverage", "Novelty", "PopularityBias")] + [
        "invalid",
        "short",
    ]
