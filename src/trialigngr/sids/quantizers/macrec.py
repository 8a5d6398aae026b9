"""MACRec: two coupled RQ-VAEs, text and picture, that learn from each other's clusters (arXiv 2511.15122)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from trialigngr.foundation.seeds import child
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.kmeans import KMeansSettings, kmeans
from trialigngr.sids.quantizers.levels import Codes, Level, Vectors
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqvae import RqVaeSettings, finish, rqvae_strand


class MacRecSettings(RqVaeSettings):
    """RQ-VAE's settings for both modalities, and the weights of what couples them."""

    latent: int = Field(32, ge=1)
    """Width of the space in which the codebooks lie."""
    linear: bool = False
    """Whether a fixed projection on principal directions runs beside the MLPs; the contrast can hardly move it."""
    epochs: int = Field(100, ge=1)
    """Epochs with codebooks, at most."""
    patience: int = Field(100, ge=1)
    """Epochs without a better one after which training stops; the best epoch is kept."""
    batch: int = Field(256, ge=1)
    """Vectors a step; each is held apart from all others of its batch."""
    best: Literal["reconstruction", "collisions"] = "collisions"
    """Which epoch is best; by collisions as in MACRec's code."""
    pseudo_labels: int = Field(8192, ge=1)
    """Clusters of each modality's embeddings; items of one cluster are positives in the other modality. With as many as
    items each is its own positive. Fewer (the paper: 512) gather items, and more of them share a SID (docs/log.md)."""
    contrast: float = Field(1.0, ge=0)
    """Weight of the cross-modal contrast inside the levels (the paper says 0.1; its code runs at 1)."""
    contrast_from: int = Field(0, ge=0)
    """First level (from 0) with the contrast (the paper: the third of four; its script: the first)."""
    temperature: float = Field(0.1, gt=0)
    """τ of contrast and alignment."""
    alignment: float = Field(0.001, ge=0)
    """Weight of the alignment of an item's summed text codes with its summed picture codes."""


def fit(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: MacRecSettings, seed: int, beside_NC: Vectors | None = None
) -> Quantizer:
    """Return the text quantizer of `fit_pair`; ``beside_NC`` holds the picture embeddings."""
    if beside_NC is None:
        raise SidError("macrec needs a second table of embeddings, one row an item: those of the pictures.")
    return fit_pair(vectors_ND, beside_NC, sizes, settings, seed)[0]


def fit_pair(
    text_ND: Vectors, picture_NE: Vectors, sizes: tuple[int, ...], settings: MacRecSettings, seed: int
) -> tuple[Quantizer, Quantizer]:
    """Return the quantizers of text and of pictures, trained together; row = item in both."""
    from trialigngr.sids.quantizers.macrec_losses import Alignment, Contrast
    from trialigngr.sids.quantizers.training import train

    if len(text_ND) != len(picture_NE):
        raise SidError(
            f"macrec pairs rows, but there are {len(text_ND)} text and {len(picture_NE)} picture embeddings."
        )
    both = [text_ND, np.ascontiguousarray(picture_NE, dtype=np.float32)]
    labels = [
        _pseudo_labels(vectors_ND, settings, child(seed, "labels", index)) for index, vectors_ND in enumerate(both)
    ]
    strands = [
        rqvae_strand(
            vectors_ND,
            sizes,
            settings,
            child(seed, index),
            Contrast(labels[1 - index], settings, child(seed, "pairs", index)),
        )
        for index, vectors_ND in enumerate(both)
    ]
    trained = train(strands, settings, seed, Alignment(settings))
    text, picture = (
        finish("macrec", vectors_ND, one, settings, seed) for vectors_ND, one in zip(both, trained, strict=True)
    )
    return text, picture


def _pseudo_labels(vectors_ND: Vectors, settings: MacRecSettings, seed: int) -> Codes:
    means_KD = kmeans(vectors_ND, min(settings.pseudo_labels, len(vectors_ND)), KMeansSettings(), seed)
    return Level(means_KD).nearest(vectors_ND)
