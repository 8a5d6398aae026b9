"""Beams against the exact ranking, on a finished run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.decoding.exact_ranking import _top_k_overlap, compare_beams_with_exact
from trialigngr.decode.beam import Beams
from trialigngr.runs.run import load


def test_a_beam_as_wide_as_the_catalogue_is_exact_and_a_narrow_one_is_not(tiny_run: Path) -> None:
    run = load(tiny_run)
    for score_softmax in ("full", "constrained"):
        one, all_of_them = compare_beams_with_exact(run, 20, (1, 60), score_softmax)
        assert (all_of_them.num_users, all_of_them.score_softmax) == (20, score_softmax)
        assert all_of_them.exact_overlap.value > 0.95, "near ties alone may turn"
        assert all_of_them.hit_rate_difference.value == pytest.approx(0, abs=0.1)
        assert one.exact_overlap.value < 0.11, "one beam holds one of ten"
        assert one.exact_hit_rate == all_of_them.exact_hit_rate
        assert one.exact_hit_rate.value > 0


def test_overlap_by_hand() -> None:
    scores_BW = np.zeros((2, 12), dtype=np.float32)
    exact = Beams(np.stack([np.arange(12), np.arange(12)]), scores_BW)
    beams = Beams(np.stack([np.arange(12)[::-1], np.r_[np.arange(4), np.full(8, -1)]]), scores_BW)
    assert _top_k_overlap(beams, exact).tolist() == [0.8, 0.4]
