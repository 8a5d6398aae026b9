"""The settings of encoder–decoder generators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from trialigngr.foundation.config import PresetSettings
from trialigngr.sids.settings import CodebookSize, CollisionPolicy, QuantizerName, SidSettings


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
    one_pass: bool = False
    """Whether a history is read once for all its beginnings, by an encoder that sees backwards only; else each
    beginning by itself, by one that sees both ways, which takes more time an epoch."""
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

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens that name tasks, where there are several."""
        return 0


class TigerSettings(Seq2SeqSettings):
    """Size and training of TIGER."""

    # 200,000 steps are some 390 epochs of Beauty. The paper's rate of .01 is one of Adafactor, not of AdamW.
    PAPER: ClassVar[Mapping[str, Any]] = {
        "num_user_buckets": 2000, "learning_rate": 3e-4, "epochs": 390, "patience": 40
    }  # fmt: skip


class OwnSidSettings(Seq2SeqSettings):
    """Size and training of a generator that has SIDs for itself, beside the run's."""

    quantizer: QuantizerName = "rqvae"
    """What makes its SIDs, with the settings that ``sids`` has for this quantizer."""
    codebook_sizes: tuple[CodebookSize, ...] = Field((256, 256, 256, 256), min_length=1, max_length=8)
    """Codebook sizes of its SIDs, coarse to fine."""
    collision_policy: CollisionPolicy = "nearest_free"
    """What happens to items that share one of its SIDs."""

    def describe_sids(self, sids: SidSettings) -> SidSettings:
        """Return how its SIDs are made; ``sids`` is the recipe's section, in which each quantizer has its own."""
        own = {name: getattr(self, name) for name in ("quantizer", "codebook_sizes", "collision_policy")}
        return sids.model_copy(update=own | {"held_out_ratio": 0.0})


class LetterTigerSettings(OwnSidSettings):
    """Size and training of LETTER, on TIGER's network."""

    PAPER: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 5e-4, "batch_size": 512, "epochs": 200, "patience": 20, "collision_policy": "sinkhorn"
    }  # fmt: skip

    quantizer: QuantizerName = "letter"
    """What makes its SIDs, with the settings that ``sids`` has for this quantizer."""
    temperature: float = Field(0.7, gt=0)
    """Logits are divided by this in the loss alone: below 1, tokens that are likely and wrong count more."""


JoinRule = Literal["bonus", "mixture"]


class MacRecGeneratorSettings(OwnSidSettings):
    """Size and training of MACRec's generator, and how its two lists become one."""

    PAPER: ClassVar[Mapping[str, Any]] = {"batch_size": 2048, "epochs": 200, "patience": 10}
    PROMPT_LENGTH: ClassVar[int] = 4
    """Tokens before what is read, of a task that writes the other modality."""

    quantizer: QuantizerName = "macrec"
    """What makes its SIDs, with the settings that ``sids`` has for this quantizer; ``published`` reads them."""
    explicit_alignment: bool = True
    """Whether it learns to write the SID of the other modality, of the same item and of the next one."""
    implicit_weight: float = Field(0.01, ge=0)
    """Weight of the loss that makes the encodings of an item's two SIDs alike."""
    join: JoinRule = "bonus"
    """How the lists of both modalities are joined. ``bonus``, the paper's: the mean of both log-probabilities a token,
    plus 1, of an item in both lists, else its own. ``mixture``: the mean of both probabilities."""

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens that name tasks: those of the four that write the other modality."""
        return 4 * self.PROMPT_LENGTH


class EtegRecSettings(Seq2SeqSettings):
    """Sizes and training of ETEGRec's two sides."""

    PAPER: ClassVar[Mapping[str, Any]] = {
        "num_layers": 6, "ffn_size": 512, "num_heads": 4, "max_history": 50, "learning_rate": 5e-3, "batch_size": 512,
        "epochs": 500, "finish_epochs": 100, "patience": 15, "pretrain_epochs": 10_000,
    }  # fmt: skip

    codebook_sizes: tuple[CodebookSize, ...] = Field((256, 256, 256), min_length=1, max_length=7)
    """Codebook sizes of its SIDs, coarse to fine."""
    pretrain_epochs: int = Field(30, ge=1)
    """Epochs of the tokenizer, at most, before anything else is trained."""
    finish_epochs: int = Field(10, ge=0)
    """So many of the last ``epochs`` leave the codes as they are and train the recommender alone."""
    tokenizer_learning_rate: float = Field(1e-4, gt=0)
    """Peak of the tokenizer's turns; ``learning_rate`` is that of the recommender's."""
    finish_learning_rate: float = Field(5e-4, gt=0)
    """Peak of the last epochs."""
    sequence_item_weight: float = Field(1e-4, ge=0)
    """Weight μ of the KL, both ways, between the codes' distributions of a history and of the item after it."""
    preference_weight: float = Field(3e-4, ge=0)
    """Weight λ of the InfoNCE between the decoder's first state and the decoded vector of the item."""
