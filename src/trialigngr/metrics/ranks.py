"""`Ranks` and the metrics on them.

A target stands in a block of ``tied`` places, behind ``ahead`` others: items that share a SID (or a score) take the
places of the block in random order, and each metric is its expectation over that order (paper §9.1). Alone: tied = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
NOT_LISTED = 1 << 40
"""``ahead`` of a target that is not in the list at all."""


@dataclass(frozen=True)
class Ranks:
    """Where M targets stand: ``ahead_M`` items before the block that holds the target, ``tied_M`` ≥ 1 items in it."""

    ahead_M: Int64Array
    tied_M: Int64Array

    def __len__(self) -> int:
        return len(self.ahead_M)


def hit_rate(ranks: Ranks, k: int) -> Float64Array:
    """Return HR@k of each target [M]: the chance to stand among the first k."""
    return np.clip(k - ranks.ahead_M, 0, ranks.tied_M) / ranks.tied_M


def ndcg(ranks: Ranks, k: int) -> Float64Array:
    """Return NDCG@k of each target [M], one relevant item: E[1 / log2(place + 1)] for places 1 … k (Järvelin 2002)."""
    return _expect_gain(ranks, k, 1 / np.log2(np.arange(2, k + 2)))


def mrr(ranks: Ranks, k: int) -> Float64Array:
    """Return the reciprocal rank of each target [M], cut at k."""
    return _expect_gain(ranks, k, 1 / np.arange(1, k + 1))


def _expect_gain(ranks: Ranks, k: int, gain_K: Float64Array) -> Float64Array:
    total = np.concatenate([[0.0], np.cumsum(gain_K)])
    first, last = np.minimum(ranks.ahead_M, k), np.minimum(ranks.ahead_M + ranks.tied_M, k)
    return (total[last] - total[first]) / ranks.tied_M


def compute_target_metrics(ranks: Ranks, ks: Sequence[int]) -> dict[str, Float64Array]:
    """Return ``{"HR@5": [M], "NDCG@5": [M], "MRR@5": [M], …}``, named as they are printed."""
    metrics = {"HR": hit_rate, "NDCG": ndcg, "MRR": mrr}
    return {f"{name}@{k}": metric(ranks, k) for k in ks for name, metric in metrics.items()}
