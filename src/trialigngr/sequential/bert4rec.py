"""BERT4Rec (Sun et al., CIKM 2019, arXiv 1904.06690): a transformer that sees both sides and learns to fill gaps."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from trialigngr.catalog.queries import Rows
from trialigngr.sequential.batches import HistoryPieces, SequenceBatch, TrainingBatch
from trialigngr.sequential.blocks import Transformer, append_one, make_embedding
from trialigngr.sequential.cloze import append_masks, draw_hidden_places, hide_places
from trialigngr.sequential.network import DataSizes, NextItemNetwork
from trialigngr.sequential.settings import Bert4RecSettings

LAST_SHARE = 0.5
"""Share of the histories of which the last item alone is hidden, as it is when the network is asked."""


class Bert4Rec(NextItemNetwork[Bert4RecSettings]):
    """Items are hidden behind a mask, the last row of the table, and told from their neighbours. What follows a history
    is told from a mask behind it."""

    def __init__(self, settings: Bert4RecSettings, sizes: DataSizes) -> None:
        super().__init__(settings, sizes)
        size = settings.hidden_size
        self.items = make_embedding(sizes.num_items + 1, size)
        self.biases = make_embedding(sizes.num_items, 1, 0.0)
        self.places = make_embedding(settings.max_history + 1, size)
        self.transformer = Transformer("bert4rec", settings)
        self.head = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D + 1]; a place sees its whole history."""
        vectors_BTD = self.items(batch.items_BT) + self.places(batch.places_BT)
        return append_one(self.head(self.transformer(vectors_BTD, batch, causal=False)))

    def find_vectors(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of some items, or of all N, with their bias as the last dimension."""
        tables = (self.items.weight[:-1], self.biases.weight)
        return torch.cat([table if rows is None else table[rows] for table in tables], -1)

    def encode_queries(self, batch: SequenceBatch, last_B: Tensor) -> Tensor:
        """Return the state [B, D + 1] of a mask behind each history."""
        wider = append_masks(batch, last_B, self.items.num_embeddings - 1)
        return super().encode_queries(wider, last_B + 1)

    def build_batch(self, pieces: HistoryPieces, chosen: Rows, number: int) -> TrainingBatch:
        """Return pieces, whole."""
        return pieces.build_whole_batch(chosen, number)

    def hide_targets(self, batch: TrainingBatch) -> TrainingBatch:
        """Return a batch in which some items stand behind the mask and are the targets."""
        is_hidden_M = draw_hidden_places(batch, self.settings.mask_ratio, LAST_SHARE)
        places_M, targets_M = batch.places_M[is_hidden_M], batch.targets_M[is_hidden_M]
        inputs = hide_places(batch.inputs, places_M, self.items.num_embeddings - 1)
        return replace(batch, inputs=inputs, places_M=places_M, targets_M=targets_M)
