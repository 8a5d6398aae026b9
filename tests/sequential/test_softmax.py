"""The loss in chunks equals torch's cross-entropy, with its gradients; packed histories equal histories alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from trialigngr.sequential.full_softmax import CPU_CHUNK_SIZE, full_softmax_loss
from trialigngr.sequential.sasrec import SasRec, _PackedHistories
from trialigngr.sequential.settings import SasRecSettings


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


def test_packed_histories_see_only_their_own() -> None:
    torch.manual_seed(0)
    network = SasRec(SasRecSettings(hidden_size=16, num_heads=2, max_history=6, dropout=0), 30).network.eval()
    random = np.random.default_rng(0)
    pieces = [random.integers(0, 30, n) for n in (3, 5, 2, 7, 4, 2)]
    packed = _PackedHistories.from_pieces(pieces, 6, torch.device("cpu"))
    assert packed.inputs_BT.shape == (4, 6), "2 + 4, 1, 6, 3 + 1 inputs: in order, into the last row where they fit"
    states = network(packed.inputs_BT, packed.places_BT, packed.owners_BT)
    for owner, piece in enumerate(pieces):
        mine = packed.owners_BT == owner
        assert packed.inputs_BT[mine].tolist() == piece[:-1].tolist()
        assert packed.targets_BT[mine].tolist() == piece[1:].tolist()
        alone = network(torch.from_numpy(piece[:-1])[None])[0]
        torch.testing.assert_close(states[mine], alone, rtol=1e-4, atol=1e-5)
