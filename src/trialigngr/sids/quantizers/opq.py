"""Optimised product quantization: a rotation, then one k-means per part of the rotated vector (Ge et al., CVPR 2013).

Levels are not coarse to fine: each keeps its own part. Here as codebooks that are zero outside their part, so that they
add up like all others.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from trialigngr.foundation.seeds import child
from trialigngr.sids.quantizers.kmeans import KMeansSettings, kmeans, sample
from trialigngr.sids.quantizers.levels import Level, Levels, Vectors
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.spaces import Rotated


class OpqSettings(KMeansSettings):
    """The k-means of the parts, and the rotation."""

    rotations: int = Field(20, ge=0)
    """Rounds of codes and rotation in turn (faiss `OPQMatrix`); 0 takes the embeddings as they lie."""
    rotation_points: int = Field(16_384, ge=1)
    """The rotation looks at no more than this many vectors, drawn once."""


def fit(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: OpqSettings, seed: int, beside_NC: Vectors | None = None
) -> Quantizer:
    """Return a rotation of the centred embeddings and codebooks of its L parts."""
    mean_D = vectors_ND.mean(0)
    rotation_DZ = _rotation(vectors_ND - mean_D, len(sizes), settings, seed)
    space = Rotated(mean_D, rotation_DZ)
    latents_NZ = space.enter(vectors_ND)
    part = rotation_DZ.shape[1] // len(sizes)
    levels = []
    for index, size in enumerate(sizes):
        own = slice(index * part, (index + 1) * part)
        codes_KZ = np.zeros((size, rotation_DZ.shape[1]), dtype=np.float32)
        codes_KZ[:, own] = kmeans(latents_NZ[:, own], size, settings, child(seed, "part", index))
        levels.append(Level(codes_KZ))
    return Quantizer("opq", settings.model_dump(mode="json"), vectors_ND.shape[1], space, Levels(levels))


def _rotation(centred_ND: Vectors, parts: int, settings: OpqSettings, seed: int) -> Vectors:
    """Return a matrix [D, Z] with orthonormal rows that makes parts easy to code; Z is a multiple of ``parts``."""
    import faiss

    n, width = centred_ND.shape
    padded = -(-width // parts) * parts
    codes = min(256, n)
    if not settings.rotations or n < 2 or not centred_ND.any():
        return np.eye(width, padded, dtype=np.float32)
    matrix = faiss.OPQMatrix(width, parts, padded)
    matrix.niter = settings.rotations
    matrix.pq = faiss.ProductQuantizer(padded, parts, int(np.log2(codes)))
    matrix.pq.cp.min_points_per_centroid = 1
    matrix.train(np.ascontiguousarray(sample(centred_ND, settings.rotation_points, child(seed, "rotation"))))
    rotation_DZ: Vectors = faiss.vector_to_array(matrix.A).reshape(padded, width).T.copy()
    return rotation_DZ
