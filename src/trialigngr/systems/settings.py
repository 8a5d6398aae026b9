"""The settings of the baselines that only count, and of mixtures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trialigngr.foundation.config import Settings


class CountsSettings(Settings):
    """What counts as taken near an item, and which items of a history are asked."""

    max_history: int = Field(8, ge=1, le=1000)
    """So many last items of a history."""
    decay: float = Field(0.4, gt=0, le=1)
    """What an item says counts so much less than what the next one says."""
    window_size: int = Field(12, ge=1, le=100)
    """Items so far apart at most, the nearer the more."""
    backward_weight: float = Field(0.25, ge=0)
    """How much an item counts that was taken before another, not after it."""


class PriorSettings(Settings):
    """What is mixed with the generator's probabilities inside beam search (docs/decoding.md)."""

    system: str = ""
    """The system whose scores are mixed in, such as ``counts``; empty for the generator alone."""
    mixing_weight: float = Field(0.5, ge=0, lt=1)
    """The system's share at most, λ."""
    confidence: float = Field(8.0, ge=0)
    """Of counts: at a sum n of what was counted near the shown items, their share is λ n / (n + ``confidence``)."""
    form: Literal["linear", "geometric"] = "linear"
    """``linear``: a mixture of both distributions. ``geometric``: their logarithms are mixed."""
    validate_users: int = Field(2000, ge=1)
    """Users whose validation targets `tune` looks at when it searches these settings."""

    @property
    def has_say(self) -> bool:
        """Whether anything is mixed in."""
        return bool(self.system) and self.mixing_weight > 0

    def describe(self) -> str:
        """Return what is mixed in, in words."""
        if not self.has_say:
            return "none"
        return f"{self.system}, {self.form}, λ {self.mixing_weight:g}, confidence {self.confidence:g}"


class SasRecCountsSettings(Settings):
    """SASRec's softmax over all items, mixed with the counts."""

    mixing_weight: float = Field(0.3, ge=0, lt=1)
    """The share of the counts at most."""
    confidence: float = Field(8.0, ge=0)
    """As in ``prior``."""


class ItemKnnSettings(Settings):
    """Neighbors of an item."""

    num_neighbors: int = Field(100, ge=1)
    """So many are kept of each."""
    shrinkage: float = Field(10.0, ge=0)
    """Added to the norm of a pair: neighbors that few people tell of count less."""


class EaseSettings(Settings):
    """The linear model."""

    l2_weight: float = Field(500.0, gt=0)
    """Weight of the squared weights; more for sparser logs."""
