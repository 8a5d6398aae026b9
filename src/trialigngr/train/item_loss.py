"""`ItemLoss`: the items that targets stand for against others, beside the losses of their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from trialigngr.models.item_layer import ItemLayer
from trialigngr.train.sampled_softmax import NegativeDraw, compute_sampled_softmax


@dataclass(frozen=True)
class ItemLoss:
    """Cross-entropy of an item among those drawn, from the state that its SID's first token is predicted from; and how
    far what is made of that state points away from the item's embedding. Each by its weight in the settings."""

    items: ItemLayer
    draw: NegativeDraw

    def add_to(self, losses_M: Tensor, hidden_MD: Tensor, item_M: Tensor) -> Tensor:
        """Return the losses of target tokens, where a SID begins with that of its item: each with the pass' mean,
        whose sum is the sum of all. ``item_M`` is −1 where none begins."""
        places = torch.nonzero(item_M >= 0)[:, 0]
        if not len(places):
            return losses_M
        mean = self._compute_mean(hidden_MD.index_select(0, places), item_M[places])
        return losses_M.index_add(0, places, mean.expand(len(places)))

    def _compute_mean(self, states_PD: Tensor, item_P: Tensor) -> Tensor:
        settings, mean = self.items.settings, states_PD.new_zeros(())
        if settings.loss_weight:
            queries_PH = self.items.query(states_PD)
            own = compute_sampled_softmax(queries_PH, item_P, self.items.find_vectors, self.draw)
            mean = mean + settings.loss_weight * own
        if self.items.align is not None:
            likeness_P = cosine_similarity(self.items.align(states_PD), self.items.features_NF[item_P])
            mean = mean + settings.alignment_weight * (1 - likeness_P).mean()
        return mean
