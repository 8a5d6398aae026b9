"""`ItemLoss`: the items that targets stand for against others, beside the losses of their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trialigngr.models.item_layer import ItemLayer
from trialigngr.train.sampled_softmax import NegativeDraw, compute_sampled_softmax


@dataclass(frozen=True)
class ItemLoss:
    """Cross-entropy of an item among those drawn, from the state that its SID's first token is predicted from."""

    items: ItemLayer
    draw: NegativeDraw
    weight: float

    def add_to(self, losses_M: Tensor, hidden_MD: Tensor, item_M: Tensor) -> Tensor:
        """Return the losses of target tokens, where a SID begins with that of its item: each with the pass' mean,
        whose sum is the sum of all. ``item_M`` is −1 where none begins."""
        places = torch.nonzero(item_M >= 0)[:, 0]
        if not len(places):
            return losses_M
        states_PH = self.items.query(hidden_MD.index_select(0, places))
        mean = compute_sampled_softmax(states_PH, item_M[places], self.items.find_vectors, self.draw)
        return losses_M.index_add(0, places, (self.weight * mean).expand(len(places)))
