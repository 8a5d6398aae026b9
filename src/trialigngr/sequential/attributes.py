"""The attributes of items, brand and categories, within a network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.sequential.blocks import make_embedding
from trialigngr.sequential.network import DataSizes


class AttributeVectors(nn.Module):
    """A vector of each of A attributes, and which of them an item bears, at most P. The network keeps both."""

    def __init__(self, sizes: DataSizes, size: int) -> None:
        super().__init__()
        self.vectors = make_embedding(sizes.num_attributes, size)
        self.numbers_NP: Tensor
        shape = (sizes.num_items, sizes.attributes_per_item)
        self.register_buffer("numbers_NP", torch.full(shape, -1, dtype=torch.int32))

    def read_attributes(self, attributes: ItemAttributes | None) -> None:
        """Note what each item bears."""
        if attributes is None:
            return
        counts_N = np.diff(attributes.offsets)
        columns = np.arange(len(attributes.numbers)) - np.repeat(attributes.offsets[:-1], counts_N)
        numbers_NP = np.full(self.numbers_NP.shape, -1, dtype=np.int32)
        numbers_NP[np.repeat(np.arange(len(counts_N)), counts_N), columns] = attributes.numbers
        self.numbers_NP.copy_(torch.from_numpy(numbers_NP))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors [..., P, D] of the attributes of items, and which of them are there [..., P]."""
        numbers = self.numbers_NP[rows].long()
        return self.vectors(numbers.clamp(min=0)), numbers >= 0

    def mark_attributes(self, rows_M: Tensor) -> Tensor:
        """Return A zeros and ones for each of some items [M, A]."""
        numbers_MP = self.numbers_NP[rows_M].long()
        # What is not there is marked behind the last attribute, and cut off.
        numbers_MP = torch.where(numbers_MP < 0, self.vectors.num_embeddings, numbers_MP)
        marks = torch.zeros(len(rows_M), self.vectors.num_embeddings + 1, device=rows_M.device)
        return marks.scatter_(1, numbers_MP, 1.0)[:, :-1]
