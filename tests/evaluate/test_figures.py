"""What ``metrics.json`` says, and the check that no impossible figure gets into it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.evaluate import metrics_json as figures
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, SID, TargetRanks
from trialigngr.metrics.intervals import Estimate
from trialigngr.metrics.ranks import Ranks, compute_target_metrics


def table(hr5: float, hr10: float, n5: float, n10: float) -> dict[str, dict[str, float]]:
    values = {"HR@5": hr5, "HR@10": hr10, "NDCG@5": n5, "NDCG@10": n10}
    return {name: {"value": value, "low": value, "high": value} for name, value in values.items()}


def test_rows_of_the_paper():
    # Table 2, Beauty: TriAlignGR's row is possible, LETTER's and ETEGRec's are not (paper §9.3).
    assert figures.find_broken_law(table(0.0708, 0.1089, 0.0453, 0.0581)) is None
    letter = figures.find_broken_law(table(0.0411, 0.0730, 0.0374, 0.0429))
    assert letter is not None
    assert "0.0055 / 0.0319" in letter
    assert figures.find_broken_law(table(0.0408, 0.0800, 0.0317, 0.0344)) is not None


def test_what_lacks_five_or_ten_cannot_be_judged():
    assert figures.find_broken_law({"HR@20": {"value": 1.0}}) is None


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=30))
def test_figures_from_real_ranks_are_never_refused(pairs: list[tuple[int, int]]):
    ahead, tied = np.array(pairs, dtype=np.int64).T
    means = {name: values.mean() for name, values in compute_target_metrics(Ranks(ahead, tied), (5, 10)).items()}
    rounded = figures.round_figures({name: Estimate(value, value, value) for name, value in means.items()})
    assert figures.find_broken_law(rounded) is None


@pytest.mark.parametrize("place", [6, 10])
def test_all_at_the_edge_places(place: int):
    ranks = Ranks(np.full(7, place - 1), np.ones(7, dtype=np.int64))
    means = {name: {"value": values.mean()} for name, values in compute_target_metrics(ranks, (5, 10)).items()}
    assert figures.find_broken_law(means) is None


def test_the_test_part_of_metrics():
    found = Ranks(np.array([0, 6]), np.array([1, 1]))
    worse = Ranks(np.array([6, 20]), np.array([1, 1]))
    ranks = {"model": {ITEM: found, SEEN_MASKED: found, SID: found}, "popularity": {ITEM: worse, SEEN_MASKED: found}}
    tested = TargetRanks(["a", "b"], np.array([0, 1]), np.array([3, 3]), ["x", "y"], ranks)
    body = figures.build_test_figures(tested, (5, 10))
    assert body["test"]["HR@5"] == {"value": 0.5, "low": 0.0, "high": 1.0}
    assert body["test"]["HR@10"]["value"] == 1.0
    # (1 + 1/log2(8)) / 2
    assert body["test"]["NDCG@10"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert body["baselines"]["popularity"]["HR@10"]["value"] == 0.5
    assert body["baselines_seen_masked"]["popularity"]["HR@10"]["value"] == 1.0
    assert body["differences"]["popularity"]["HR@10"]["value"] == 0.5
