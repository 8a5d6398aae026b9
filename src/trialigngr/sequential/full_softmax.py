"""Cross-entropy over all items without the logits of a batch in memory: a chunk's stay in the processor's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CPU_CHUNK_SIZE, CHUNK_SIZE = 64, 8192
"""Targets whose logits are there at a time: so many that they stay in a CPU's cache; elsewhere fewer, larger steps."""
MAX_UNSHIFTED_SCORE = 60.0
"""exp of this, summed over 10^9 items, is within fp32."""


class _FullSoftmaxLoss(torch.autograd.Function):
    """Computes the gradients with the loss, so that logits are made once and kept nowhere."""

    @staticmethod
    def forward(ctx: Any, states_MD: Tensor, items_ND: Tensor, wanted_M: Tensor) -> Tensor:
        kind = states_MD.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states_MD.dtype
        with torch.autocast(kind, enabled=False):
            loss, states_grad, items_grad = _loss_and_gradients(states_MD, items_ND, wanted_M, dtype)
        ctx.save_for_backward(states_grad, items_grad)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        states_grad, items_grad = ctx.saved_tensors
        return states_grad.mul_(grads[0]), items_grad.mul_(grads[0]), None


def full_softmax_loss(states_MD: Tensor, items_ND: Tensor, targets_M: Tensor) -> Tensor:
    """Return the mean of −log softmax(states · items)[wanted] over M targets; the softmax is fp32, the products have
    the dtype of autocast. May be differentiated once."""
    loss: Tensor = _FullSoftmaxLoss.apply(states_MD, items_ND, targets_M)  # type: ignore[no-untyped-call]  # torch's stub
    return loss


def _loss_and_gradients(
    states_MD: Tensor, items_ND: Tensor, targets_M: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean loss and its gradients for states and items. The softmax's denominators are divided out of the
    small matrices alone, and the greatest score is looked for only where an exponential could overflow without."""
    vectors_ND, shown_MD = items_ND.detach().to(dtype), states_MD.detach().to(dtype)
    own_MD = vectors_ND[targets_M].float()
    states_grad = torch.empty_like(shown_MD, dtype=torch.float32)
    items_grad = torch.zeros_like(vectors_ND, dtype=torch.float32)
    sums_M1 = torch.empty_like(own_MD[:, :1])
    shifts_M1 = torch.zeros_like(sums_M1)
    is_bounded = (
        len(shown_MD) > 0 and dtype == torch.float32 and _bound_scores(shown_MD, vectors_ND) < MAX_UNSHIFTED_SCORE
    )
    chunk = CPU_CHUNK_SIZE if states_MD.device.type == "cpu" else CHUNK_SIZE
    for start in range(0, len(shown_MD), chunk):
        lines = slice(start, start + chunk)
        scores_CN = (shown_MD[lines] @ vectors_ND.T).float()
        if not is_bounded:
            torch.amax(scores_CN, 1, keepdim=True, out=shifts_M1[lines])
            scores_CN -= shifts_M1[lines]
        weights_CN = scores_CN.exp_()
        sums_C1 = torch.sum(weights_CN, 1, keepdim=True, out=sums_M1[lines])
        weights_CN = weights_CN.to(dtype)
        states_grad[lines] = (weights_CN @ vectors_ND) / sums_C1
        items_grad += weights_CN.T @ (shown_MD[lines] / sums_C1).to(dtype)
    total = (sums_M1.log() + shifts_M1).sum() - (shown_MD.float() * own_MD).sum()
    # The gradient of a target's scores is softmax − one-hot.
    states_grad -= own_MD
    items_grad.index_add_(0, targets_M, -shown_MD.float())
    count = max(len(shown_MD), 1)
    return total / count, states_grad.div_(count).to(states_MD.dtype), items_grad.div_(count).to(items_ND.dtype)


def _bound_scores(states_MD: Tensor, vectors_ND: Tensor) -> float:
    """Return what no score is above."""
    return float(torch.linalg.vector_norm(states_MD, dim=1).max() * torch.linalg.vector_norm(vectors_ND, dim=1).max())
