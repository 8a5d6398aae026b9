"""LETTER: RQ-VAE with two more losses, for collaboration and diversity (Wang et al., arXiv 2405.07314)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.levels import Vectors
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqvae import RqVaeSettings, finish, rqvae_strand


class LetterSettings(RqVaeSettings):
    """RQ-VAE's settings, and the weights of LETTER's losses."""

    codebooks: Literal["ema", "gradient"] = "gradient"
    """By gradient, or the diversity loss could not move the codes."""
    collaboration: float = Field(0.02, ge=0)
    """Weight α of the loss that ties quantised latents to collaborative vectors."""
    diversity: float = Field(1e-4, ge=0)
    """Weight β of the loss that spreads the codes."""
    clusters: int = Field(10, ge=1)
    """Clusters of codes, a level, among which positives are drawn."""


def fit(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: LetterSettings, seed: int, beside_NC: Vectors | None = None
) -> Quantizer:
    """Return a quantizer whose codes also follow the collaborative vectors ``beside_NC`` (row = item)."""
    from trialigngr.sids.quantizers.letter_losses import Collaboration, Diversity
    from trialigngr.sids.quantizers.training import train

    if beside_NC is None or len(beside_NC) != len(vectors_ND):
        raise SidError(
            "letter needs a collaborative vector for each item (from a recommender trained on the training part)."
        )
    diversity = Diversity(settings.diversity, settings.clusters, seed)
    collaboration = Collaboration(
        settings.collaboration, settings.latent, np.ascontiguousarray(beside_NC, dtype=np.float32), seed
    )
    made = rqvae_strand(vectors_ND, sizes, settings, seed, level_term=diversity)
    return finish("letter", vectors_ND, train([made], settings, seed, collaboration)[0], settings, seed)
