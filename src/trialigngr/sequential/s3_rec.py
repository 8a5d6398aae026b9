"""S3-Rec (Zhou et al., CIKM 2020, arXiv 2008.07873): a transformer that first learns how items, attributes and
stretches of a history belong together, then what comes next."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.sequential.attributes import AttributeVectors
from trialigngr.sequential.batches import SequenceBatch, TrainingBatch
from trialigngr.sequential.blocks import Transformer, make_embedding
from trialigngr.sequential.cloze import draw_hidden_places, draw_segments
from trialigngr.sequential.network import DataSizes, NextItemNetwork
from trialigngr.sequential.settings import S3RecSettings

MASK_RATIO = 0.2
LOSS_WEIGHTS = (0.2, 1.0, 1.0, 0.5)
"""Of the losses: attributes of an item that is shown; a hidden item, and its attributes; a hidden stretch."""


class S3Rec(NextItemNetwork[S3RecSettings]):
    """Self-attention over the history, to both sides in the pre-training. The item table has a row more, the mask."""

    packs_histories = True

    def __init__(self, settings: S3RecSettings, sizes: DataSizes) -> None:
        super().__init__(settings, sizes)
        size = settings.hidden_size
        self.items = make_embedding(sizes.num_items + 1, size)
        self.places = make_embedding(settings.max_history + 1, size)
        self.transformer = Transformer("s3_rec", settings)
        self.attributes = AttributeVectors(sizes, size)
        self.associated, self.item_gap, self.attribute_gap, self.segment = (nn.Linear(size, size) for _ in range(4))

    def read_data(self, histories: Histories, attributes: ItemAttributes | None) -> None:
        """Note what each item bears."""
        self.attributes.read_attributes(attributes)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D]."""
        return self.encode(batch, causal=True)

    def encode(self, batch: SequenceBatch, *, causal: bool) -> Tensor:
        """Return the states [B, T, D]; to both sides unless ``causal``."""
        vectors_BTD = self.items(batch.items_BT) + self.places(batch.places_BT)
        states_BTD: Tensor = self.transformer(vectors_BTD, batch, causal=causal)
        return states_BTD

    def find_vectors(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of some items, or of all N."""
        return self.items.weight[:-1] if rows is None else self.items(rows)

    @property
    def pretrain_epochs(self) -> int:
        """Passes over the users with the four losses."""
        return self.settings.pretrain_epochs

    def compute_pretraining_loss(self, batch: TrainingBatch) -> Tensor:
        """Return the four losses, summed over the places of the batch, of a history."""
        hidden_M = draw_hidden_places(batch, MASK_RATIO)
        shown_M = batch.targets_M.masked_fill(hidden_M, self.items.num_embeddings - 1)
        states_MD = self._encode_shown(batch, shown_M)[batch.places_M]
        marks_MA, gaps_GD = self.attributes.mark_attributes(batch.targets_M), states_MD[hidden_M]
        strangers_G = torch.randint(self.items.num_embeddings - 1, (len(gaps_GD),), device=gaps_GD.device)
        own_GD, other_GD = self.items(batch.targets_M[hidden_M]), self.items(strangers_G)
        losses = (
            self._tell_attributes(self.associated(states_MD[~hidden_M]), marks_MA[~hidden_M]),
            tell_apart(self.item_gap(gaps_GD), own_GD, other_GD),
            self._tell_attributes(self.attribute_gap(gaps_GD), marks_MA[hidden_M]),
            self._tell_segments(batch),
        )
        weighted = [weight * loss for weight, loss in zip(LOSS_WEIGHTS, losses, strict=True)]
        return torch.stack(weighted).sum() / (batch.inputs.owners_BT.max() + 1)

    def _tell_attributes(self, states_MD: Tensor, marks_MA: Tensor) -> Tensor:
        """Return how badly states tell the attributes of their items."""
        scores_MA = states_MD @ self.attributes.vectors.weight.T
        return binary_cross_entropy_with_logits(scores_MA, marks_MA, reduction="sum")

    def _tell_segments(self, batch: TrainingBatch) -> Tensor:
        """Return how badly histories without a stretch tell that stretch from another of the batch."""
        is_inside_M, last_U = draw_segments(batch)
        shift = int(torch.randint(1, max(len(batch.targets_M), 2), ()))
        mask_row = self.items.num_embeddings - 1
        shown = (
            batch.targets_M.masked_fill(is_inside_M, mask_row),
            batch.targets_M.masked_fill(~is_inside_M, mask_row),
            batch.targets_M.roll(shift).masked_fill(~is_inside_M, mask_row),
        )
        context_UD, own_UD, other_UD = (self._encode_shown(batch, shown_M)[last_U] for shown_M in shown)
        return tell_apart(self.segment(context_UD), own_UD, other_UD)

    def _encode_shown(self, batch: TrainingBatch, shown_M: Tensor) -> Tensor:
        """Return the states, row behind row, of a batch that shows other items."""
        rows_BT = batch.inputs.items_BT
        items_BT = rows_BT.flatten().index_copy(0, batch.places_M, shown_M).view_as(rows_BT)
        return self.encode(replace(batch.inputs, items_BT=items_BT), causal=False).flatten(0, 1)


def tell_apart(states: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Return −log σ(σ(state · own) − σ(state · other)), summed."""
    scores = [torch.sigmoid((states * vectors).sum(-1)) for vectors in (own, other)]
    return -logsigmoid(scores[0] - scores[1]).sum()
