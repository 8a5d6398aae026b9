"""Groups of test targets for which figures are given apart: cold items, popularity bands, history lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.evaluate.metrics_json import round_figures
from trialigngr.evaluate.target_ranks import ITEM, TargetRanks
from trialigngr.metrics.intervals import Estimate, bootstrap_intervals

Int64Array = npt.NDArray[np.int64]
HISTORY_LENGTH_BANDS = ((1, 5), (6, 10), (11, 20), (21, None))
"""Bands of history length: items taken before the target, fewest and most."""


@dataclass(frozen=True)
class TargetSlice:
    """Some of M targets; ``rule`` says which, in words."""

    name: str
    rule: str
    inside_M: npt.NDArray[np.bool_]


def build_slices(counts_N: Int64Array, target_rows_M: Int64Array, lengths_M: Int64Array) -> list[TargetSlice]:
    """Return the slices that hold a target, by the training counts of all items, the targets' rows and the lengths of
    the histories before them.

    Head, middle and tail each hold about a third of the training interactions; items of one count are in one band.
    """
    counts_M = counts_N[target_rows_M]
    head, middle = _popularity_thresholds(counts_N)
    found = [
        TargetSlice("cold items", "never in training", counts_M == 0),
        TargetSlice("tail items", f"1–{middle - 1} times in training", (counts_M >= 1) & (counts_M < middle)),
        TargetSlice("middle items", f"{middle}–{head - 1} times in training", (counts_M >= middle) & (counts_M < head)),
        TargetSlice("head items", f"≥ {head} times in training", counts_M >= head),
    ]
    for fewest, most in HISTORY_LENGTH_BANDS:
        inside_M = (lengths_M >= fewest) & (lengths_M <= (most or np.inf))
        name = f"history {fewest}–{most}" if most else f"history {fewest}+"
        found.append(TargetSlice(name, "items before the target", inside_M))
    return [part for part in found if part.inside_M.any()]


def _popularity_thresholds(counts_N: Int64Array) -> tuple[int, int]:
    """Return the least count of head items and of middle items."""
    ordered = np.sort(counts_N)[::-1]
    held = np.cumsum(ordered)
    places = np.searchsorted(held, [held[-1] / 3, 2 * held[-1] / 3])
    head, middle = (max(int(ordered[place]), 1) for place in places)
    return head, middle


def compute_slice_figures(
    test: TargetRanks, slices: Sequence[TargetSlice], ks: Sequence[int], counting: str = ITEM
) -> list[dict[str, Any]]:
    """Return name, rule, number of targets and the figures of every system in a way of counting, slice by slice."""
    values = {
        (system, metric): values_M
        for system in test.ranks
        for metric, values_M in test.compute_values(system, counting, ks).items()
    }
    found = []
    for part in slices:
        inside = {key: values_M[part.inside_M] for key, values_M in values.items()}
        figures: dict[str, dict[str, Estimate]] = {}
        for (system, metric), estimate in bootstrap_intervals(inside, test.users_M[part.inside_M]).items():
            figures.setdefault(system, {})[metric] = estimate
        slice_figures = {system: round_figures(own) for system, own in figures.items()}
        found.append(
            {"name": part.name, "rule": part.rule, "targets": int(part.inside_M.sum()), "figures": slice_figures}
        )
    return found
