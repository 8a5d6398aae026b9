"""How the networks of learned quantizers are trained: settings alone, without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trialigngr.foundation.config import Settings


class AutoencoderTrainingSettings(Settings):
    """How long and how fast a network is trained."""

    hidden_sizes: tuple[int, ...] = (512, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    warmup_epochs: int = Field(5, ge=0)
    """Epochs without codebooks, before they start from the latents."""
    epochs: int = Field(30, ge=1)
    """Epochs with codebooks, at most."""
    patience: int = Field(10, ge=1)
    """Epochs without a better one after which training stops; the best epoch is kept."""
    selection_metric: Literal["reconstruction", "collisions"] = "reconstruction"
    """Which epoch is best: that of the least error on held-out vectors, or of the fewest items that share a SID."""
    batch_size: int = Field(1024, ge=1)
    """Vectors a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    held_out_ratio: float = Field(0.1, gt=0, lt=1)
    """Share of the vectors that training does not see and early stopping looks at."""
    linear_skip: bool = True
    """Whether a fixed projection on principal directions runs beside the MLPs (see `autoencoder.Autoencoder`)."""
