"""FlexAttention over a whole `MicroBatch` (Dong et al. 2024): blocks of the mask in which nobody sees anybody are
skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, FlexKernelOptions, flex_attention

from trialigngr.foundation.device import to_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks.packing import Int64Array, MicroBatch

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
BLOCK_SIZE = 128
"""Queries and keys of a block of the mask."""
BLOCKS_PER_HEADER_COPY = 2
"""Blocks of queries that look at one copy of the header. One for all would be the work of one processor, while all
others have long finished theirs (docs/log)."""

KERNEL_OPTIONS: FlexKernelOptions = {"BACKEND": "TRITON"}
"""Not the kernel for decoding, which torch would choose for a short pass, and finds no way to compile."""


@dataclass(frozen=True)
class FlexLayout:
    """The mask of T queries, the same for all heads, over the T tokens and C copies of the header's H tokens behind
    them; ``copies_CH`` has their number and length for its shape."""

    mask: BlockMask
    copies_CH: Tensor

    @classmethod
    def from_micro_batch(cls, micro_batch: MicroBatch, device: torch.device) -> FlexLayout:
        """Lay a micro-batch out. Which blocks hold a key that is seen is known from the rows' places, so no T by T
        matrix is made: a block of queries looks from the start of its first row to itself, and at its copy of the
        header."""
        starts_S = micro_batch.header_length + np.cumsum(micro_batch.row_lengths_S) - micro_batch.row_lengths_S
        start_T = np.concatenate(
            [np.zeros(micro_batch.header_length, dtype=np.int64), np.repeat(starts_S, micro_batch.row_lengths_S)]
        )
        length, header = len(start_T), micro_batch.header_length
        query_Q1 = np.arange(-(-length // BLOCK_SIZE))[:, None]
        copy_Q1 = query_Q1 // BLOCKS_PER_HEADER_COPY
        copies = int(copy_Q1[-1, 0]) + 1
        keys = length + copies * header
        key_K = np.arange(-(-keys // BLOCK_SIZE))
        first_Q1, behind_Q1 = start_T[::BLOCK_SIZE, None] // BLOCK_SIZE, length + copy_Q1 * header
        looks_QK = (key_K >= first_Q1) & (key_K <= query_Q1)
        looks_QK |= (key_K >= behind_Q1 // BLOCK_SIZE) & (key_K * BLOCK_SIZE < behind_Q1 + header)
        found = (looks_QK.sum(1), np.argsort(~looks_QK, axis=1, kind="stable"))
        counts, places = (to_device(array.astype(np.int32)[None, None], device) for array in found)
        sees = _make_mask_mod(micro_batch, start_T, np.repeat(np.arange(copies), header), device)
        mask = BlockMask.from_kv_blocks(
            counts, places, BLOCK_SIZE=BLOCK_SIZE, mask_mod=sees, seq_lengths=(length, keys)
        )
        return cls(mask, torch.empty(copies, header, device=device))

    def append_header_copies(self, part: Tensor) -> Tensor:
        """Return keys or values [1, H, T, D] with the header's copies behind them."""
        copies, header = self.copies_CH.shape
        copied = part[:, :, None, :header].expand(-1, -1, copies, -1, -1).flatten(2, 3)
        return torch.cat([part, copied], dim=2)


def _make_mask_mod(micro_batch: MicroBatch, starts_T: Int64Array, copies: Int64Array, device: torch.device) -> MaskMod:
    """Return the law of `MicroBatch` with places counted from the pass' first token: which query sees which key."""
    blocks_T = np.arange(len(starts_T)) // BLOCK_SIZE // BLOCKS_PER_HEADER_COPY
    # Of no copy: a token as a key; a query of the header, which looks at the header itself.
    copy_T = np.where(np.arange(len(starts_T)) < micro_batch.header_length, -2, blocks_T)
    copy_K = np.concatenate([np.full(len(starts_T), -1), copies])
    arrays = (starts_T, starts_T + micro_batch.prefix_length_T, starts_T + micro_batch.own_start_T, copy_T, copy_K)
    start_T, cut_T, own_T, whose_T, whose_K = (to_device(array.astype(np.int32), device) for array in arrays)

    def mask_mod(_row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        in_prefix = (key >= start_T[query]) & (key < cut_T[query])
        own = (key >= own_T[query]) & (key <= query)
        return in_prefix | own | (whose_K[key] == whose_T[query])

    return mask_mod


@cache
def _compile_flex_attention() -> Any:
    return torch.compile(flex_attention, dynamic=True)


def flex_shared_prefix_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: FlexLayout, scaling: float, dropout: float, softcap: float | None
) -> Tensor:
    """Return [1, T, H, D] of queries [1, H, T, D] and keys and values of H heads or fewer."""
    if dropout:
        raise RecipeError(
            "train.attn_implementation = flex_attention has no dropout of attention weights; use sdpa for this "
            "backbone."
        )
    # Compiled, or the scores would be a whole matrix. A CPU has no backward pass of it.
    whole = query.device.type == "cpu" or torch.compiler.is_compiling()
    kernel = flex_attention if whole else _compile_flex_attention()
    found: Tensor = kernel(
        query, layout.append_header_copies(key), layout.append_header_copies(value),
        score_mod=_make_softcap_mod(softcap) if softcap else None,
        block_mask=layout.mask, scale=scaling, enable_gqa=True, kernel_options=KERNEL_OPTIONS,
    )  # fmt: skip
    return found.transpose(1, 2)


def _make_softcap_mod(softcap: float) -> Callable[..., Tensor]:
    return lambda score, *_: softcap * torch.tanh(score / softcap)
