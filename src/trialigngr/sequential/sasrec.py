"""SASRec (Kang & McAuley, arXiv 1808.09781), by default with the softmax over all items (Klenitskiy & Vasilev, arXiv
2309.07602): a causal transformer over item vectors."""

from __future__ import annotations

import math

from torch import Tensor

from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.blocks import Transformer, make_embedding
from trialigngr.sequential.network import DataSizes, NextItemNetwork
from trialigngr.sequential.settings import SasRecSettings


class SasRec(NextItemNetwork[SasRecSettings]):
    """Self-attention over the history; several histories may stand in one row."""

    packs_histories = True

    def __init__(self, settings: SasRecSettings, sizes: DataSizes) -> None:
        super().__init__(settings, sizes)
        self.places = make_embedding(settings.max_history, settings.hidden_size)
        self.transformer = Transformer("sasrec", settings, norm_first=True)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D]; an item sees those of its owner before it."""
        scaled_BTD = self.items(batch.items_BT) * math.sqrt(self.items.embedding_dim)
        states_BTD: Tensor = self.transformer(scaled_BTD + self.places(batch.places_BT), batch)
        return states_BTD
