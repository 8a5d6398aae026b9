"""Caser (Tang & Wang, WSDM 2018): convolutions over the last few items as over a picture, and the user."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.blocks import OutputVectors, UserVectors, append_one, unfold_windows
from trialigngr.sequential.network import DataSizes
from trialigngr.sequential.settings import CaserSettings
from trialigngr.sequential.windows import WindowNetwork

NUM_HORIZONTAL, NUM_VERTICAL = 16, 4
"""Filters: of each height over whole vectors, and over all places of one dimension."""


class Caser(WindowNetwork[CaserSettings]):
    """What follows is told by filters over the window and by the user, over an item table of its own. A history shorter
    than the window begins with zeros."""

    def __init__(self, settings: CaserSettings, sizes: DataSizes) -> None:
        super().__init__(settings, sizes)
        width, size = settings.max_history, settings.hidden_size
        self.horizontal = nn.ModuleList(nn.Conv1d(size, NUM_HORIZONTAL, height + 1) for height in range(width))
        self.vertical = nn.Linear(width, NUM_VERTICAL)
        self.dropout = nn.Dropout(settings.dropout)
        self.projection = nn.Linear(NUM_HORIZONTAL * width + NUM_VERTICAL * size, size)
        self.users, self.outputs = (
            UserVectors(sizes.num_users, size, settings.user_dropout),
            OutputVectors(sizes.num_items, 2 * size),
        )

    def read_data(self, histories: Histories, attributes: ItemAttributes | None) -> None:
        """Note whom the training knows."""
        self.users.mark_known(histories)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, 2D + 1]."""
        windows_BTWD, _ = unfold_windows(self.items(batch.items_BT), batch, self.settings.max_history)
        windows_MDW = windows_BTWD.flatten(0, 1).transpose(1, 2)
        pooled = [torch.relu(convolve(windows_MDW)).amax(2) for convolve in self.horizontal]
        seen_MF = torch.cat([*pooled, self.vertical(windows_MDW).flatten(1)], 1)
        taste_MD = torch.relu(self.projection(self.dropout(seen_MF)))
        taste_BTD = taste_MD.unflatten(0, batch.items_BT.shape)
        return append_one(torch.cat([taste_BTD, self.users(batch.users_BT)], -1))

    def find_vectors(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of some items, or of all N, in the table for scoring."""
        found: Tensor = self.outputs(rows)
        return found
