"""The settings of next-item networks."""

from __future__ import annotations

from pydantic import Field

from trialigngr.foundation.config import Settings


class SequentialSettings(Settings):
    """Size and training of a next-item network."""

    hidden_size: int = Field(64, ge=2)
    """Dimensions of an item's vector."""
    max_history: int = Field(50, ge=1)
    """Items of history seen at most."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout on item vectors, attention and feed-forward."""
    batch_size: int = Field(256, ge=1)
    """Users in a batch."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW, constant; without decay of weights."""
    epochs: int = Field(200, ge=1)
    """At most so many passes over the users."""
    patience: int = Field(20, ge=1)
    """Stop after this many epochs without a better validation NDCG@10; the best weights are kept."""
    validate_users: int = Field(2000, ge=1)
    """Users whose validation targets choose the epoch."""


class SasRecSettings(SequentialSettings):
    """Size and training of SASRec."""

    num_layers: int = Field(2, ge=1)
    """Transformer layers."""
    num_heads: int = Field(2, ge=1)
    """Attention heads."""
