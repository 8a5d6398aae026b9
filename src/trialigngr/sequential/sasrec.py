"""SASRec (Kang & McAuley, arXiv 1808.09781) with the softmax over all items (Klenitskiy & Vasilev, arXiv 2309.07602):
a causal transformer over item vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trialigngr.foundation.errors import RecipeError
from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.network import NextItemNetwork
from trialigngr.sequential.settings import SasRecSettings


class SasRec(NextItemNetwork[SasRecSettings]):
    """Self-attention over the history; several histories may stand in one row."""

    packs_histories = True

    def __init__(self, settings: SasRecSettings, num_items: int) -> None:
        super().__init__(settings, num_items)
        self.places = nn.Embedding(settings.max_history, settings.hidden_size)
        if settings.hidden_size % settings.num_heads:
            raise RecipeError(
                f"sasrec.hidden_size = {settings.hidden_size} cannot be shared by {settings.num_heads} heads; take a "
                "multiple of that."
            )
        layer = nn.TransformerEncoderLayer(
            settings.hidden_size, settings.num_heads, 4 * settings.hidden_size, settings.dropout, "gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(
            layer, settings.num_layers, nn.LayerNorm(settings.hidden_size), enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(settings.dropout)
        nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D]; an item sees those of its owner before it."""
        length, device = batch.items_BT.shape[1], batch.items_BT.device
        scaled_BTD = self.items(batch.items_BT) * math.sqrt(self.items.embedding_dim)
        hidden = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
        if batch.owners_BT is not None:
            others_BTT = hidden | (batch.owners_BT[:, :, None] != batch.owners_BT[:, None, :])
            hidden = others_BTT.repeat_interleave(self.settings.num_heads, 0)
        states_BTD: Tensor = self.layers(self.dropout(scaled_BTD + self.places(batch.places_BT)), mask=hidden)
        return states_BTD
