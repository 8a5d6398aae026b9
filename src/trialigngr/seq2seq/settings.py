"""The settings of encoder–decoder generators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from trialigngr.foundation.config import PresetSettings


class Seq2SeqSettings(PresetSettings):
    """Size and training of an encoder–decoder generator. The defaults are TIGER's size."""

    num_layers: int = Field(4, ge=1)
    """Layers of the encoder, and as many of the decoder."""
    hidden_size: int = Field(128, ge=2)
    """Dimensions of a token's vector."""
    ffn_size: int = Field(1024, ge=1)
    """Dimensions within a feed-forward block."""
    num_heads: int = Field(6, ge=1)
    """Attention heads, of 64 dimensions each."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout everywhere in the network."""
    max_history: int = Field(20, ge=1)
    """Items of history seen at most."""
    num_user_buckets: int = Field(0, ge=0)
    """A history begins with a token of its user, who shares it with those of the same number modulo this; 0: with
    none. Strangers have none."""
    temperature: float = Field(1.0, gt=0)
    """Logits are divided by this in the loss alone: below 1, tokens that are likely and wrong count more (LETTER)."""
    batch_size: int = Field(256, ge=1)
    """Examples in a batch: a history and the item after it."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak of AdamW's; it rises for 1 % of the steps and falls by a cosine over the rest."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay a step of the moving average of the weights that is validated and kept; 0: the weights as they are."""
    epochs: int = Field(30, ge=1)
    """Passes over all beginnings of the training parts."""
    patience: int = Field(10, ge=1)
    """Stop after this many epochs without a better validation NDCG@10; the best weights are kept."""
    validate_users: int = Field(1000, ge=1)
    """Users whose validation targets choose the epoch."""


class TigerSettings(Seq2SeqSettings):
    """Size and training of TIGER."""

    # 200,000 steps are some 390 epochs of Beauty. The paper's rate of .01 is one of Adafactor, not of AdamW.
    PAPER: ClassVar[Mapping[str, Any]] = {
        "num_user_buckets": 2000, "learning_rate": 3e-4, "epochs": 390, "patience": 40
    }  # fmt: skip
