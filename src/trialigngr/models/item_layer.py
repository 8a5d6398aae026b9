"""`ItemLayer`: a vector for each item beside the tokens of its SID: histories show it, states are scored against it.

A token below 0 stands for the last token of a shown item: that of row r is ~r, which is −1 − r. So prompts and packed
rows stay lists of numbers, and an item keeps its own vector where another one shares its SID.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

if TYPE_CHECKING:  # a GPU's machine may lack pydantic (benchmarks/train_gpu.py)
    from trialigngr.models.settings import ItemSettings

ROW_STD = 0.05
SHOWN_DROPOUT, STATE_DROPOUT = 0.2, 0.3
ItemHead = Callable[[Tensor], Tensor]
"""Returns the share [B, N] of each item in what comes next, from the hidden states [B, D] at the ends of prompts."""


class ItemLayer(nn.Module):
    """v = r + P x for each of N items: r a row of its own, x its embedding, which is not trained.

    Items from ``num_rows`` on came after the training and have no row: v = P x. The layer that shows vectors begins
    with zeros, so that a model begins as it is without.
    """

    features_NF: Tensor
    last_token_N: Tensor

    def __init__(
        self, settings: ItemSettings, model_size: int, num_rows: int, features_NF: Tensor, last_token_N: Tensor
    ) -> None:
        """``last_token_N`` are the last tokens of the items' SIDs; ``model_size`` is that of the hidden states."""
        super().__init__()
        self.settings, size = settings, settings.hidden_size
        self.rows = nn.Embedding(num_rows, size)
        self.projection = nn.Linear(features_NF.shape[1], size, bias=False)
        self.shown = nn.Linear(size, model_size, bias=False)
        self.query = nn.Sequential(nn.LayerNorm(model_size), nn.Dropout(STATE_DROPOUT), nn.Linear(model_size, size))
        self.align = nn.Linear(model_size, features_NF.shape[1]) if settings.alignment_weight else None
        nn.init.normal_(self.rows.weight, std=ROW_STD)
        nn.init.zeros_(self.shown.weight)
        self.register_buffer("features_NF", features_NF, persistent=False)
        self.register_buffer("last_token_N", last_token_N, persistent=False)

    def with_catalog(self, features_NF: Tensor, last_token_N: Tensor) -> ItemLayer:
        """Return the same layer, parameters shared, over a catalogue that has grown."""
        with torch.device("meta"):
            size, num_rows = self.shown.out_features, self.rows.num_embeddings
            grown = ItemLayer(self.settings, size, num_rows, features_NF, last_token_N)
        grown.load_state_dict(self.state_dict(), assign=True)
        return grown.to(self.rows.weight.device).train(self.training)

    def find_vectors(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of some items, or of all N. In training each goes without its row now and then."""
        rows = torch.arange(len(self.features_NF), device=self.features_NF.device) if rows is None else rows
        has_row = rows < (self.rows.num_embeddings if self.settings.row_dropout < 1 else 0)
        if self.training:
            has_row = has_row & (torch.rand(rows.shape, device=rows.device) >= self.settings.row_dropout)
        own = self.rows(rows.clamp(max=self.rows.num_embeddings - 1)) * has_row[..., None]
        found: Tensor = own + self.projection(self.features_NF[rows])
        return found

    def embed_tokens(self, model: Any, tokens: Tensor) -> Tensor:
        """Return the embeddings [..., D] of tokens, to that of a shown item's last one its vector added."""
        is_item = tokens < 0
        rows = ~tokens[is_item]
        embedded: Tensor = model.get_input_embeddings()(tokens.masked_scatter(is_item, self.last_token_N[rows]))
        added = self.shown(dropout(self.find_vectors(rows), SHOWN_DROPOUT, self.training))
        return embedded.index_put((is_item,), added.to(embedded.dtype), accumulate=True)

    @torch.no_grad()
    def build_head(self) -> ItemHead:
        """Return what scores all items, with their vectors as they are now."""
        vectors_NH = self.find_vectors(None)

        def compute_shares(hidden_BD: Tensor) -> Tensor:
            with torch.autocast(hidden_BD.device.type, enabled=False):
                logits_BN: Tensor = self.query(hidden_BD.float()) @ vectors_NH.T
            return logits_BN.softmax(-1)

        return compute_shares


def name_inputs(model: Any, items: ItemLayer | None, tokens: Tensor) -> dict[str, Tensor]:
    """Return tokens as the argument that a model of `transformers` reads them by."""
    return {"input_ids": tokens} if items is None else {"inputs_embeds": items.embed_tokens(model, tokens)}
