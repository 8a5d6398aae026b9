"""Optimised product quantization: a rotation, then one k-means per part of the rotated vector (Ge et al., CVPR 2013).

Levels are not coarse to fine: each keeps its own part. Here as codebooks that are zero outside their part, so that they
add up like all others.
"""

from __future__ import annotations

import numpy as np

from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks, Float32Array
from trialigngr.sids.quantizers.kmeans import fit_kmeans, sample_rows
from trialigngr.sids.quantizers.latent_spaces import RotatedSpace
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.settings import KMeansSettings, OpqSettings

ROTATION_ROUNDS = 20
"""Rounds of codes and rotation in turn."""
MAX_ROTATION_POINTS = 16_384
"""The rotation looks at no more than this many vectors, drawn once."""


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: OpqSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return a rotation of the centred embeddings and codebooks of its L parts."""
    mean_D = vectors_ND.mean(0)
    rotation_DZ = _fit_rotation(vectors_ND - mean_D, len(sizes), seed)
    space = RotatedSpace(mean_D, rotation_DZ)
    latents_NZ = space.to_latents(vectors_ND)
    part = rotation_DZ.shape[1] // len(sizes)
    levels = []
    for index, size in enumerate(sizes):
        own = slice(index * part, (index + 1) * part)
        codes_KZ = np.zeros((size, rotation_DZ.shape[1]), dtype=np.float32)
        codes_KZ[:, own] = fit_kmeans(latents_NZ[:, own], size, KMeansSettings(), derive_seed(seed, "part", index))
        levels.append(Codebook(codes_KZ))
    return Quantizer("opq", settings.model_dump(mode="json"), vectors_ND.shape[1], space, Codebooks(levels))


def _fit_rotation(centred_ND: Float32Array, parts: int, seed: int) -> Float32Array:
    """Return a matrix [D, Z] with orthonormal rows that makes parts easy to code; Z is a multiple of ``parts``.

    Codes and rotation in turn: few k-means steps in each part, then the rotation that takes the vectors nearest to what
    the codes say (orthogonal Procrustes). Not faiss' `OPQMatrix`: it corrupts memory on few vectors (1.15.1).
    """
    width = centred_ND.shape[1]
    padded = -(-width // parts) * parts
    points_MZ = sample_rows(
        np.pad(centred_ND, ((0, 0), (0, padded - width))), MAX_ROTATION_POINTS, derive_seed(seed, "points")
    )
    rotation_ZZ = _draw_rotation(padded, derive_seed(seed, "rotation"))
    few, codes = KMeansSettings(max_iterations=2), min(256, len(points_MZ))
    means: list[Float32Array | None] = [None] * parts
    for _ in range(ROTATION_ROUNDS):
        turned_MZ, said_MZ = points_MZ @ rotation_ZZ, np.empty_like(points_MZ)
        for part, own in enumerate(np.split(np.arange(padded), parts)):
            means_KZ = fit_kmeans(turned_MZ[:, own], codes, few, derive_seed(seed, "turn", part), means[part])
            said_MZ[:, own] = means_KZ[Codebook(means_KZ).nearest_codes(turned_MZ[:, own])]
            means[part] = means_KZ
        left_ZZ, _, right_ZZ = np.linalg.svd(points_MZ.T.astype(np.float64) @ said_MZ)
        rotation_ZZ = (left_ZZ @ right_ZZ).astype(np.float32)
    return rotation_ZZ[:width]


def _draw_rotation(width: int, seed: int) -> Float32Array:
    """Return an orthonormal matrix [D, D]: it spreads the variance over the parts."""
    rotation_DD, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    return rotation_DD.astype(np.float32)
