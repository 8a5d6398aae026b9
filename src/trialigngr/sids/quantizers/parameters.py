"""What the networks of learned quantizers are made and trained with; each method fills it from its settings (no torch).

A default is a constant of every method that says nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trialigngr.sids.quantizers.settings import SelectionMetric


@dataclass(frozen=True)
class AutoencoderTraining:
    """How long and how fast a network is trained."""

    epochs: int
    """Epochs with codebooks, at most."""
    batch_size: int
    learning_rate: float
    warmup_epochs: int
    """Epochs without codebooks, before they start from the latents."""
    patience: int = 10
    """Epochs without a better one after which training stops: a third of the usual 30."""
    selection_metric: SelectionMetric = "reconstruction"
    """Which epoch is best: that of the least error on held-out vectors, or of the fewest items that share a SID."""


@dataclass(frozen=True)
class CodebookUpdateRule:
    """How residual codebooks learn, and latents with them."""

    commitment_weight: float = 0.25
    """β, as in every paper."""
    ema_decay: float | None = 0.95
    """Of the running mean that codes follow; None: they follow the gradient of the codebook loss."""
    restart_dead_codes: bool = True
    rotation_trick: bool = False
    sinkhorn_epsilons: Sequence[float] = ()


@dataclass(frozen=True)
class RqVaeParameters:
    """An autoencoder with residual codebooks."""

    hidden_sizes: tuple[int, ...]
    latent_size: int
    training: AutoencoderTraining
    update_rule: CodebookUpdateRule
    linear_skip: bool = True
    """Whether a fixed projection on principal directions runs beside the MLPs (see `autoencoder.Autoencoder`)."""
