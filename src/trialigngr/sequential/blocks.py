"""What several next-item networks are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from trialigngr.catalog.histories import Histories
from trialigngr.foundation.errors import RecipeError
from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.settings import TransformerSettings

INITIAL_STD = 0.02
"""Standard deviation of a new embedding's numbers."""


def make_embedding(num_rows: int, size: int, std: float = INITIAL_STD) -> nn.Embedding:
    """Return an embedding of small random numbers."""
    embedding = nn.Embedding(num_rows, size)
    nn.init.normal_(embedding.weight, std=std)
    return embedding


def check_heads(section: str, settings: TransformerSettings) -> None:
    """Raise `RecipeError` where heads cannot share the dimensions."""
    if settings.hidden_size % settings.num_heads:
        raise RecipeError(
            f"{section}.hidden_size = {settings.hidden_size} cannot be shared by {settings.num_heads} heads; take a "
            "multiple of that."
        )


def hide_others(batch: SequenceBatch, *, causal: bool) -> Tensor:
    """Return what a place must not see, true: histories of others and padding, and what comes later if ``causal``; as
    [T, T] where that is the same for all rows, or else [B, T, T]."""
    length, device = batch.items_BT.shape[1], batch.items_BT.device
    later_TT = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    if causal and not batch.is_packed:
        return later_TT
    others_BTT = batch.owners_BT[:, :, None] != batch.owners_BT[:, None, :]
    return others_BTT | later_TT if causal else others_BTT


class Transformer(nn.Module):
    """Layers of self-attention and feed-forward over vectors in which the places are already."""

    def __init__(self, section: str, settings: TransformerSettings, *, norm_first: bool = False) -> None:
        super().__init__()
        check_heads(section, settings)
        size, self.num_heads = settings.hidden_size, settings.num_heads
        layer = nn.TransformerEncoderLayer(
            size, settings.num_heads, 4 * size, settings.dropout, "gelu", batch_first=True, norm_first=norm_first
        )
        # Where each layer ends on a norm, another at the end would do nothing, but one stands before the first.
        norm = nn.LayerNorm(size)
        self.first = nn.Identity() if norm_first else norm
        self.layers = nn.TransformerEncoder(
            layer, settings.num_layers, norm if norm_first else None, enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, vectors_BTD: Tensor, batch: SequenceBatch, *, causal: bool = True) -> Tensor:
        """Return the states [B, T, D]; a place sees its own history, up to itself if ``causal``."""
        hidden = hide_others(batch, causal=causal)
        if hidden.dim() == 3:
            hidden = hidden.repeat_interleave(self.num_heads, 0)
        states_BTD: Tensor = self.layers(self.dropout(self.first(vectors_BTD)), mask=hidden)
        return states_BTD


class UserVectors(nn.Module):
    """A vector of each user who has a training part; the mean of those for everybody else. In training a place is left
    without, zeros, with probability ``dropout``, or what a user takes would be learned from nothing else."""

    def __init__(self, num_users: int, size: int, dropout: float) -> None:
        super().__init__()
        self.vectors, self.dropout = make_embedding(num_users, size), dropout
        self.known_U: Tensor
        self.register_buffer("known_U", torch.ones(num_users, dtype=torch.bool))

    def mark_known(self, histories: Histories) -> None:
        """Note whom the training knows."""
        self.known_U.copy_(torch.from_numpy(histories.valid_from > 1))

    def forward(self, users_BT: Tensor) -> Tensor:
        """Return the vectors [B, T, D] of users, −1 for a stranger; training knows none."""
        rows_BT = torch.where((users_BT >= 0) & (users_BT < len(self.known_U)), users_BT, 0)
        if self.training:
            kept_BT = torch.rand(rows_BT.shape, device=rows_BT.device) >= self.dropout
            own_BTD: Tensor = self.vectors(rows_BT) * kept_BT[..., None]
            return own_BTD
        known_BT = (rows_BT == users_BT) & self.known_U[rows_BT]
        mean_D = self.vectors.weight[self.known_U].mean(0)
        return torch.where(known_BT[..., None], self.vectors(rows_BT), mean_D)


class OutputVectors(nn.Module):
    """A table of items for scoring alone, and a number that is added to each item's score."""

    def __init__(self, num_items: int, size: int) -> None:
        super().__init__()
        self.vectors, self.biases = make_embedding(num_items, size, size**-0.5), make_embedding(num_items, 1, 0.0)

    def forward(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of some items, or of all, with the bias as their last dimension."""
        tables = (self.vectors, self.biases)
        return torch.cat([table.weight if rows is None else table(rows) for table in tables], -1)


def append_one(states: Tensor) -> Tensor:
    """Return states with a 1 behind them, which takes the bias of an item."""
    return torch.cat([states, torch.ones_like(states[..., :1])], -1)


def unfold_windows(vectors_BTD: Tensor, batch: SequenceBatch, width: int) -> tuple[Tensor, Tensor]:
    """Return the last ``width`` vectors of its own history up to each place [B, T, W, D], zeros where there are none,
    and where there are some [B, T, W]."""
    windows_BTWD = pad(vectors_BTD, (0, 0, width - 1, 0)).unfold(1, width, 1).transpose(2, 3)
    owners_BTW = pad(batch.owners_BT, (width - 1, 0), value=-2).unfold(1, width, 1)
    real_BTW = owners_BTW == batch.owners_BT[..., None]
    return windows_BTWD * real_BTW[..., None], real_BTW
