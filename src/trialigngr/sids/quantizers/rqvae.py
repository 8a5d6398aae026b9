"""RQ-VAE: an encoder into a latent space, residual codebooks there, and a decoder back (TIGER; paper §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.sids.quantizers.kmeans import KMeansSettings, residual_kmeans
from trialigngr.sids.quantizers.levels import Vectors
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.rqkmeans_balanced import BalancedSettings, balanced_levels
from trialigngr.sids.quantizers.spaces import Learned

if TYPE_CHECKING:
    from trialigngr.sids.quantizers.bottleneck import LevelTerm, ResidualCodebooks
    from trialigngr.sids.quantizers.training import Strand, Trained


class TrainingSettings(Settings):
    """How long and how fast a network is trained."""

    hidden: tuple[int, ...] = (512, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    warm_up: int = Field(5, ge=0)
    """Epochs without codebooks, before they start from the latents."""
    epochs: int = Field(30, ge=1)
    """Epochs with codebooks, at most."""
    patience: int = Field(10, ge=1)
    """Epochs without a better one after which training stops; the best epoch is kept."""
    best: Literal["reconstruction", "collisions"] = "reconstruction"
    """Which epoch is best: that of the least error on held-out vectors, or of the fewest items that share a SID."""
    batch: int = Field(1024, ge=1)
    """Vectors a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    held_out: float = Field(0.1, gt=0, lt=1)
    """Share of the vectors that training does not see and early stopping looks at."""
    linear: bool = True
    """Whether a fixed projection on principal directions runs beside the MLPs (see `network.Autoencoder`)."""


class RqVaeSettings(TrainingSettings):
    """The latent space and how its codes are learned."""

    latent: int = Field(64, ge=1)
    """Width of the space in which the codebooks lie."""
    commitment: float = Field(0.25, ge=0)
    """Weight β of the loss that pulls latents to their codes."""
    codebooks: Literal["ema", "gradient"] = "ema"
    """Whether codes follow the running mean of their residuals or the gradient of the codebook loss."""
    ema_decay: float = Field(0.95, gt=0, lt=1)
    """Of the running mean."""
    restart_dead: bool = True
    """Whether codes that no item chose during an epoch are moved onto an item's residual."""
    rotation_trick: bool = False
    """Whether gradients pass the codes by rotation instead of straight through."""
    sinkhorn: tuple[float, ...] = ()
    """ε of Sinkhorn assignment while training, a level each; 0 or absent: nearest code."""
    kmeans: KMeansSettings = KMeansSettings()
    """The start of the codebooks, and their last refinement."""
    slack: float = Field(2.0, ge=0)
    """How many times its fair share of items a code may hold after the last refinement (balanced); 0: no limit."""


def fit(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: RqVaeSettings, seed: int, beside_NC: Vectors | None = None
) -> Quantizer:
    """Return encoder, codebooks and decoder trained together; codes end as k-means over the latents of all vectors."""
    from trialigngr.sids.quantizers.training import train

    made = rqvae_strand(vectors_ND, sizes, settings, seed)
    return finish("rqvae", vectors_ND, train([made], settings, seed)[0], settings, seed)


def rqvae_strand(
    vectors_ND: Vectors, sizes: tuple[int, ...], settings: RqVaeSettings, seed: int, level_term: LevelTerm | None = None
) -> Strand:
    """Return an autoencoder whose bottleneck will be residual codebooks, started by k-means."""
    from trialigngr.sids.quantizers.bottleneck import HowCodesLearn, ResidualCodebooks
    from trialigngr.sids.quantizers.network import Autoencoder
    from trialigngr.sids.quantizers.training import strand

    decay = settings.ema_decay if settings.codebooks == "ema" else None
    how = HowCodesLearn(settings.commitment, decay, settings.restart_dead, settings.rotation_trick, settings.sinkhorn)

    def make(latents_NZ: Vectors) -> ResidualCodebooks:
        fitting = tuple(min(size, len(latents_NZ)) for size in sizes)
        return ResidualCodebooks(residual_kmeans(latents_NZ, fitting, settings.kmeans, seed), how, level_term)

    def network() -> Autoencoder:
        return Autoencoder(vectors_ND.shape[1], settings.hidden, settings.latent)

    return strand(vectors_ND, network, settings.linear, make, seed)


def finish(method: str, vectors_ND: Vectors, trained: Trained, settings: RqVaeSettings, seed: int) -> Quantizer:
    """Return the quantizer whose codes went on from the trained ones, as k-means over the latents of all vectors."""
    space = Learned(trained.weights)
    latents_NZ = space.enter(vectors_ND)
    if settings.slack:
        own = BalancedSettings(**settings.kmeans.model_dump(), slack=settings.slack, rounds=2)
        levels = balanced_levels(latents_NZ, trained.levels.sizes, own, seed, start=trained.levels)
    else:
        levels = residual_kmeans(latents_NZ, trained.levels.sizes, settings.kmeans, seed, start=trained.levels)
    return Quantizer(method, settings.model_dump(mode="json"), vectors_ND.shape[1], space, levels)
