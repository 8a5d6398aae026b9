"""The settings of every quantizer. What nobody turns is a constant of its method (`parameters.py`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trialigngr.foundation.config import Settings

SelectionMetric = Literal["reconstruction", "collisions"]


class KMeansSettings(Settings):
    """How each level's k-means runs."""

    max_iterations: int = Field(25, ge=1)
    """Lloyd iterations a level, at most: it stops when nothing changes."""
    progressive_iterations: int = Field(6, ge=0)
    """Iterations in each of the first 16, 32, 64 and 128 principal dimensions before that, where there are at least 8
    vectors a code; 0 begins at random vectors."""
    num_beams: int = Field(1, ge=1)
    """Partial codes kept while fitting and encoding; 1 takes the nearest code level by level (Eqs. 3–4). A level is
    fitted on what all kept partial codes leave over (as in faiss' residual quantizer)."""
    refinement_rounds: int = Field(0, ge=0)
    """Rounds, after the levels, in which all codebooks move together to the means of what the others leave over."""


class BalancedSettings(Settings):
    """k-means with the defaults of `rqkmeans`, then rounds of prices and means."""

    num_beams: int = Field(1, ge=1)
    """Partial codes kept while fitting and encoding; 1 takes the nearest code level by level (Eqs. 3–4)."""
    refinement_rounds: int = Field(0, ge=0)
    """Rounds, after the levels, in which all codebooks move together to the means of what the others leave over."""
    refinement_step: float = Field(1.0, gt=0, le=1)
    """How far they move. Half the way leaves a little more error, and fewer items that share a SID (docs/log)."""
    price_rounds: int = Field(4, ge=1)
    """How often prices are found and means taken, in turn."""
    capacity_factor: float = Field(1.05, ge=1)
    """A code may hold up to this times its fair share N / K (rounded up) before it becomes dearer."""


class OpqSettings(Settings):
    """Nothing can be set; the k-means of the parts has the defaults of `rqkmeans`."""


class RqVaeSettings(Settings):
    """The network, its latent space, and how the codes there are learned."""

    hidden_sizes: tuple[int, ...] = (512, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    latent_size: int = Field(64, ge=1)
    """Width of the space in which the codebooks lie."""
    warmup_epochs: int = Field(5, ge=0)
    """Epochs without codebooks, before they start from the latents."""
    epochs: int = Field(30, ge=1)
    """Epochs with codebooks, at most."""
    patience: int = Field(10, ge=1)
    """Epochs without less error on held-out vectors after which training stops; the best epoch is kept."""
    batch_size: int = Field(1024, ge=1)
    """Vectors a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    commitment_weight: float = Field(0.25, ge=0)
    """Weight β of the loss that pulls latents to their codes."""
    codebook_update: Literal["ema", "gradient"] = "ema"
    """Whether codes follow the running mean of their residuals or the gradient of the codebook loss."""
    ema_decay: float = Field(0.95, gt=0, lt=1)
    """Of the running mean."""
    restart_dead_codes: bool = True
    """Whether codes that no item chose during an epoch are moved onto an item's residual."""
    rotation_trick: bool = False
    """Whether gradients pass the codes by rotation instead of straight through."""
    sinkhorn_epsilons: tuple[float, ...] = ()
    """ε of Sinkhorn assignment while training, a level each; 0 or absent: nearest code."""


class RqKMeansPlusSettings(Settings):
    """The network that refines the k-means."""

    hidden_sizes: tuple[int, ...] = (512, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    epochs: int = Field(30, ge=1)
    """Epochs, at most."""
    batch_size: int = Field(1024, ge=1)
    """Vectors a step."""
    learning_rate: float = Field(1e-4, gt=0)
    """Of AdamW; small, since training starts from a good place."""


class FsqSettings(Settings):
    """The network; the grid follows from the codebook sizes."""

    hidden_sizes: tuple[int, ...] = (512, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    warmup_epochs: int = Field(5, ge=0)
    """Epochs without the grid."""
    epochs: int = Field(30, ge=1)
    """Epochs with the grid, at most."""
    batch_size: int = Field(1024, ge=1)
    """Vectors a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""


class LetterSettings(Settings):
    """The network, and the weights of LETTER's losses."""

    hidden_sizes: tuple[int, ...] = (512, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    latent_size: int = Field(64, ge=1)
    """Width of the space in which the codebooks lie."""
    warmup_epochs: int = Field(5, ge=0)
    """Epochs without codebooks, before they start from the latents."""
    epochs: int = Field(30, ge=1)
    """Epochs with codebooks, at most."""
    batch_size: int = Field(1024, ge=1)
    """Vectors a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    collaboration_weight: float = Field(0.02, ge=0)
    """Weight α of the loss that ties quantised latents to collaborative vectors."""
    diversity_weight: float = Field(1e-4, ge=0)
    """Weight β of the loss that spreads the codes."""
    num_clusters: int = Field(10, ge=1)
    """Clusters of codes, a level, among which positives are drawn."""


class MacRecSettings(Settings):
    """The networks of both modalities, and the weights of what couples them."""

    hidden_sizes: tuple[int, ...] = (512, 256)
    """Widths of the encoders' hidden layers; the decoders mirror them."""
    latent_size: int = Field(32, ge=1)
    """Width of the space in which the codebooks lie."""
    linear_skip: bool = False
    """Whether a fixed projection on principal directions runs beside the MLPs; the contrast can hardly move it."""
    warmup_epochs: int = Field(5, ge=0)
    """Epochs without codebooks, before they start from the latents."""
    epochs: int = Field(100, ge=1)
    """Epochs with codebooks, at most."""
    patience: int = Field(100, ge=1)
    """Epochs without a better one after which training stops; the best epoch is kept."""
    selection_metric: SelectionMetric = "collisions"
    """Which epoch is best: that of the fewest items that share a SID, as in MACRec's code, or of the least error on
    held-out vectors."""
    batch_size: int = Field(256, ge=1)
    """Vectors a step; each is held apart from all others of its batch."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    num_pseudo_labels: int = Field(8192, ge=1)
    """Clusters of each modality's embeddings; items of one cluster are positives in the other modality. With as many as
    items each is its own positive. Fewer (the paper: 512) gather items, and more of them share a SID (docs/log)."""
    contrast_weight: float = Field(1.0, ge=0)
    """Weight of the cross-modal contrast inside the levels (the paper says 0.1; its code runs at 1)."""
    contrast_from_level: int = Field(0, ge=0)
    """First level (from 0) with the contrast (the paper: the third of four; its script: the first)."""
    temperature: float = Field(0.1, gt=0)
    """τ of contrast and alignment."""
    alignment_weight: float = Field(0.001, ge=0)
    """Weight of the alignment of an item's summed text codes with its summed picture codes."""


class PublishedSettings(Settings):
    """Where SIDs stand that others made, as text such as ``<a_195><b_112><c_7>``."""

    columns: tuple[str, ...] = Field(("sid",), min_length=1, max_length=2)
    """The column of the items file with the SIDs; for MACRec a second one with those of pictures, which items without a
    picture lack."""
