"""RQ-VAE: an encoder into a latent space, residual codebooks there, and a decoder back (TIGER; paper §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.kmeans import fit_residual_kmeans
from trialigngr.sids.quantizers.latent_spaces import LearnedSpace
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqkmeans_balanced import fit_balanced_codebooks
from trialigngr.sids.quantizers.settings import (
    BalancedSettings,
    RqVaeSettings,
)

if TYPE_CHECKING:
    from trialigngr.sids.quantizers.bottleneck import LevelLoss, ResidualBottleneck
    from trialigngr.sids.quantizers.training import ModalityAutoencoder, TrainedAutoencoder


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: RqVaeSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return encoder, codebooks and decoder trained together; codes end as k-means over the latents of all vectors."""
    from trialigngr.sids.quantizers.training import train_autoencoders

    made = make_rqvae_autoencoder(vectors_ND, sizes, settings, seed)
    return finish_quantizer("rqvae", vectors_ND, train_autoencoders([made], settings, seed)[0], settings, seed)


def make_rqvae_autoencoder(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: RqVaeSettings,
    seed: int,
    level_loss: LevelLoss | None = None,
) -> ModalityAutoencoder:
    """Return an autoencoder whose bottleneck will be residual codebooks, started by k-means."""
    from trialigngr.sids.quantizers.autoencoder import Autoencoder
    from trialigngr.sids.quantizers.bottleneck import CodebookUpdateRule, ResidualBottleneck
    from trialigngr.sids.quantizers.training import init_autoencoder

    decay = settings.ema_decay if settings.codebook_update == "ema" else None
    how = CodebookUpdateRule(
        settings.commitment_weight,
        decay,
        settings.restart_dead_codes,
        settings.rotation_trick,
        settings.sinkhorn_epsilons,
    )

    def make_bottleneck(latents_NZ: Float32Array) -> ResidualBottleneck:
        fitting = tuple(min(size, len(latents_NZ)) for size in sizes)
        return ResidualBottleneck(fit_residual_kmeans(latents_NZ, fitting, settings.kmeans, seed), how, level_loss)

    def make_network() -> Autoencoder:
        return Autoencoder(vectors_ND.shape[1], settings.hidden_sizes, settings.latent_size)

    return init_autoencoder(vectors_ND, make_network, settings.linear_skip, make_bottleneck, seed)


def finish_quantizer(
    method: str, vectors_ND: Float32Array, trained: TrainedAutoencoder, settings: RqVaeSettings, seed: int
) -> Quantizer:
    """Return the quantizer whose codes went on from the trained ones, as k-means over the latents of all vectors."""
    space = LearnedSpace(trained.weights)
    latents_NZ = space.to_latents(vectors_ND)
    if settings.capacity_factor:
        own = BalancedSettings(**settings.kmeans.model_dump(), capacity_factor=settings.capacity_factor, price_rounds=2)
        levels = fit_balanced_codebooks(
            latents_NZ, trained.codebooks.codebook_sizes, own, seed, initial_codebooks=trained.codebooks
        )
    else:
        levels = fit_residual_kmeans(
            latents_NZ, trained.codebooks.codebook_sizes, settings.kmeans, seed, initial_codebooks=trained.codebooks
        )
    return Quantizer(method, settings.model_dump(mode="json"), vectors_ND.shape[1], space, levels)
