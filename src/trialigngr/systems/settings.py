"""The settings of the baselines that only count."""

from __future__ import annotations

from pydantic import Field

from trialigngr.foundation.config import Settings


class CountsSettings(Settings):
    """What counts as taken near an item, and which items of a history are asked."""

    max_history: int = Field(5, ge=1, le=1000)
    """So many last items of a history."""
    decay: float = Field(0.6, gt=0, le=1)
    """What an item says counts so much less than what the next one says."""
    window_size: int = Field(5, ge=1, le=100)
    """Items so far apart at most, the nearer the more."""
    backward_weight: float = Field(0.5, ge=0)
    """How much an item counts that was taken before another, not after it."""


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
