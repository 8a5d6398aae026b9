"""Groups of test targets for which figures are given apart: cold items, popularity bands, history lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.evaluate.figures import rounded
from trialigngr.evaluate.targets import ITEM, TargetRanks
from trialigngr.metrics.intervals import Estimate, bootstrap

Rows = npt.NDArray[np.int64]
HISTORIES = ((1, 5), (6, 10), (11, 20), (21, None))
"""Bands of history length: items taken before the target, fewest and most."""


@dataclass(frozen=True)
class Slice:
    """Some of M targets; ``rule`` says which, in words."""

    name: str
    rule: str
    inside_M: npt.NDArray[np.bool_]


def slices(counts_N: Rows, wanted_M: Rows, lengths_M: Rows) -> list[Slice]:
    """Return the slices that hold a target, by the training counts of all items, the targets' rows and the lengths of
    the histories before them.

    Head, middle and tail each hold about a third of the training interactions; items of one count are in one band.
    """
    counts_M = counts_N[wanted_M]
    head, middle = _thresholds(counts_N)
    found = [
        Slice("cold items", "never in training", counts_M == 0),
        Slice("tail items", f"1–{middle - 1} times in training", (counts_M >= 1) & (counts_M < middle)),
        Slice("middle items", f"{middle}–{head - 1} times in training", (counts_M >= middle) & (counts_M < head)),
        Slice("head items", f"≥ {head} times in training", counts_M >= head),
    ]
    for fewest, most in HISTORIES:
        inside_M = (lengths_M >= fewest) & (lengths_M <= (most or np.inf))
        name = f"history {fewest}–{most}" if most else f"history {fewest}+"
        found.append(Slice(name, "items before the target", inside_M))
    return [part for part in found if part.inside_M.any()]


def _thresholds(counts_N: Rows) -> tuple[int, int]:
    """Return the least count of head items and of middle items."""
    ordered = np.sort(counts_N)[::-1]
    held = np.cumsum(ordered)
    places = np.searchsorted(held, [held[-1] / 3, 2 * held[-1] / 3])
    head, middle = (max(int(ordered[place]), 1) for place in places)
    return head, middle


def slice_figures(test: TargetRanks, parts: Sequence[Slice], ks: Sequence[int]) -> list[dict[str, Any]]:
    """Return name, rule, number of targets and the figures of every system, slice by slice."""
    values = {
        (system, metric): values_M
        for system in test.ranks
        for metric, values_M in test.values(system, ITEM, ks).items()
    }
    found = []
    for part in parts:
        inside = {key: values_M[part.inside_M] for key, values_M in values.items()}
        figures: dict[str, dict[str, Estimate]] = {}
        for (system, metric), estimate in bootstrap(inside, test.users_M[part.inside_M]).items():
            figures.setdefault(system, {})[metric] = estimate
        told = {system: rounded(own) for system, own in figures.items()}
        found.append({"name": part.name, "rule": part.rule, "targets": int(part.inside_M.sum()), "figures": told})
    return found
