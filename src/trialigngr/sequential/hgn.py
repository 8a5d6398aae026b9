"""HGN (Ma et al., KDD 2019, arXiv 1906.09217): gates choose dimensions and items of the last few items by the user."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.blocks import OutputVectors, UserVectors, append_one, unfold_windows
from trialigngr.sequential.network import DataSizes
from trialigngr.sequential.settings import HgnSettings
from trialigngr.sequential.windows import WindowNetwork


class Hgn(WindowNetwork[HgnSettings]):
    """The user, the gated items and the plain ones, each times an item's vector of a table of its own. Dropout is on
    the item vectors."""

    def __init__(self, settings: HgnSettings, sizes: DataSizes) -> None:
        super().__init__(settings, sizes)
        width, size = settings.max_history, settings.hidden_size
        self.dropout = nn.Dropout(settings.dropout)
        self.feature_gate, self.user_features = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        self.instance_gate, self.user_instances = nn.Linear(size, 1, bias=False), nn.Linear(size, width, bias=False)
        self.users, self.outputs = (
            UserVectors(sizes.num_users, size, settings.user_dropout),
            OutputVectors(sizes.num_items, size),
        )

    def read_data(self, histories: Histories, attributes: ItemAttributes | None) -> None:
        """Note whom the training knows."""
        self.users.mark_known(histories)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D + 1]."""
        users_BTD, vectors_BTD = self.users(batch.users_BT), self.dropout(self.items(batch.items_BT))
        windows_BTWD, real_BTW = unfold_windows(vectors_BTD, batch, self.settings.max_history)
        features = self.feature_gate(windows_BTWD) + self.user_features(users_BTD)[:, :, None]
        gated_BTWD = windows_BTWD * torch.sigmoid(features)
        weights_BTW = torch.sigmoid(self.instance_gate(gated_BTWD)[..., 0] + self.user_instances(users_BTD)) * real_BTW
        mean_BTD = (weights_BTW[..., None] * gated_BTWD).sum(2) / weights_BTW.sum(2, keepdim=True)
        return append_one(users_BTD + mean_BTD + windows_BTWD.sum(2))

    def find_vectors(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of some items, or of all N, in the table for scoring."""
        found: Tensor = self.outputs(rows)
        return found
