"""RQ-VAE: an encoder into a latent space, residual codebooks there, and a decoder back (TIGER; paper §4)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.sids.quantizers.kmeans import KMeansSettings
from trialigngr.sids.quantizers.levels import Codes, Levels, Vectors


class RqVaeSettings(Settings):
    """The network, its losses and how long it is trained."""

    hidden: tuple[int, ...] = (512, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    latent: int = Field(64, ge=1)
    """Width of the space in which the codebooks lie."""
    warm_up: int = Field(20, ge=0)
    """Epochs without codebooks, before k-means on all latents starts them."""
    epochs: int = Field(100, ge=1)
    """Epochs with codebooks, at most."""
    patience: int = Field(10, ge=1)
    """Epochs without a better held-out reconstruction after which training stops; the best epoch is kept."""
    batch: int = Field(1024, ge=1)
    """Vectors a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    commitment: float = Field(0.25, ge=0)
    """Weight β of the loss that pulls latents to their codes."""
    codebooks: Literal["ema", "gradient"] = "ema"
    """Whether codes follow the running mean of their residuals or the gradient of the codebook loss."""
    ema_decay: float = Field(0.95, gt=0, lt=1)
    """Of the running mean."""
    restart_dead: bool = True
    """Whether codes that no item chose during an epoch are moved onto an item's residual."""
    held_out: float = Field(0.1, gt=0, lt=1)
    """Share of the vectors that training does not see and early stopping looks at."""
    kmeans: KMeansSettings = KMeansSettings()
    """The start of the codebooks."""


class RqVae:
    """Codebooks in the latent space of an autoencoder that was trained with them."""

    name: ClassVar[str] = "rqvae"

    def __init__(self, settings: RqVaeSettings | None = None) -> None:
        self.settings = settings or RqVaeSettings()
        self.levels = Levels([])
        self.network: dict[str, Vectors] = {}

    def fit(self, vectors_ND: Vectors, sizes: tuple[int, ...], seed: int) -> None:
        """Train encoder, codebooks and decoder; the codebooks end as k-means over the latents of all vectors."""
        from trialigngr.sids.quantizers.autoencoder import train

        self.network, self.levels = train(vectors_ND, sizes, self.settings, seed)

    def latents(self, vectors_ND: Vectors) -> Vectors:
        """Return the encoder's output [N, Z]."""
        from trialigngr.sids.quantizers.autoencoder import run

        return run(self.network, "encode", vectors_ND)

    def encode(self, vectors_ND: Vectors) -> Codes:
        """Return the nearest code of each residual in the latent space [N, L]."""
        return self.levels.encode(self.latents(vectors_ND))

    def decode(self, codes_NL: Codes) -> Vectors:
        """Return the decoder's output for the sum of the codes [N, D]."""
        from trialigngr.sids.quantizers.autoencoder import run

        return run(self.network, "decode", self.levels.sum(codes_NL))

    def tensors(self) -> dict[str, Vectors]:
        """Return the codebooks and the network's weights."""
        return self.levels.tensors() | {f"network.{name}": tensor for name, tensor in self.network.items()}

    @classmethod
    def from_tensors(cls, settings: dict[str, Any], tensors: dict[str, Vectors]) -> Self:
        """Read what `tensors` gave."""
        quantizer = cls(RqVaeSettings.model_validate(settings))
        quantizer.levels = Levels.from_tensors(tensors)
        quantizer.network = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
        return quantizer
