"""Cross-entropy over items, of which only some are scored: M states, and the item that each should have led to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trialigngr.catalog.queries import Rows

COUNT_POWER = 0.5
"""Negatives that a batch shares are drawn by this power of their counts, as GRU4Rec's (Hidasi & Karatzoglou 2018)."""
LOTS = 1000
"""Of an item that was taken once."""


@dataclass(frozen=True)
class NegativeDraw:
    """How ``num_negatives`` are drawn: each item has a whole number of lots, by a power of its count.

    ``lots_N`` are those of all items up to each, ``log_shares_N`` the logarithms of each one's share.
    """

    num_negatives: int
    lots_N: Tensor
    log_shares_N: Tensor

    @classmethod
    def from_counts(cls, num_negatives: int, counts_N: Rows, device: torch.device) -> NegativeDraw:
        """Prepare drawing. An item that was never taken counts as one taken once."""
        own_N = (LOTS * torch.from_numpy(counts_N).clamp(min=1).double() ** COUNT_POWER).long()
        return cls(num_negatives, own_N.cumsum(0).to(device), (own_N / own_N.sum()).log().float().to(device))

    def draw_shared(self) -> Tensor:
        """Return items [K] by their shares."""
        lots_K = torch.randint(int(self.lots_N[-1]), (self.num_negatives,), device=self.lots_N.device)
        return torch.searchsorted(self.lots_N, lots_K, right=True)

    def draw_own(self, targets_M: Tensor) -> Tensor:
        """Return items [M, K], each as likely as any other, but never a line's target."""
        num_items = len(self.lots_N)
        shape = (len(targets_M), self.num_negatives)
        steps_MK = torch.randint(1, max(num_items, 2), shape, device=targets_M.device)
        return (targets_M[:, None] + steps_MK) % num_items


Vectors = Callable[[Tensor | None], Tensor]
"""Returns the vectors of some items, or of all."""


def compute_sampled_softmax(states_MD: Tensor, targets_M: Tensor, vectors: Vectors, draw: NegativeDraw) -> Tensor:
    """Return the cross-entropy of each target among negatives that all share. The logarithm of how likely it is to be
    drawn is taken from each score (logQ), so that the best scores are those of the softmax over all items."""
    negatives_K = draw.draw_shared()
    own_M1 = (states_MD * vectors(targets_M)).sum(1, keepdim=True) - draw.log_shares_N[targets_M][:, None]
    other_MK = states_MD @ vectors(negatives_K).T - draw.log_shares_N[negatives_K]
    other_MK = other_MK.masked_fill(negatives_K == targets_M[:, None], -torch.inf)
    return cross_entropy(torch.cat([own_M1, other_MK], 1).float(), torch.zeros_like(targets_M))
