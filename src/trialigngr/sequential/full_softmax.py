"""Cross-entropy over all items without the logits of a batch in memory: a chunk's stay in the processor's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CPU_CHUNK_SIZE, CHUNK_SIZE = 128, 8192
"""Targets whose logits are there at a time: so many that they stay in a CPU's cache; elsewhere fewer, larger steps."""


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
    """Return the mean loss and its gradients for states and items."""
    vectors_ND, shown_MD = items_ND.detach().to(dtype), states_MD.detach().to(dtype)
    states_grad = torch.empty_like(shown_MD, dtype=torch.float32)
    items_grad = torch.zeros_like(vectors_ND, dtype=torch.float32)
    total = torch.zeros((), device=states_MD.device)
    chunk = CPU_CHUNK_SIZE if states_MD.device.type == "cpu" else CHUNK_SIZE
    for start in range(0, len(shown_MD), chunk):
        part_CD, own_C1 = shown_MD[start : start + chunk], targets_M[start : start + chunk, None]
        scores_CN = (part_CD @ vectors_ND.T).float()
        scores_CN -= scores_CN.amax(1, keepdim=True)
        found_C1 = scores_CN.gather(1, own_C1)
        sums_C1 = scores_CN.exp_().sum(1, keepdim=True)
        total += (sums_C1.log() - found_C1).sum()
        # The gradient of a target's scores: softmax − one-hot.
        scores_CN /= sums_C1
        scores_CN.scatter_add_(1, own_C1, torch.full_like(sums_C1, -1))
        slopes_CN = scores_CN.to(dtype)
        states_grad[start : start + chunk] = slopes_CN @ vectors_ND
        items_grad += slopes_CN.T @ part_CD
    count = max(len(shown_MD), 1)
    return total / count, states_grad.div_(count).to(states_MD.dtype), items_grad.div_(count).to(items_ND.dtype)
