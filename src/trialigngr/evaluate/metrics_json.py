"""``metrics.json``: the protocol, and every figure with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, SID, TargetRanks
from trialigngr.metrics.consistency import RoundedValue, find_inconsistencies
from trialigngr.metrics.intervals import Estimate


def round_figures(figures: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Return figures as plain numbers, six digits."""
    return {name: {key: round(number, 6) for key, number in asdict(figure).items()} for name, figure in figures.items()}


def build_test_figures(test: TargetRanks, ks: Sequence[int], head_counting: str = ITEM) -> dict[str, Any]:
    """Return the test part of ``metrics.json``: the first system and those beside it in every way of counting, paired
    differences in the one that heads tables. A first system that does not rank SIDs has no ``test_sid``."""
    head, *baselines = test.ranks
    return {
        "test": round_figures(test.compute_figures(head, ITEM, ks)),
        "test_seen_masked": round_figures(test.compute_figures(head, SEEN_MASKED, ks)),
        "test_sid": round_figures(test.compute_figures(head, SID, ks)) if SID in test.ranks[head] else {},
        "baselines": {name: round_figures(test.compute_figures(name, ITEM, ks)) for name in baselines},
        "baselines_seen_masked": {
            name: round_figures(test.compute_figures(name, SEEN_MASKED, ks)) for name in baselines
        },
        "differences": {
            name: round_figures(test.compute_difference(head, name, head_counting, ks)) for name in baselines
        },
    }


def find_broken_law(figures: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return a sentence when figures break a law of lists with one relevant item (`metrics.consistency`), else None."""
    row = {}
    for metric, figure in figures.items():
        name, _, k = metric.partition("@")
        row[name, int(k)] = RoundedValue(figure["value"])
    return next(find_inconsistencies(row), None)
