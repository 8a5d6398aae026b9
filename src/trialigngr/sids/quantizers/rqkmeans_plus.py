"""RQ-KMeans+: residual k-means that a network then refines (GPR, arXiv 2511.10138; MiniOneRec's version).

Z = X + MLP(X) and X̂ = Ẑ + MLP(Ẑ), with last layers that start at zero: training begins at the k-means solution and
early stopping never ends behind it. (MiniOneRec decodes with a plain MLP, which has to learn the identity first.)
"""

from __future__ import annotations

from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.parameters import AutoencoderTraining, CodebookUpdateRule, RqVaeParameters
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqvae import finish_quantizer, make_rqvae_autoencoder
from trialigngr.sids.quantizers.settings import RqKMeansPlusSettings


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: RqKMeansPlusSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return k-means codebooks in a space as wide as the embeddings, and the network that was trained around them."""
    from trialigngr.sids.quantizers.training import train_autoencoders

    # As wide as the embeddings, and no warm-up: training begins at the k-means solution.
    training = AutoencoderTraining(settings.epochs, settings.batch_size, settings.learning_rate, warmup_epochs=0)
    parameters = RqVaeParameters(settings.hidden_sizes, vectors_ND.shape[1], training, CodebookUpdateRule())
    made = make_rqvae_autoencoder(vectors_ND, sizes, parameters, seed)
    trained = train_autoencoders([made], training, seed)[0]
    return finish_quantizer("rqkmeans_plus", vectors_ND, trained, settings, seed)
