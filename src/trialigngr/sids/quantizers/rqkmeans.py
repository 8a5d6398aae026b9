"""Residual k-means on the embeddings themselves: no network, no training, Eqs. 3–4 as they are printed."""

from __future__ import annotations

from trialigngr.sids.quantizers.kmeans import KMeansSettings, residual_kmeans
from trialigngr.sids.quantizers.levels import Vectors
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.spaces import Plain


def fit(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: KMeansSettings, seed: int, beside_NC: Vectors | None = None
) -> Quantizer:
    """Return one k-means a level, in the space of the embeddings; decoded vectors are sums of codes."""
    levels = residual_kmeans(vectors_ND, sizes, settings, seed)
    return Quantizer("rqkmeans", settings.model_dump(mode="json"), vectors_ND.shape[1], Plain(), levels)
