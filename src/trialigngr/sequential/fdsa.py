"""FDSA (Zhang et al., IJCAI 2019): two streams of self-attention, over items and over what attributes they bear."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.sequential.attributes import AttributeVectors
from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.blocks import Transformer, make_embedding
from trialigngr.sequential.network import DataSizes, NextItemNetwork
from trialigngr.sequential.settings import FdsaSettings


class Fdsa(NextItemNetwork[FdsaSettings]):
    """Both streams see the same places; their states side by side become one of the size of an item's vector."""

    packs_histories = True

    def __init__(self, settings: FdsaSettings, sizes: DataSizes) -> None:
        super().__init__(settings, sizes)
        size = settings.hidden_size
        self.attributes = AttributeVectors(sizes, size)
        self.weigh = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 1))
        self.places = make_embedding(settings.max_history, size)
        self.item_stream, self.attribute_stream = Transformer("fdsa", settings), Transformer("fdsa", settings)
        self.projection = nn.Sequential(nn.Linear(2 * size, size), nn.LayerNorm(size), nn.Dropout(settings.dropout))

    def read_data(self, histories: Histories, attributes: ItemAttributes | None) -> None:
        """Note what each item bears."""
        self.attributes.read_attributes(attributes)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D]."""
        places_BTD = self.places(batch.places_BT)
        items_BTD = self.item_stream(self.items(batch.items_BT) + places_BTD, batch)
        borne_BTD = self.attribute_stream(self._pool_attributes(batch.items_BT) + places_BTD, batch)
        states_BTD: Tensor = self.projection(torch.cat([items_BTD, borne_BTD], -1))
        return states_BTD

    def _pool_attributes(self, items_BT: Tensor) -> Tensor:
        """Return the weighted mean [B, T, D] of what each item bears; zeros where that is nothing."""
        vectors_BTPD, there_BTP = self.attributes(items_BT)
        weights_BTP = self.weigh(vectors_BTPD)[..., 0].masked_fill(~there_BTP, -1e4).softmax(-1) * there_BTP
        return (weights_BTP[..., None] * vectors_BTPD).sum(2)
