"""`EmbedSettings`: how items become vectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trialigngr.foundation.config import Settings

TextOrder = Literal["interests_first", "interests_last"]


class GmeSettings(Settings):
    """What gme-Qwen2-VL alone has to be told."""

    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Precision of the weights; the last steps are always float32."""
    positions: Literal["1d", "mrope"] = "1d"
    """Plain positions, as its published code computes them, or those in three dimensions that Qwen2-VL was made
    with."""
    min_visual_tokens: int = Field(default=256, ge=4)
    """A smaller picture is enlarged to this many tokens of 28 x 28 pixels."""
    max_visual_tokens: int = Field(default=1280, ge=4)
    """A larger picture is reduced to this many."""


class EmbedSettings(Settings):
    """How items become vectors."""

    encoder: str = "packaged"
    """Which encoders: `packaged`, `gme` (gme-Qwen2-VL), or `sentence-transformers` (a text or CLIP-like model)."""
    model: str = ""
    """gme and sentence-transformers: a hub name or a local folder."""
    image_encoder: str = ""
    """Who sees the pictures beside an encoder of texts: `packaged` or `sentence-transformers` (the pictures' half of a
    CLIP-like model). Empty: what the encoder has of its own, which is none for a text model."""
    image_model: str = ""
    """sentence-transformers as image_encoder: a hub name or a local folder."""
    batch_size: int = Field(default=16, ge=1)
    """gme and sentence-transformers: items that go through the network together."""
    max_text_tokens: int = Field(default=512, ge=1)
    """gme and sentence-transformers: the text is cut here, or where the model does; interests stand before the
    description, so the cut never takes them."""
    text_order: TextOrder = "interests_first"
    """Where interest tags stand in the text: behind the title, where no cut takes them, or at the end, behind
    description and caption, as in DeepInterestGR."""
    use_captions: bool = True
    """Put captions into the text (false together with use_images: "without CMSA")."""
    use_interests: bool = True
    """Put interest tags into the text (false: "without MDIM")."""
    use_images: bool = True
    """Let encoders see the pictures themselves."""
    image_weight: float = Field(default=0.6, ge=0)
    """Weight of a picture block beside a text block of weight 1, where encoders of one modality are fused."""
    image_dimensions: int = Field(default=128, ge=0)
    """Dimensions to which the features of pictures are reduced (PCA over this catalogue's pictures); 0 keeps all."""
    center: bool = True
    """Take the mean item off each block, where encoders of one modality are fused. With false, image_dimensions = 0
    and image_weight = 1, the vector is the plain concatenation of unit blocks."""
    collaborative_weight: float = Field(default=0, ge=0)
    """Weight of a block of collaborative vectors (who is taken with whom, in the training part of the log alone) beside
    a text block of weight 1; 0 leaves it out, as the paper does. An item without company has the mean item's."""
    collaborative_source: Literal["cooccurrence", "sasrec"] = "cooccurrence"
    """Where they come from: counts of who stands beside whom, factored, or the item vectors of a SASRec that is trained
    first (`sasrec`)."""
    reduction: Literal["none", "pca", "whiten"] = "none"
    """What becomes of the whole vector: nothing, PCA over this catalogue, or PCA with all directions equally long."""
    reduction_dim: int = Field(default=1024, ge=1)
    """Dimensions kept by a reduction; 1024 is the paper's."""
    device: str = "auto"
    """Where the encoders run."""
    gme: GmeSettings = Field(default_factory=GmeSettings)
    """What gme-Qwen2-VL alone has to be told."""

    @property
    def needs_sasrec(self) -> bool:
        """Whether SASRec's item vectors are embedded."""
        return self.collaborative_weight > 0 and self.collaborative_source == "sasrec"
