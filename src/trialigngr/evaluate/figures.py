"""``metrics.json``: the protocol, and every figure with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import log2
from typing import Any, Literal

from trialigngr.evaluate.targets import ITEM, SID, UNSEEN, TargetRanks
from trialigngr.foundation.config import Settings
from trialigngr.metrics.intervals import Estimate

GAIN_BOUNDS = (1 / log2(11), 1 / log2(7))
"""With one relevant item a target, (NDCG@10 − NDCG@5) / (HR@10 − HR@5) lies between them: places 10 and 6."""


class EvaluateSettings(Settings):
    """How a run is tested. K in {5, 10} stands in every table."""

    ks: tuple[int, ...] = (5, 10)
    """Lengths at which lists are cut."""
    baselines: tuple[Literal["popularity", "co-occurrence", "sasrec"], ...] = ("popularity", "co-occurrence")
    """What stands in the table beside the model; SASRec is trained for it, in minutes."""
    recommendations: int = 10
    """Items a target kept in ``recommendations.parquet``."""


def rounded(figures: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Return figures as plain numbers, six digits."""
    return {name: {key: round(number, 6) for key, number in asdict(figure).items()} for name, figure in figures.items()}


def test_figures(test: TargetRanks, ks: Sequence[int]) -> dict[str, Any]:
    """Return the test part of ``metrics.json``: model and baselines in every way of counting, paired differences."""
    baselines = [system for system in test.ranks if system != "model"]
    return {
        "test": rounded(test.figures("model", ITEM, ks)),
        "test_unseen": rounded(test.figures("model", UNSEEN, ks)),
        "test_sid": rounded(test.figures("model", SID, ks)),
        "baselines": {name: rounded(test.figures(name, ITEM, ks)) for name in baselines},
        "baselines_unseen": {name: rounded(test.figures(name, UNSEEN, ks)) for name in baselines},
        "differences": {name: rounded(test.difference("model", name, ITEM, ks)) for name in baselines},
    }


def impossible(figures: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return a sentence when HR and NDCG at 5 and 10 cannot come from lists with one relevant item, else None."""
    try:
        hits = figures["HR@10"]["value"] - figures["HR@5"]["value"]
        gain = figures["NDCG@10"]["value"] - figures["NDCG@5"]["value"]
    except KeyError:
        return None
    slack = 2e-6
    if GAIN_BOUNDS[0] * hits - slack <= gain <= GAIN_BOUNDS[1] * hits + slack:
        return None
    low, high = GAIN_BOUNDS
    return (
        f"(NDCG@10 − NDCG@5) / (HR@10 − HR@5) = {gain:.6f} / {hits:.6f} lies outside [{low:.4f}, {high:.4f}]: "
        "these figures cannot be."
    )
