"""The losses of next-item networks: M states, and the item that each should have led to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trialigngr.sequential.full_softmax import full_softmax_loss
from trialigngr.sequential.settings import LossName
from trialigngr.train.sampled_softmax import NegativeDraw, Vectors, compute_sampled_softmax

Loss = Callable[[Tensor, Tensor, Vectors, NegativeDraw], Tensor]


def compute_full_softmax(states_MD: Tensor, targets_M: Tensor, vectors: Vectors, _draw: NegativeDraw) -> Tensor:
    """Return the cross-entropy over all items."""
    return full_softmax_loss(states_MD, vectors(None), targets_M)


def compute_bce(states_MD: Tensor, targets_M: Tensor, vectors: Vectors, draw: NegativeDraw) -> Tensor:
    """Return −log σ(target) − log σ(−negative), the mean over a target's negatives."""
    own_M, other_MK = _score_pairs(states_MD, targets_M, vectors, draw)
    return -(logsigmoid(own_M) + logsigmoid(-other_MK).mean(1)).mean()


def compute_bpr(states_MD: Tensor, targets_M: Tensor, vectors: Vectors, draw: NegativeDraw) -> Tensor:
    """Return −log σ(target − negative) (Rendle et al., arXiv 1205.2618)."""
    own_M, other_MK = _score_pairs(states_MD, targets_M, vectors, draw)
    return -logsigmoid(own_M[:, None] - other_MK).mean()


def _score_pairs(states_MD: Tensor, targets_M: Tensor, vectors: Vectors, draw: NegativeDraw) -> tuple[Tensor, Tensor]:
    """Return the scores of targets [M] and of negatives of their own [M, K]."""
    own_M = (states_MD * vectors(targets_M)).sum(1)
    other_MK = torch.einsum("md,mkd->mk", states_MD, vectors(draw.draw_own(targets_M)))
    return own_M.float(), other_MK.float()


LOSSES: dict[LossName, Loss] = {
    "full_softmax": compute_full_softmax,
    "sampled_softmax": compute_sampled_softmax,
    "bce": compute_bce,
    "bpr": compute_bpr,
}
"""Name → loss."""
