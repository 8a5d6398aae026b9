"""Residual k-means whose codes are all used about equally often (OneRec's and MiniOneRec's "constrained" k-means).

The constraint is kept by prices: a code that too many items choose becomes dearer until items leave it, as in an
auction. Prices are the dual of the capacity constraint, so the balance comes at the least squared error, a new item is
assigned by distance plus price without looking at the others, and the cost stays that of k-means.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from trialigngr.foundation.seeds import child
from trialigngr.sids.quantizers.kmeans import KMeansSettings, kmeans, means, moved, one_by_one, sample
from trialigngr.sids.quantizers.levels import Codes, Level, Levels, Vectors, blocks
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.spaces import Plain

DISTANCES_AT_ONCE = 1 << 26


class BalancedSettings(KMeansSettings):
    """k-means, then rounds of prices and means."""

    rounds: int = Field(4, ge=1)
    """How often prices are found and means taken, in turn."""
    price_steps: int = Field(60, ge=1)
    """Steps of the auction a round."""
    slack: float = Field(1.05, ge=1)
    """A code may hold up to this times its fair share N / K (rounded up) before it becomes dearer."""


def fit(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: BalancedSettings, seed: int, beside_NC: Vectors | None = None
) -> Quantizer:
    """Return one balanced k-means a level, in the space of the embeddings."""
    levels = balanced_levels(vectors_ND, sizes, settings, seed)
    return Quantizer("rqkmeans_balanced", settings.model_dump(mode="json"), vectors_ND.shape[1], Plain(), levels)


def balanced_levels(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: BalancedSettings, seed: int, start: Levels | None = None
) -> Levels:
    """Return balanced codebooks fitted one after the other, from ``start`` where there is one."""

    def fit_level(residual_ND: Vectors, size: int, own_seed: int, start_KD: Vectors | None) -> Level:
        return balanced_kmeans(residual_ND, size, settings, own_seed, start_KD)

    levels = one_by_one(vectors_ND, sizes, fit_level, settings.beam, seed, start)
    for _ in range(settings.refinements):
        levels = _priced(moved(levels, vectors_ND, settings.step), vectors_ND, settings)
    return levels


def _priced(levels: Levels, vectors_ND: Vectors, settings: BalancedSettings) -> Levels:
    """Return the levels at new prices, each found on what the other levels' codes leave over."""
    codes_NL, priced = levels.encode(vectors_ND), list(levels)
    left_ND = vectors_ND - levels.sum(codes_NL)
    for index, (level, codes_N) in enumerate(zip(levels, codes_NL.T, strict=True)):
        points_MD = sample(left_ND + level.vectors_KD[codes_N], DISTANCES_AT_ONCE // level.size, index)
        free_K = np.zeros(level.size, dtype=np.float32)
        prices_K, _ = find_prices(Level(level.vectors_KD).distances(points_MD), free_K, settings)
        priced[index] = Level(level.vectors_KD, prices_K)
    return Levels(priced, levels.beam)


def balanced_kmeans(
    vectors_ND: Vectors, size: int, settings: BalancedSettings, seed: int, start_KD: Vectors | None = None
) -> Level:
    """Return ``size`` means and the prices at which they are chosen about equally often."""
    points_MD = sample(vectors_ND, DISTANCES_AT_ONCE // size, child(seed, "points"))
    means_KD, prices_K = kmeans(points_MD, size, settings, seed, start_KD), np.zeros(size, dtype=np.float32)
    for _ in range(settings.rounds):
        prices_K, codes_M = find_prices(Level(means_KD).distances(points_MD), prices_K, settings)
        means_KD = means(points_MD, codes_M, means_KD)
    prices_K, _ = find_prices(Level(means_KD).distances(points_MD), prices_K, settings)
    return Level(means_KD, prices_K)


def find_prices(distances_NK: Vectors, prices_K: Vectors, settings: BalancedSettings) -> tuple[Vectors, Codes]:
    """Return prices ≥ 0 [K] under which few codes hold more than their capacity, and the codes chosen under them [N].

    Steps begin at the usual gap between a row's best and second-best code and shrink to a hundredth of it.
    """
    n, size = distances_NK.shape
    capacity = max(1.0, np.ceil(settings.slack * n / size))
    best_N2 = np.partition(distances_NK[: 1 << 14], min(1, size - 1), axis=1)[:, :2]
    first_step = float(np.median(best_N2[:, -1] - best_N2[:, 0])) or float(best_N2.mean()) or 1.0
    prices_K, codes_N = prices_K.copy(), _cheapest(distances_NK, prices_K)
    fewest, found = np.inf, (prices_K, codes_N)
    for step in range(settings.price_steps):
        counts_K = np.bincount(codes_N, minlength=size)
        over = np.maximum(counts_K - capacity, 0).sum()
        if over < fewest:
            fewest, found = over, (prices_K.copy(), codes_N)
        if not over:
            break
        rate = first_step * 0.01 ** (step / settings.price_steps)
        prices_K = np.maximum(prices_K + rate * np.clip(counts_K / capacity - 1, -0.5, 2), 0).astype(np.float32)
        codes_N = _cheapest(distances_NK, prices_K)
    return found


def _cheapest(distances_NK: Vectors, prices_K: Vectors) -> Codes:
    parts = [(distances_NK[rows] + prices_K).argmin(1) for rows in blocks(len(distances_NK), 256)]
    return np.concatenate(parts).astype(np.int32)
