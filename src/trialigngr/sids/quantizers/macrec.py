"""MACRec: two coupled RQ-VAEs, text and picture, that learn from each other's clusters (arXiv 2511.15122)."""

from __future__ import annotations

import numpy as np

from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Codebook, Codes, Float32Array
from trialigngr.sids.quantizers.kmeans import fit_kmeans
from trialigngr.sids.quantizers.parameters import AutoencoderTraining, CodebookUpdateRule, RqVaeParameters
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqvae import finish_quantizer, make_rqvae_autoencoder
from trialigngr.sids.quantizers.settings import KMeansSettings, MacRecSettings


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: MacRecSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return the text quantizer of `fit_pair`; ``auxiliary_NC`` holds the picture embeddings."""
    if auxiliary_NC is None:
        raise SidError("macrec needs a second table of embeddings, one row an item: those of the pictures.")
    return fit_pair(vectors_ND, auxiliary_NC, sizes, settings, seed)[0]


def fit_pair(
    text_ND: Float32Array, picture_NE: Float32Array, sizes: tuple[int, ...], settings: MacRecSettings, seed: int
) -> tuple[Quantizer, Quantizer]:
    """Return the quantizers of text and of pictures, trained together; row = item in both."""
    from trialigngr.sids.quantizers.macrec_losses import AlignmentLoss, ContrastLoss
    from trialigngr.sids.quantizers.training import train_autoencoders

    if len(text_ND) != len(picture_NE):
        raise SidError(
            f"macrec pairs rows, but there are {len(text_ND)} text and {len(picture_NE)} picture embeddings."
        )
    both = [text_ND, np.ascontiguousarray(picture_NE, dtype=np.float32)]
    labels = [
        _make_pseudo_labels(vectors_ND, settings, derive_seed(seed, "labels", index))
        for index, vectors_ND in enumerate(both)
    ]
    training = AutoencoderTraining(
        settings.epochs,
        settings.batch_size,
        settings.learning_rate,
        settings.warmup_epochs,
        settings.patience,
        settings.selection_metric,
    )
    parameters = RqVaeParameters(
        settings.hidden_sizes, settings.latent_size, training, CodebookUpdateRule(), settings.linear_skip
    )
    strands = [
        make_rqvae_autoencoder(
            vectors_ND,
            sizes,
            parameters,
            derive_seed(seed, index),
            ContrastLoss(
                labels[1 - index],
                settings.contrast_weight,
                settings.contrast_from_level,
                settings.temperature,
                derive_seed(seed, "pairs", index),
            ),
        )
        for index, vectors_ND in enumerate(both)
    ]
    trained = train_autoencoders(
        strands, training, seed, AlignmentLoss(settings.alignment_weight, settings.temperature)
    )
    text, picture = (
        finish_quantizer("macrec", vectors_ND, one, settings, seed)
        for vectors_ND, one in zip(both, trained, strict=True)
    )
    return text, picture


def _make_pseudo_labels(vectors_ND: Float32Array, settings: MacRecSettings, seed: int) -> Codes:
    means_KD = fit_kmeans(vectors_ND, min(settings.num_pseudo_labels, len(vectors_ND)), KMeansSettings(), seed)
    return Codebook(means_KD).nearest_codes(vectors_ND)
