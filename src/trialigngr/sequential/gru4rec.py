"""GRU4Rec (Hidasi et al., arXiv 1511.06939): a recurrent network over item vectors; here with one vector table for what
is read and what is scored."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.network import DataSizes, NextItemNetwork
from trialigngr.sequential.settings import Gru4RecSettings


class Gru4Rec(NextItemNetwork[Gru4RecSettings]):
    """One layer of gated recurrent units, whose state is brought to the size of an item's vector."""

    def __init__(self, settings: Gru4RecSettings, sizes: DataSizes) -> None:
        super().__init__(settings, sizes)
        self.dropout = nn.Dropout(settings.dropout)
        self.recurrence = nn.GRU(settings.hidden_size, settings.hidden_size, batch_first=True)
        self.projection = nn.Linear(settings.hidden_size, settings.hidden_size)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D]."""
        states_BTD, _ = self.recurrence(self.dropout(self.items(batch.items_BT)))
        found_BTD: Tensor = self.projection(torch.tanh(states_BTD))
        return found_BTD
