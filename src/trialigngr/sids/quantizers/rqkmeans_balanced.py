"""Residual k-means whose codes are all used about equally often (OneRec's and MiniOneRec's "constrained" k-means).

The constraint is kept by prices: a code that too many items choose becomes dearer until items leave it, as in an
auction. Prices are the dual of the capacity constraint, so the balance comes at the least squared error, a new item is
assigned by distance plus price without looking at the others, and the cost stays that of k-means.
"""

from __future__ import annotations

import numpy as np

from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks, Codes, Float32Array, iter_row_slices
from trialigngr.sids.quantizers.kmeans import (
    compute_cluster_means,
    fit_kmeans,
    fit_residual_codebooks,
    refine_codebooks,
    sample_rows,
)
from trialigngr.sids.quantizers.latent_spaces import IdentitySpace
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.settings import BalancedSettings, KMeansSettings

DISTANCES_AT_ONCE = 1 << 26
PRICE_STEPS = 60
"""Steps of the auction a round, at most."""


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: BalancedSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return one balanced k-means a level, in the space of the embeddings."""
    levels = fit_balanced_codebooks(vectors_ND, sizes, settings, seed)
    return Quantizer(
        "rqkmeans_balanced", settings.model_dump(mode="json"), vectors_ND.shape[1], IdentitySpace(), levels
    )


def fit_balanced_codebooks(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: BalancedSettings,
    seed: int,
    initial_codebooks: Codebooks | None = None,
) -> Codebooks:
    """Return balanced codebooks fitted one after the other, from ``initial_codebooks`` where there is one."""

    def fit_codebook(residual_ND: Float32Array, size: int, own_seed: int, start_KD: Float32Array | None) -> Codebook:
        return fit_balanced_kmeans(residual_ND, size, settings, own_seed, start_KD)

    levels = fit_residual_codebooks(vectors_ND, sizes, fit_codebook, settings.num_beams, seed, initial_codebooks)
    for _ in range(settings.refinement_rounds):
        levels = _reprice_codebooks(
            refine_codebooks(levels, vectors_ND, settings.refinement_step), vectors_ND, settings
        )
    return levels


def _reprice_codebooks(codebooks: Codebooks, vectors_ND: Float32Array, settings: BalancedSettings) -> Codebooks:
    """Return the levels at new prices, each found on what the other levels' codes leave over."""
    codes_NL, priced = codebooks.encode(vectors_ND), list(codebooks)
    left_ND = vectors_ND - codebooks.sum_codes(codes_NL)
    for index, (level, codes_N) in enumerate(zip(codebooks, codes_NL.T, strict=True)):
        points_MD = sample_rows(left_ND + level.vectors_KD[codes_N], DISTANCES_AT_ONCE // level.num_codes, index)
        free_K = np.zeros(level.num_codes, dtype=np.float32)
        prices_K, _ = find_prices(Codebook(level.vectors_KD).code_distances(points_MD), free_K, settings)
        priced[index] = Codebook(level.vectors_KD, prices_K)
    return Codebooks(priced, codebooks.num_beams)


def fit_balanced_kmeans(
    vectors_ND: Float32Array, size: int, settings: BalancedSettings, seed: int, start_KD: Float32Array | None = None
) -> Codebook:
    """Return ``size`` means and the prices at which they are chosen about equally often."""
    points_MD = sample_rows(vectors_ND, DISTANCES_AT_ONCE // size, derive_seed(seed, "points"))
    means_KD = fit_kmeans(points_MD, size, KMeansSettings(), seed, start_KD)
    prices_K = np.zeros(size, dtype=np.float32)
    for _ in range(settings.price_rounds):
        prices_K, codes_M = find_prices(Codebook(means_KD).code_distances(points_MD), prices_K, settings)
        means_KD = compute_cluster_means(points_MD, codes_M, means_KD)
    prices_K, _ = find_prices(Codebook(means_KD).code_distances(points_MD), prices_K, settings)
    return Codebook(means_KD, prices_K)


def find_prices(
    distances_NK: Float32Array, prices_K: Float32Array, settings: BalancedSettings
) -> tuple[Float32Array, Codes]:
    """Return prices ≥ 0 [K] under which few codes hold more than their capacity, and the codes chosen under them [N].

    Steps begin at the usual gap between a row's best and second-best code and shrink to a hundredth of it.
    """
    n, size = distances_NK.shape
    capacity = max(1.0, np.ceil(settings.capacity_factor * n / size))
    best_N2 = np.partition(distances_NK[: 1 << 14], min(1, size - 1), axis=1)[:, :2]
    first_step = float(np.median(best_N2[:, -1] - best_N2[:, 0])) or float(best_N2.mean()) or 1.0
    prices_K, codes_N = prices_K.copy(), _cheapest_codes(distances_NK, prices_K)
    fewest, found = np.inf, (prices_K, codes_N)
    for step in range(PRICE_STEPS):
        counts_K = np.bincount(codes_N, minlength=size)
        over = np.maximum(counts_K - capacity, 0).sum()
        if over < fewest:
            fewest, found = over, (prices_K.copy(), codes_N)
        if not over:
            break
        rate = first_step * 0.01 ** (step / PRICE_STEPS)
        prices_K = np.maximum(prices_K + rate * np.clip(counts_K / capacity - 1, -0.5, 2), 0).astype(np.float32)
        codes_N = _cheapest_codes(distances_NK, prices_K)
    return found


def _cheapest_codes(distances_NK: Float32Array, prices_K: Float32Array) -> Codes:
    parts = [(distances_NK[rows] + prices_K).argmin(1) for rows in iter_row_slices(len(distances_NK), 256)]
    return np.concatenate(parts).astype(np.int32)
