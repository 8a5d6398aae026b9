"""``metrics.json``: the protocol, and every figure with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, SID, TargetRanks
from trialigngr.foundation.config import Settings
from trialigngr.metrics.consistency import RoundedValue, find_inconsistencies
from trialigngr.metrics.intervals import Estimate


class EvaluateSettings(Settings):
    """How a run is tested. K in {5, 10} stands in every table."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = (5, 10)
    """Lengths at which lists are cut, beside 5 and 10. The test takes at least as many beams."""
    baselines: tuple[Literal["popularity", "co_occurrence", "sasrec"], ...] = ("popularity", "co_occurrence")
    """What stands in the table beside the model; SASRec is trained for it, in minutes."""
    num_recommendations: int = Field(10, ge=1)
    """Items a target kept in ``recommendations.parquet``."""

    @property
    def list_lengths(self) -> tuple[int, ...]:
        """Every K, in order."""
        return tuple(sorted({5, 10, *self.ks}))


def round_figures(figures: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Return figures as plain numbers, six digits."""
    return {name: {key: round(number, 6) for key, number in asdict(figure).items()} for name, figure in figures.items()}


def build_test_figures(test: TargetRanks, ks: Sequence[int]) -> dict[str, Any]:
    """Return the test part of ``metrics.json``: model and baselines in every way of counting, paired differences."""
    baselines = [system for system in test.ranks if system != "model"]
    return {
        "test": round_figures(test.compute_figures("model", ITEM, ks)),
        "test_unseen": round_figures(test.compute_figures("model", SEEN_MASKED, ks)),
        "test_sid": round_figures(test.compute_figures("model", SID, ks)),
        "baselines": {name: round_figures(test.compute_figures(name, ITEM, ks)) for name in baselines},
        "baselines_unseen": {name: round_figures(test.compute_figures(name, SEEN_MASKED, ks)) for name in baselines},
        "differences": {name: round_figures(test.compute_difference("model", name, ITEM, ks)) for name in baselines},
    }


def find_broken_law(figures: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return a sentence when figures break a law of lists with one relevant item (`metrics.consistency`), else None."""
    row = {}
    for metric, figure in figures.items():
        name, _, k = metric.partition("@")
        row[name, int(k)] = RoundedValue(figure["value"])
    return next(find_inconsistencies(row), None)
