"""Attention of a `MicroBatch`: each row looks at the header and at itself, rows of like length computed together.

A mask over all tokens of a batch would be almost empty, and its cost grows with the square of the batch. Here the
rows are laid side by side in a few blocks; a block's scores are [rows, heads, length, header + length]. On a GPU
`trialigngr.train.flex` can compute the same without laying anything out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AttentionInterface

from trialigngr.foundation.device import to_device
from trialigngr.tasks.packing import Int64Array, MicroBatch
from trialigngr.train import flex

BoolArray = npt.NDArray[np.bool_]

ATTENTION_NAME = "shared_prefix"
MIN_LENGTH_RATIO = 0.75
"""Sheets share a block down to this share of its longest: less padding against fewer calls."""
_MASKED_SCORE = torch.finfo(torch.bfloat16).min


@dataclass(frozen=True)
class PaddedBlock:
    """S rows of at most L tokens; the additive mask is [S, 1, L, keys] (0 seen, lowest not)."""

    num_rows: int
    length: int
    mask: Tensor


@dataclass(frozen=True)
class BlockLayout:
    """How the T tokens of a micro-batch lie in blocks: the header first, then the rows.

    ``places_P`` is the token at each place of the blocks (0 where nothing stands), ``inverse_T`` the place of a token.
    """

    header_length: int
    blocks: list[PaddedBlock]
    places_P: Tensor
    inverse_T: Tensor

    @classmethod
    def from_micro_batch(cls, micro_batch: MicroBatch, device: torch.device) -> BlockLayout:
        """Lay a micro-batch out."""
        blocks, places = [], [np.arange(micro_batch.header_length)]
        masks = [np.tril(np.ones((1, micro_batch.header_length, micro_batch.header_length), dtype=bool))]
        for places_SL, inside_SL in _iter_padded_groups(micro_batch):
            places.append(places_SL.ravel() * inside_SL.ravel() - ~inside_SL.ravel())
            masks.append(_visible_mask(micro_batch, places_SL, inside_SL))
        for seen in masks:
            hidden = to_device(~seen, device)[:, None]
            mask = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, _MASKED_SCORE)
            blocks.append(PaddedBlock(len(seen), seen.shape[1], mask))
        places_P = np.concatenate(places)
        inverse_T = np.zeros(len(micro_batch.tokens_T), dtype=np.int64)
        inverse_T[places_P[places_P >= 0]] = np.flatnonzero(places_P >= 0)
        found = (np.maximum(places_P, 0), inverse_T)
        return cls(micro_batch.header_length, blocks, *(to_device(array, device) for array in found))


def _iter_padded_groups(micro_batch: MicroBatch) -> Iterator[tuple[Int64Array, BoolArray]]:
    """Yield blocks of rows as places [S, L] of their tokens, and which of them are within the row."""
    lengths_S = micro_batch.row_lengths_S
    starts_S = micro_batch.header_length + np.cumsum(lengths_S) - lengths_S
    first = 0
    while first < len(lengths_S):
        length = int(lengths_S[first])
        last = int(np.searchsorted(-lengths_S, -MIN_LENGTH_RATIO * length, side="right"))
        offsets_L = np.arange(length)
        yield starts_S[first:last, None] + offsets_L, offsets_L < lengths_S[first:last, None]
        first = last


def _visible_mask(micro_batch: MicroBatch, places_SL: Int64Array, inside_SL: BoolArray) -> BoolArray:
    """Return which keys [S, L, header + L] each query sees; one beyond the row's end sees the header alone."""
    query_1L1 = np.arange(places_SL.shape[1])[None, :, None]
    key_11L = query_1L1.transpose(0, 2, 1)
    inside = np.where(inside_SL, places_SL, 0)
    cut_SL1, own_SL1 = micro_batch.prefix_length_T[inside][..., None], micro_batch.own_start_T[inside][..., None]
    own = (key_11L < cut_SL1) | ((key_11L >= own_SL1) & (key_11L <= query_1L1))
    own &= inside_SL[..., None] | (key_11L == query_1L1)
    return np.concatenate([np.ones((*places_SL.shape, micro_batch.header_length), dtype=bool), own], axis=2)


class _GatherRows(torch.autograd.Function):
    """Rows laid out in blocks. A token stands in one place, so the gradient is laid back, with no sum."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, inverse: Tensor) -> Tensor:
        """Return rows [P, D] of rows [T, D]."""
        ctx.save_for_backward(inverse)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the T rows; what stands in no token's place is left out."""
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(0, inverse), None, None


def shared_prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: BlockLayout | flex.FlexLayout,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Return what the T tokens of one pass attend to, [1, T, H, D], as `transformers` asks for it."""
    if more.get("s_aux") is not None:
        raise ValueError("its attention has sinks")
    # Rotated queries and keys are fp32 where autocast made the values bf16; half of it is to be laid out.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if isinstance(layout, flex.FlexLayout):
        return flex.flex_shared_prefix_attention(query, key, value, layout, scaling, dropout, softcap), None
    groups = query.shape[1] // key.shape[1]
    laid = [_gather_tokens(part, layout) for part in (query, _repeat_kv(key, groups), _repeat_kv(value, groups))]
    header = [part[: layout.header_length] for part in laid]
    attention = _eager_attention if query.device.type == "cpu" else _fused_attention
    if softcap:
        attention = partial(_eager_attention, softcap=softcap)
    found, start = [], 0
    for number, block in enumerate(layout.blocks):
        stop = start + block.num_rows * block.length
        q, k, v = (part[start:stop].unflatten(0, (block.num_rows, block.length)).transpose(1, 2) for part in laid)
        if number:
            k, v = (_prepend_header(shared, own) for shared, own in zip(header[1:], (k, v), strict=True))
        found.append(attention(q, k, v, block.mask, scaling, dropout).transpose(1, 2).flatten(0, 1))
        start = stop
    return torch.cat(found).index_select(0, layout.inverse_T)[None], None


def _repeat_kv(part: Tensor, groups: int) -> Tensor:
    return part if groups == 1 else part.repeat_interleave(groups, dim=1)


def _gather_tokens(part: Tensor, layout: BlockLayout) -> Tensor:
    """Return [P, H, D] of [1, H, T, D]."""
    _, heads, _, width = part.shape
    rows = part[0].transpose(0, 1).reshape(-1, heads * width)
    laid: Tensor = _GatherRows.apply(rows, layout.places_P, layout.inverse_T)  # type: ignore[no-untyped-call]
    return laid.unflatten(1, (heads, width))


def _prepend_header(shared_PHD: Tensor, own: Tensor) -> Tensor:
    """Return keys or values [S, H, header + L, D]: the header's before each row's own."""
    shared = shared_PHD.transpose(0, 1).expand(own.shape[0], -1, -1, -1)
    return torch.cat([shared, own], dim=2)


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float, dropout: float) -> Tensor:
    fused = torch.nn.functional.scaled_dot_product_attention
    return fused(q, k, v, mask.to(q.dtype), dropout_p=dropout, scale=scaling)


def _eager_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float, dropout: float, softcap: float | None = None
) -> Tensor:
    """Measured (docs/log): with a mask, fused attention is three times slower than plain matmuls on a CPU."""
    scores = (q * scaling) @ k.transpose(2, 3)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    weights = torch.softmax(scores + mask, dim=-1, dtype=torch.float32).to(v.dtype)
    return torch.nn.functional.dropout(weights, dropout) @ v


AttentionInterface.register(ATTENTION_NAME, shared_prefix_attention)
