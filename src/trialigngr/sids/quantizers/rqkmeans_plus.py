"""RQ-KMeans+: residual k-means that a network then refines (GPR, arXiv 2511.10138; MiniOneRec's version).

Z = X + MLP(X) and X̂ = Ẑ + MLP(Ẑ), with last layers that start at zero: training begins at the k-means solution and
early stopping never ends behind it. (MiniOneRec decodes with a plain MLP, which has to learn the identity first.)
"""

from __future__ import annotations

from pydantic import Field

from trialigngr.sids.quantizers.kmeans import KMeansSettings
from trialigngr.sids.quantizers.levels import Vectors
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqvae import RqVaeSettings, TrainingSettings, finish, rqvae_strand


class RqKMeansPlusSettings(TrainingSettings):
    """The refining network and its codes."""

    learning_rate: float = Field(1e-4, gt=0)
    """Of AdamW; small, since training starts from a good place."""
    commitment: float = Field(0.25, ge=0)
    """Weight β of the loss that pulls latents to their codes."""
    kmeans: KMeansSettings = KMeansSettings()
    """The start of the codebooks, and their last refinement."""


def fit(
    vectors_ND: Vectors,
    sizes: tuple[int, ...],
    settings: RqKMeansPlusSettings,
    seed: int,
    beside_NC: Vectors | None = None,
) -> Quantizer:
    """Return k-means codebooks in a space as wide as the embeddings, and the network that was trained around them."""
    from trialigngr.sids.quantizers.training import train

    full = RqVaeSettings(**settings.model_dump() | {"latent": vectors_ND.shape[1], "warm_up": 0, "linear": True})
    made = rqvae_strand(vectors_ND, sizes, full, seed)
    return finish("rqkmeans_plus", vectors_ND, train([made], full, seed)[0], full, seed)
