"""The settings of training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trialigngr.foundation.config import Precision, Settings

LossSoftmax = Literal["full", "level", "trie"]
LrScheduler = Literal["cosine", "constant"]
AttentionKind = Literal["sdpa", "flex_attention"]
TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]


class LoopSettings(Settings):
    """How any model is trained: AdamW, a schedule, validation, checkpoints."""

    learning_rate: float = Field(3e-4, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's decay of matrices."""
    warmup_ratio: float = Field(0.03, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of an average of the weights over the steps, which is what is validated and kept; 0 keeps the last."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    precision: Precision = "auto"
    """``bf16``, ``fp32``, or ``auto``: bf16 matmuls where the hardware is fast at them."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``mps`` or ``auto``, for SASRec too."""
    fsdp: bool = False
    """Under torchrun, each process holds a share of weights, gradients and AdamW's moments instead of all (FSDP)."""
    validate_every: int = Field(500, ge=1)
    """Steps between validations (constrained decoding of a fixed sample of users)."""
    patience: int = Field(5, ge=1)
    """Stop after this many validations without a better NDCG@10; the best checkpoint is kept."""
    checkpoint_seconds: float = Field(60.0, ge=0)
    """Seconds between checkpoints."""


class TrainSettings(LoopSettings):
    """The paper's values (Table 10) are the defaults; what it does not say is AdamW, cosine, 3 % warm-up."""

    batch_size: int = Field(64, ge=1)
    """Examples (targets) in a batch."""
    epochs: float = Field(3.0, gt=0)
    """One epoch is as many batches as all tasks together have examples."""
    max_steps: int | None = Field(None, ge=1)
    """Stop the schedule after this many batches, whatever the epochs say."""
    loss_softmax: LossSoftmax = "full"
    """The loss of a SID token is over the whole vocabulary, as in the paper, or over the tokens of its ``level`` alone,
    and that of a word over the words: fewer rows of the output layer are computed. ``trie``: over the tokens of the
    level that follow the tokens before it in the SID of some item, as beam search scores them. What follows outside the
    level is not trained, so that ``decode.score_softmax = "full"`` is refused beside both."""
    level_weights: tuple[float, ...] = ()
    """Weights of the losses of a SID's first, second, … token, over their mean; none: all alike. Li et al. 2026 (arXiv
    2603.02730) give the first tokens more."""
    item_deletion: float = Field(0.0, ge=0, lt=1)
    """How often a shown item is left out of a history that is trained on; each is a target all the same."""
    soft_target_share: float = Field(0.0, ge=0, lt=1)
    """How often the SID that is asked for behind a history is another item's, drawn by how often the training part has
    it shortly behind the item shown last: on average, soft labels by counts, each example's own pair left out."""
    unlikelihood_weight: float = Field(0.0, ge=0)
    """Weight of −log(1 − p) for the SID of an item that the history shows already, one of them for each target whose
    answer is a SID: for logs in which nobody takes an item twice (Welleck et al. 2020). It is part of the losses that
    are shown. 0 (the paper): without."""
    micro_batch_tokens: int = Field(8192, ge=1)
    """Tokens that go through the model at once; a batch of more is cut into passes whose gradients add up."""
    attn_implementation: AttentionKind = "sdpa"
    """``sdpa`` lays histories of like length side by side and computes anywhere; ``flex_attention`` is torch's
    FlexAttention, for CUDA alone, which needs a minute to compile: there 2.3 times as many tokens/s for a 0.5B-shaped
    model, with ``train.torch_compile`` 3.6 times (docs/log.md)."""
    torch_compile: bool = False
    """``torch.compile`` norms and feed-forward blocks, or whole layers with ``flex_attention``: it saves memory traffic
    on a GPU, next to nothing on a CPU (docs/log.md). A run that goes on may then differ by roundings from an unbroken
    one. Not with ``train.fsdp``."""
    validate_users: int = Field(1000, ge=1)
    """Users in that sample."""
    trackers: tuple[TrackerName, ...] = ()
    """Where losses and validations go beside ``metrics.jsonl``: ``tensorboard``, ``wandb``, ``trackio``, ``mlflow``."""


class DpoSettings(Settings):
    """Preference optimization: the item that was taken against items that were not (S-DPO, Chen et al. 2024, arXiv
    2406.09215; with one negative DPO, Rafailov et al. 2023, arXiv 2305.18290)."""

    beta: float = Field(0.1, gt=0)
    """How much a change of log-probability counts; a small one lets the model go far from where it started."""
    num_negatives: int = Field(3, ge=1)
    """Items, drawn from the catalogue, that are held against each item taken."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate of this phase."""
    max_steps: int = Field(500, ge=1)
    """Steps of this phase, of ``train.batch_size`` examples."""
