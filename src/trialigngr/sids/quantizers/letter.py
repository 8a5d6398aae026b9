"""LETTER: RQ-VAE with two more losses, for collaboration and diversity (Wang et al., arXiv 2405.07314)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqvae import RqVaeSettings, finish_quantizer, make_rqvae_autoencoder


class LetterSettings(RqVaeSettings):
    """RQ-VAE's settings, and the weights of LETTER's losses."""

    codebook_update: Literal["ema", "gradient"] = "gradient"
    """By gradient, or the diversity loss could not move the codes."""
    collaboration_weight: float = Field(0.02, ge=0)
    """Weight α of the loss that ties quantised latents to collaborative vectors."""
    diversity_weight: float = Field(1e-4, ge=0)
    """Weight β of the loss that spreads the codes."""
    num_clusters: int = Field(10, ge=1)
    """Clusters of codes, a level, among which positives are drawn."""


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: LetterSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return a quantizer whose codes also follow the collaborative vectors ``auxiliary_NC`` (row = item)."""
    from trialigngr.sids.quantizers.letter_losses import CollaborationLoss, DiversityLoss
    from trialigngr.sids.quantizers.training import train_autoencoders

    if auxiliary_NC is None or len(auxiliary_NC) != len(vectors_ND):
        raise SidError(
            "letter needs a collaborative vector for each item (from a recommender trained on the training part)."
        )
    diversity = DiversityLoss(settings.diversity_weight, settings.num_clusters, seed)
    collaboration = CollaborationLoss(
        settings.collaboration_weight, settings.latent_size, np.ascontiguousarray(auxiliary_NC, dtype=np.float32), seed
    )
    made = make_rqvae_autoencoder(vectors_ND, sizes, settings, seed, level_loss=diversity)
    return finish_quantizer(
        "letter", vectors_ND, train_autoencoders([made], settings, seed, collaboration)[0], settings, seed
    )
