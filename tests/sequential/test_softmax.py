"""The loss in chunks equals torch's cross-entropy, with its gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from trialigngr.sequential.full_softmax import CPU_CHUNK_SIZE, full_softmax_loss


def tensors(targets: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dice = torch.Generator().manual_seed(targets)
    states = (scale * torch.randn(targets, 8, generator=dice)).requires_grad_()
    items = torch.randn(30, 8, generator=dice).requires_grad_()
    return states, items, torch.randint(0, 30, (targets,), generator=dice)


@pytest.mark.parametrize("targets", [1, CPU_CHUNK_SIZE, 2 * CPU_CHUNK_SIZE + 7])
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_equals_cross_entropy(targets: int, scale: float) -> None:
    states, items, wanted = tensors(targets, scale)
    ours = full_softmax_loss(2 * states, items, wanted)
    (3 * ours).backward()
    mine = (states.grad, items.grad)
    states.grad = items.grad = None
    theirs = cross_entropy(2 * states @ items.T, wanted)
    (3 * theirs).backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for found, expected in zip(mine, (states.grad, items.grad), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_in_bf16_it_is_near() -> None:
    states, items, wanted = tensors(300)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = full_softmax_loss(states, items, wanted)
    ours.backward()
    assert states.grad is not None
    assert states.grad.dtype == torch.float32
    torch.testing.assert_close(ours, cross_entropy(states @ items.T, wanted), rtol=0.02, atol=0.02)
