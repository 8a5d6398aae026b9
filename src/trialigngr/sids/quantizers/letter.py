"""LETTER: RQ-VAE with two more losses, for collaboration and diversity (Wang et al., arXiv 2405.07314)."""

from __future__ import annotations

import numpy as np

from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.parameters import AutoencoderTraining, CodebookUpdateRule, RqVaeParameters
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqvae import finish_quantizer, make_rqvae_autoencoder
from trialigngr.sids.quantizers.settings import LetterSettings


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
    training = AutoencoderTraining(settings.epochs, settings.batch_size, settings.learning_rate, settings.warmup_epochs)
    # By gradient, or the diversity loss could not move the codes.
    update_rule = CodebookUpdateRule(ema_decay=None)
    parameters = RqVaeParameters(settings.hidden_sizes, settings.latent_size, training, update_rule)
    made = make_rqvae_autoencoder(vectors_ND, sizes, parameters, seed, level_loss=diversity)
    trained = train_autoencoders([made], training, seed, collaboration)[0]
    return finish_quantizer("letter", vectors_ND, trained, settings, seed)
