"""The settings of the language model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trialigngr.foundation.config import Settings


class LoraSettings(Settings):
    """Hu et al. 2021, on every linear layer but the output. The rows of the SID tokens are trained beside it."""

    rank: int = Field(0, ge=0)
    """Rank of the added matrices; 0 trains the whole model instead."""
    alpha: float = Field(32.0, gt=0)
    """Their product is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on what goes into them."""


class ItemSettings(Settings):
    """A vector for each item beside the tokens of its SID, which learns what items that share tokens have apart: shown
    with each item of a history, and a second way to score what comes next (docs/training.md)."""

    hidden_size: int = Field(0, ge=0)
    """Numbers of a vector; 0 for none."""
    is_shown: bool = True
    """Whether the last token of each shown item carries its vector; or it is only scored."""
    loss_weight: float = Field(1.0, ge=0)
    """Weight of the cross-entropy over items beside the sum of an item's tokens' losses; 0 trains no scores."""
    num_negatives: int = Field(1024, ge=1)
    """Items that a pass is scored against, drawn by the square root of their counts."""
    row_dropout: float = Field(0.2, ge=0, le=1)
    """How often an item goes without the row of its own that is learned, as those do that are appended later; with 1
    none has one, and what is known of items is their embeddings alone."""
    alignment_weight: float = Field(0.0, ge=0)
    """Weight of 1 − cos between what a linear layer makes of the state and the next item's embedding."""


class BackboneSettings(Settings):
    """Which language model writes the SIDs."""

    name_or_path: str = "scratch"
    """``scratch`` builds a small model; anything else is a Hugging Face causal language model with plain causal
    attention, by name or folder (``pretrained/smollm2``: SmolLM2-135M-Instruct from a package)."""
    architecture: Literal["qwen2", "qwen3"] = Field("qwen2", exclude_if=lambda kind: kind == "qwen2")
    """Of which kind a model from scratch is. FlashRec serves qwen3 alone (docs/serving_elsewhere.md)."""
    num_layers: int = Field(4, ge=1)
    """Layers of a model from scratch (the next six settings likewise). `plan` reads them for a hub's model too."""
    hidden_size: int = Field(256, ge=2)
    """Hidden dimension."""
    num_heads: int = Field(4, ge=1)
    """Attention heads."""
    num_kv_heads: int = Field(0, ge=0)
    """Heads of keys and values, where there are fewer of them (grouped-query attention); 0: as many."""
    tie_embeddings: bool = True
    """One table for words that are read and words that are written."""
    ffn_size: int = Field(1024, ge=1)
    """Inner dimension of the feed-forward blocks."""
    vocab_size: int = Field(4096, ge=256)
    """Words of the BPE trained on the catalogue's text."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the embeddings and on what each attention and feed-forward block adds, in training only."""
    sid_embedding_init: Literal["mean", "codebook"] = "mean"
    """The SID tokens' rows begin near the mean of the old rows (from scratch: like all others), or where the codebooks
    put their codes."""
    weight_dtype: Literal["fp32", "bf16"] = "fp32"
    """In which type frozen weights are held; bf16 halves their memory and needs LoRA."""
    gradient_checkpointing: bool = False
    """Compute each layer again in the backward pass: a third more time for far less memory."""
    lora: LoraSettings = Field(default_factory=LoraSettings)
    """Train small added matrices and the SID rows instead of the whole model."""
    items: ItemSettings = Field(default_factory=ItemSettings)
    """Vectors of items beside their tokens."""
