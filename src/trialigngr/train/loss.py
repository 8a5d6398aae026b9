"""The loss of a pass: autoregressive cross-entropy on target tokens (Eq. 7), logits only where a target is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from trialigngr.decode.lm_head import compute_level_logits
from trialigngr.foundation.device import to_device
from trialigngr.models.compatibility import TRIAL_CONTINUATION, TRIAL_PROMPT
from trialigngr.models.item_layer import ItemLayer, name_inputs
from trialigngr.models.logits import compute_logits
from trialigngr.tasks.packing import Continuation, MicroBatch, SharedPrefixRow, pack_micro_batches
from trialigngr.train.attention import ATTENTION_NAME, BlockLayout
from trialigngr.train.flex import FlexLayout
from trialigngr.train.item_loss import ItemLoss
from trialigngr.train.limits import MAX_CPU_LOGITS, MAX_GPU_LOGITS
from trialigngr.train.trie_softmax import TrieSoftmax

if TYPE_CHECKING:  # a GPU's machine may lack pydantic (benchmarks/train_gpu.py)
    from trialigngr.train.settings import AttentionKind

TokenCrossEntropy = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DeviceMicroBatch:
    """A `MicroBatch` as tensors, with the layout of its attention."""

    tokens_1T: Tensor
    positions_1T: Tensor
    layout: BlockLayout | FlexLayout
    source_place_M: Tensor
    target_token_M: Tensor
    branch_M: Tensor
    weight_M: Tensor
    item_M: Tensor

    @classmethod
    def from_micro_batch(
        cls, micro_batch: MicroBatch, device: torch.device, attention: AttentionKind = "sdpa"
    ) -> DeviceMicroBatch:
        """Move a pass to the device."""
        predict = (micro_batch.source_place_M, micro_batch.target_token_M, micro_batch.branch_M, micro_batch.weight_M)
        arrays = (micro_batch.tokens_T[None], micro_batch.positions_T[None], *predict, micro_batch.item_M)
        tokens, positions, *predicted = (to_device(array, device) for array in arrays)
        layout = (FlexLayout if attention == "flex_attention" else BlockLayout).from_micro_batch(micro_batch, device)
        return cls(tokens, positions, layout, *predicted)


def token_cross_entropy(logits_MV: Tensor, token_M: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the cross-entropy of each token [M] in fp32, of logits that are divided by the temperature."""
    logits_MV = logits_MV.float()
    return cross_entropy(logits_MV if temperature == 1 else logits_MV / temperature, token_M, reduction="none")


def compute_target_losses(
    model: Any,
    micro_batch: DeviceMicroBatch,
    level_V: Tensor | None = None,
    cross_entropy_fn: TokenCrossEntropy = token_cross_entropy,
) -> Tensor:
    """Return the cross-entropy of each target token [M], in fp32, over the full vocabulary.

    ``level_V`` (1 … L for the SID tokens of a level, 0 for all others) narrows the vocabulary of a SID token to its
    level, and that of a word to the words; no other row of the output layer is computed. ``cross_entropy_fn`` may be
    compiled. The model's attention must be `trialigngr.train.attention.NAME`.
    """
    score = partial(_compute_token_losses, model, level_V=level_V, cross_entropy_fn=cross_entropy_fn)
    return _compute_losses(model, _target_hidden_states(model, micro_batch), micro_batch, score)


def _compute_losses(
    model: Any,
    hidden_MD: Tensor,
    micro_batch: DeviceMicroBatch,
    score: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """``score`` returns the losses of some targets, from their hidden states, tokens and `_find_sid_items`."""
    item_M = _find_sid_items(micro_batch.item_M)
    most = MAX_GPU_LOGITS if hidden_MD.device.type == "cuda" else MAX_CPU_LOGITS
    at_once = max(1, most // model.config.vocab_size)
    if len(hidden_MD) <= at_once:
        return score(hidden_MD, micro_batch.target_token_M, item_M)
    columns = (hidden_MD, micro_batch.target_token_M, item_M)
    pieces = zip(*(column.split(at_once) for column in columns), strict=True)
    return torch.cat([checkpoint(score, *piece, use_reentrant=False) for piece in pieces])


def _find_sid_items(item_M: Tensor) -> Tensor:
    """Return for each target the item whose SID was the last to begin, which is its own where it is a SID's token."""
    place_M = torch.arange(len(item_M), device=item_M.device)
    return item_M[torch.where(item_M >= 0, place_M, 0).cummax(0).values]


def _target_hidden_states(model: Any, micro_batch: DeviceMicroBatch, items: ItemLayer | None = None) -> Tensor:
    """Return the hidden states [M, D] from which the targets are predicted."""
    hidden_1TD = model.base_model(
        **name_inputs(model, items, micro_batch.tokens_1T),
        position_ids=micro_batch.positions_1T,
        layout=micro_batch.layout,
        use_cache=False,
    ).last_hidden_state
    found: Tensor = hidden_1TD[0].index_select(0, micro_batch.source_place_M)
    return found


def compute_trial_logits(model: Any) -> tuple[Tensor, Tensor]:
    """Return the logits of two short targets, behind a shared beginning and row by row."""
    training, usual = model.training, model.config._attn_implementation
    model.eval()
    header, prefix_tokens = TRIAL_PROMPT[:1], TRIAL_PROMPT[1:]
    shared_row = SharedPrefixRow(
        prefix_tokens,
        [Continuation(cut, TRIAL_CONTINUATION, TRIAL_CONTINUATION[::-1]) for cut in (1, len(prefix_tokens))],
    )
    rows = [
        [*header, *prefix_tokens[: continuation.prefix_length], *continuation.prompt_suffix, *continuation.target]
        for continuation in shared_row.continuations
    ]
    own = [model(torch.tensor([row], device=model.device)).logits[0, -1 - len(TRIAL_CONTINUATION) : -1] for row in rows]
    model.set_attn_implementation(ATTENTION_NAME)
    (micro_batch,) = pack_micro_batches(header, [shared_row], len(TRIAL_PROMPT) + 8)
    ours_MV = compute_logits(
        model, _target_hidden_states(model, DeviceMicroBatch.from_micro_batch(micro_batch, model.device))
    )
    model.set_attn_implementation(usual)
    model.train(training)
    return ours_MV, torch.cat(own)


class TargetLosses(nn.Module):
    """`compute_target_losses` of a model as a module: what works on modules (shares of weights) sees all of a pass."""

    def __init__(
        self,
        model: Any,
        compiled: bool = False,
        items: ItemLayer | None = None,
        item_loss: ItemLoss | None = None,
        token_weights_V: Tensor | None = None,
        trie_softmax: TrieSoftmax | None = None,
        temperature: float = 1.0,
    ) -> None:
        """``compiled``: the cross-entropy over the vocabulary, whose logits are then not copied into fp32.
        ``token_weights_V`` are those of the losses of tokens; ``item_loss`` is added where the SID of an item begins.
        ``trie_softmax`` narrows levels further; logits are divided by the ``temperature``."""
        super().__init__()
        self.model, self.items, self.item_loss = model, items, item_loss
        self.token_weights_V, self.trie_softmax, self.temperature = token_weights_V, trie_softmax, temperature
        own = partial(token_cross_entropy, temperature=temperature)
        self._cross_entropy_fn: TokenCrossEntropy = torch.compile(own, dynamic=True) if compiled else own

    def forward(self, micro_batch: DeviceMicroBatch, level_V: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of each target token [M]."""
        hidden_MD = _target_hidden_states(self.model, micro_batch, self.items)
        own: dict[str, Any] = {
            "level_V": level_V,
            "cross_entropy_fn": self._cross_entropy_fn,
            "trie_softmax": self.trie_softmax,
            "temperature": self.temperature,
        }
        losses_M = _compute_losses(
            self.model, hidden_MD, micro_batch, partial(_compute_token_losses, self.model, **own)
        )
        if self.token_weights_V is not None:
            weight_M = self.token_weights_V[micro_batch.target_token_M]
            losses_M = torch.where(micro_batch.weight_M > 0, weight_M, 1) * losses_M
        return losses_M if self.item_loss is None else self.item_loss.add_to(losses_M, hidden_MD, micro_batch.item_M)


def weigh_losses(losses_M: Tensor, micro_batch: DeviceMicroBatch, unlikelihood_weight: float) -> Tensor:
    """Return weight × −log p of tokens to be written, and |weight| × ``unlikelihood_weight`` × −log(1 − p) of those of
    negative weight, which must not be (Welleck et al. 2020, arXiv 1908.04319, Eq. 4)."""
    unlikely_M = -torch.log(-torch.expm1(-losses_M.clamp(min=1e-6)))
    losses_M = torch.where(micro_batch.weight_M < 0, unlikelihood_weight * unlikely_M, losses_M)
    return losses_M * micro_batch.weight_M.abs()


def sum_branch_log_probs(losses_M: Tensor, micro_batch: DeviceMicroBatch, num_branches: int) -> Tensor:
    """Return Σ weight × log p over the target tokens of each branch [G]; micro-batches' sums add up to the batch's."""
    weighted_M = -losses_M * micro_batch.weight_M
    return losses_M.new_zeros(num_branches).index_add(0, micro_batch.branch_M, weighted_M)


def _compute_token_losses(
    model: Any,
    hidden_MD: Tensor,
    token_M: Tensor,
    item_M: Tensor,
    *,
    level_V: Tensor | None,
    cross_entropy_fn: TokenCrossEntropy,
    trie_softmax: TrieSoftmax | None = None,
    temperature: float = 1.0,
) -> Tensor:
    if level_V is None:
        return cross_entropy_fn(compute_logits(model, hidden_MD), token_M)
    losses_M = hidden_MD.new_zeros(len(token_M), dtype=torch.float32)
    level_M = level_V[token_M]
    for level in level_M.unique():
        places, tokens_K = torch.nonzero(level_M == level)[:, 0], torch.nonzero(level_V == level)[:, 0]
        logits = compute_level_logits(model, hidden_MD.index_select(0, places), tokens_K, "constrained")
        wanted = torch.searchsorted(tokens_K, token_M[places])
        if trie_softmax is not None and level:
            allowed_PK = trie_softmax.find_allowed(int(level) - 1, item_M[places], tokens_K)
            logits = logits.masked_fill(~allowed_PK, -torch.inf)
        losses_M = losses_M.index_copy(0, places, token_cross_entropy(logits, wanted, temperature))
    return losses_M
