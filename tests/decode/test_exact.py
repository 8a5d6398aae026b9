"""The oracle against scoring every SID one by one, and what beams miss against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.decoding import catalogue, prompts, scored, search, written
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.sids.semantic_ids import END_CODE


@pytest.mark.parametrize("together", [1, 7, 1000])
@pytest.mark.parametrize("score_softmax", ["full", "constrained"])
@pytest.mark.parametrize("name", ["qwen", "llama, trained"])
def test_equals_scoring_one_by_one(models: dict[str, Any], name: str, score_softmax: str, together: int) -> None:
    codes_NL = np.concatenate(
        [catalogue(30, seed=2, unequal=True), [[0, END_CODE, END_CODE], [3, END_CODE, END_CODE]]]
    ).astype(np.int32)
    sids, asked = written(codes_NL), prompts((7, 3))
    found = compute_exact_scores(search(models[name], codes_NL, score_softmax), asked, together)
    over = sids if score_softmax == "constrained" else None
    one_by_one = [[scored(models[name], prompt, sid, over) for sid in sids] for prompt in asked]
    assert found == pytest.approx(np.array(one_by_one), abs=1e-4)
    if over:
        assert np.exp(found).sum(1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("score_softmax", ["full", "constrained"])
def test_beams_hold_the_oracles_scores(models: dict[str, Any], score_softmax: str) -> None:
    beam, asked = search(models["qwen, trained"], catalogue(60, seed=4), score_softmax), prompts((5, 5, 2))
    exact = compute_exact_scores(beam, asked)
    found = beam(asked, 6)
    for row, leaves, scores in zip(exact, found.leaves_BW, found.scores_BW, strict=True):
        assert scores == pytest.approx(row[leaves], abs=1e-4)
        assert scores[0] <= row.max() + 1e-4
    everything = beam(asked, exact.shape[1])
    assert everything.leaves_BW.tolist() == np.argsort(-exact, axis=1, kind="stable").tolist()
