"""Gaps in histories: which places of a batch are hidden, and how."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from trialigngr.sequential.batches import SequenceBatch, TrainingBatch


def draw_hidden_places(batch: TrainingBatch, ratio: float, last_share: float = 0.0) -> Tensor:
    """Return which of a whole batch's M places are hidden: each with probability ``ratio``, and the last of each
    history; of a ``last_share`` of the histories that one alone."""
    owners_M = batch.inputs.owners_BT.flatten()[batch.places_M]
    lengths_U = owners_M.bincount()
    is_spared_U = torch.rand(len(lengths_U), device=owners_M.device) < last_share
    is_drawn_M = torch.rand(len(owners_M), device=owners_M.device) < ratio
    is_hidden_M = is_drawn_M & ~is_spared_U[owners_M]
    return is_hidden_M.index_fill(0, lengths_U.cumsum(0) - 1, True)


def draw_segments(batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """Return which of a whole batch's M places are within a stretch of each history, at most half of it; and which is
    the last place of each history."""
    owners_M, within_M = (rows.flatten()[batch.places_M] for rows in (batch.inputs.owners_BT, batch.inputs.places_BT))
    lengths_U = owners_M.bincount()
    dice_2U = torch.rand(2, len(lengths_U), device=lengths_U.device)
    widths_U = 1 + (dice_2U[0] * (lengths_U // 2)).long()
    starts_M = (dice_2U[1] * (lengths_U - widths_U + 1)).long()[owners_M]
    is_inside_M = (within_M >= starts_M) & (within_M < starts_M + widths_U[owners_M])
    return is_inside_M, batch.places_M[lengths_U.cumsum(0) - 1]


def hide_places(batch: SequenceBatch, places: Tensor, mask_row: int) -> SequenceBatch:
    """Return a batch with ``mask_row`` at some places, counted through the rows."""
    items_BT = batch.items_BT.flatten().index_fill(0, places, mask_row).view_as(batch.items_BT)
    return replace(batch, items_BT=items_BT)


def append_masks(batch: SequenceBatch, last_B: Tensor, mask_row: int) -> SequenceBatch:
    """Return histories that end at ``last_B`` with ``mask_row`` behind each."""
    lines_B, behind_B = torch.arange(len(last_B), device=last_B.device), last_B + 1
    items_BT, owners_BT = pad(batch.items_BT, (0, 1)), pad(batch.owners_BT, (0, 1), value=-1)
    places_BT = pad(batch.places_BT, (0, 1))
    items_BT[lines_B, behind_B], owners_BT[lines_B, behind_B], places_BT[lines_B, behind_B] = (
        mask_row,
        lines_B,
        behind_B,
    )
    return replace(batch, items_BT=items_BT, owners_BT=owners_BT, places_BT=places_BT)
