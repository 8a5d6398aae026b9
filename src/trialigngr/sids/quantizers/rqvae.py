"""RQ-VAE: an encoder into a latent space, residual codebooks there, and a decoder back (TIGER; paper §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialigngr.foundation.config import Settings
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.kmeans import fit_residual_kmeans
from trialigngr.sids.quantizers.latent_spaces import LearnedSpace
from trialigngr.sids.quantizers.parameters import AutoencoderTraining, CodebookUpdateRule, RqVaeParameters
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqkmeans_balanced import fit_balanced_codebooks
from trialigngr.sids.quantizers.settings import BalancedSettings, KMeansSettings, RqVaeSettings

if TYPE_CHECKING:
    from trialigngr.sids.quantizers.bottleneck import LevelLoss, ResidualBottleneck
    from trialigngr.sids.quantizers.training import ModalityAutoencoder, TrainedAutoencoder


LAST_REFINEMENT = BalancedSettings(price_rounds=2, capacity_factor=2.0)
"""k-means over the latents of all vectors, in which no code holds more than about twice its fair share: nearly all
codes are used, and fewer items share a SID (docs/log)."""


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: RqVaeSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return encoder, codebooks and decoder trained together; codes end as k-means over the latents of all vectors."""
    from trialigngr.sids.quantizers.training import train_autoencoders

    parameters = _read_parameters(settings)
    made = make_rqvae_autoencoder(vectors_ND, sizes, parameters, seed)
    trained = train_autoencoders([made], parameters.training, seed)[0]
    return finish_quantizer("rqvae", vectors_ND, trained, settings, seed)


def _read_parameters(settings: RqVaeSettings) -> RqVaeParameters:
    training = AutoencoderTraining(
        settings.epochs, settings.batch_size, settings.learning_rate, settings.warmup_epochs, settings.patience
    )
    update_rule = CodebookUpdateRule(
        settings.commitment_weight,
        settings.ema_decay if settings.codebook_update == "ema" else None,
        settings.restart_dead_codes,
        settings.rotation_trick,
        settings.sinkhorn_epsilons,
    )
    return RqVaeParameters(settings.hidden_sizes, settings.latent_size, training, update_rule)


def make_rqvae_autoencoder(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    parameters: RqVaeParameters,
    seed: int,
    level_loss: LevelLoss | None = None,
) -> ModalityAutoencoder:
    """Return an autoencoder whose bottleneck will be residual codebooks, started by k-means."""
    from trialigngr.sids.quantizers.autoencoder import Autoencoder
    from trialigngr.sids.quantizers.bottleneck import ResidualBottleneck
    from trialigngr.sids.quantizers.training import init_autoencoder

    def make_bottleneck(latents_NZ: Float32Array) -> ResidualBottleneck:
        fitting = tuple(min(size, len(latents_NZ)) for size in sizes)
        initial_codebooks = fit_residual_kmeans(latents_NZ, fitting, KMeansSettings(), seed)
        return ResidualBottleneck(initial_codebooks, parameters.update_rule, level_loss)

    def make_network() -> Autoencoder:
        return Autoencoder(vectors_ND.shape[1], parameters.hidden_sizes, parameters.latent_size)

    return init_autoencoder(vectors_ND, make_network, parameters.linear_skip, make_bottleneck, seed)


def finish_quantizer(
    method: str, vectors_ND: Float32Array, trained: TrainedAutoencoder, settings: Settings, seed: int
) -> Quantizer:
    """Return the quantizer whose codes went on from the trained ones, as k-means over the latents of all vectors."""
    space = LearnedSpace(trained.weights)
    levels = fit_balanced_codebooks(
        space.to_latents(vectors_ND), trained.codebooks.codebook_sizes, LAST_REFINEMENT, seed, trained.codebooks
    )
    return Quantizer(method, settings.model_dump(mode="json"), vectors_ND.shape[1], space, levels)
