"""k-means, level by level on what the level before left over: the start of every quantizer here, and one by itself."""

from __future__ import annotations

import numpy as np

from trialigngr.foundation.config import Settings
from trialigngr.foundation.seeds import child
from trialigngr.sids.quantizers.levels import Level, Levels, Vectors


class KMeansSettings(Settings):
    """How each level's k-means runs."""

    iterations: int = 25
    """Lloyd iterations a level."""
    points_per_code: int = 256
    """k-means looks at no more than this many vectors a code, drawn once; all vectors are assigned."""


def sample(vectors_ND: Vectors, at_most: int, seed: int) -> Vectors:
    """Return ``at_most`` of the vectors, drawn at random and in their order; all of them if they are no more."""
    if len(vectors_ND) <= at_most:
        return vectors_ND
    rows_M = np.random.default_rng(seed).choice(len(vectors_ND), at_most, replace=False)
    return vectors_ND[np.sort(rows_M)]


def kmeans(
    vectors_ND: Vectors, size: int, settings: KMeansSettings, seed: int, start_KD: Vectors | None = None
) -> Vectors:
    """Return ``size`` cluster means [K, D] (squared Euclidean) from ``start_KD`` or a random start; N ≥ ``size``."""
    import faiss

    clusters = faiss.Kmeans(
        vectors_ND.shape[1],
        size,
        niter=settings.iterations,
        seed=seed % (1 << 31),
        min_points_per_centroid=1,
        max_points_per_centroid=settings.points_per_code,
    )
    clusters.train(np.ascontiguousarray(vectors_ND), init_centroids=start_KD)
    return np.asarray(clusters.centroids, dtype=np.float32)


def residual_kmeans(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: KMeansSettings, seed: int, start: Levels | None = None
) -> Levels:
    """Return codebooks [K_l, D] fitted one after the other, each on the residuals the ones before left (Eqs. 3–4)."""
    levels: list[Level] = []
    residual_ND = sample(vectors_ND, settings.points_per_code * max(sizes), child(seed, "points"))
    for index, size in enumerate(sizes):
        level = Level(
            kmeans(residual_ND, size, settings, child(seed, "level", index), start[index].vectors_KD if start else None)
        )
        residual_ND = residual_ND - level.vectors_KD[level.nearest(residual_ND)]
        levels.append(level)
    return Levels(levels)
