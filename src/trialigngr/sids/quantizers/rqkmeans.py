"""Residual k-means on the embeddings themselves: no network, no training, Eqs. 3–4 as they are printed."""

from __future__ import annotations

from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.kmeans import fit_residual_kmeans
from trialigngr.sids.quantizers.latent_spaces import IdentitySpace
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.settings import KMeansSettings


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: KMeansSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return one k-means a level, in the space of the embeddings; decoded vectors are sums of codes."""
    levels = fit_residual_kmeans(vectors_ND, sizes, settings, seed)
    return Quantizer("rqkmeans", settings.model_dump(mode="json"), vectors_ND.shape[1], IdentitySpace(), levels)
