"""The settings of next-item networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from trialigngr.foundation.config import PresetSettings

LossName = Literal["full_softmax", "sampled_softmax", "bce", "bpr"]


PLAIN: Mapping[str, Any] = {"temperature": 0.0, "ema_decay": 0.0, "batch_size": 256, "epochs": 200, "patience": 20}
"""What no paper here has otherwise: scores that are products, and the weights as they are."""


class SequentialSettings(PresetSettings):
    """Size and training of a next-item network."""

    loss: LossName = "sampled_softmax"
    """``full_softmax`` over all items; ``sampled_softmax`` over negatives that a batch shares, drawn by the root of
    their counts, which is corrected for; ``bce`` and ``bpr``: each target against negatives of its own, all equally
    likely."""
    num_negatives: int = Field(1024, ge=1)
    """Of a batch with ``sampled_softmax``, of each target with ``bce`` and ``bpr``."""
    temperature: float = Field(0.05, ge=0)
    """Scores are cosines, divided by this; 0: plain products."""
    hidden_size: int = Field(64, ge=2)
    """Dimensions of an item's vector."""
    max_history: int = Field(50, ge=1)
    """Items of history seen at most."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout on item vectors and within the network."""
    batch_size: int = Field(128, ge=1)
    """Users in a batch."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW, constant; without decay of weights."""
    ema_decay: float = Field(0.998, ge=0, lt=1)
    """Decay a step of the moving average of the weights that is validated and kept; 0: the weights as they are."""
    epochs: int = Field(40, ge=1)
    """At most so many passes over the users."""
    patience: int = Field(20, ge=1)
    """Stop after this many epochs without a better validation NDCG@10; the best weights are kept."""
    validate_users: int = Field(2000, ge=1)
    """Users whose validation targets choose the epoch."""


class Gru4RecSettings(SequentialSettings):
    """Size and training of GRU4Rec."""

    PAPER: ClassVar[Mapping[str, Any]] = {
        **PLAIN, "loss": "bpr", "num_negatives": 49, "hidden_size": 100, "dropout": 0.2, "batch_size": 50
    }  # fmt: skip


class WindowSettings(SequentialSettings):
    """Size and training of a network that looks at a few last items."""

    max_history: int = Field(5, ge=1)
    """Items of history seen at most: the window."""
    num_targets: int = Field(1, ge=1)
    """Items that follow a window and are its targets."""
    user_dropout: float = Field(0.5, ge=0, lt=1)
    """How often a place is trained without the vector of its user."""


class CaserSettings(WindowSettings):
    """Size and training of Caser."""

    # Batches of 512 windows are those of some 64 users.
    PAPER: ClassVar[Mapping[str, Any]] = {
        **PLAIN, "loss": "bce", "num_negatives": 3, "num_targets": 3, "user_dropout": 0.0, "hidden_size": 50,
        "batch_size": 64, "epochs": 50,
    }  # fmt: skip


class HgnSettings(WindowSettings):
    """Size and training of HGN."""

    # Batches of 4,096 windows are those of some 512 users.
    PAPER: ClassVar[Mapping[str, Any]] = {
        **PLAIN, "loss": "bpr", "num_negatives": 1, "num_targets": 3, "user_dropout": 0.0, "hidden_size": 50,
        "dropout": 0.0, "batch_size": 512,
    }  # fmt: skip


class TransformerSettings(SequentialSettings):
    """Size and training of a network of attention layers."""

    num_layers: int = Field(2, ge=1)
    """Attention layers."""
    num_heads: int = Field(2, ge=1)
    """Attention heads."""


class SasRecSettings(TransformerSettings):
    """Size and training of SASRec."""

    PAPER: ClassVar[Mapping[str, Any]] = {
        **PLAIN, "loss": "bce", "num_negatives": 1, "hidden_size": 50, "num_heads": 1, "batch_size": 128, "epochs": 201
    }  # fmt: skip


class Bert4RecSettings(TransformerSettings):
    """Size and training of BERT4Rec."""

    PAPER: ClassVar[Mapping[str, Any]] = {
        **PLAIN, "loss": "full_softmax", "mask_ratio": 0.6, "learning_rate": 1e-4, "epochs": 4500, "patience": 200
    }  # fmt: skip

    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout on item vectors and within the network."""
    epochs: int = Field(80, ge=1)
    """At most so many passes over the users; a pass asks for a part of their items alone."""
    mask_ratio: float = Field(0.3, gt=0, lt=1)
    """Share of the items that are hidden and asked for."""


class HstuSettings(TransformerSettings):
    """Size and training of HSTU."""

    PAPER: ClassVar[Mapping[str, Any]] = {
        **PLAIN, "temperature": 0.05, "num_negatives": 512, "num_layers": 4, "num_heads": 4, "batch_size": 128,
        "epochs": 201,
    }  # fmt: skip


class FdsaSettings(TransformerSettings):
    """Size and training of FDSA."""

    PAPER: ClassVar[Mapping[str, Any]] = {**PLAIN, "loss": "bce", "num_negatives": 1}


class S3RecSettings(TransformerSettings):
    """Size and training of S3-Rec."""

    PAPER: ClassVar[Mapping[str, Any]] = {
        **PLAIN, "loss": "bce", "num_negatives": 1, "pretrain_epochs": 150, "patience": 10
    }  # fmt: skip

    pretrain_epochs: int = Field(10, ge=0)
    """Passes over the users with the four losses of the pre-training, before the training."""
