"""FlexAttention over a whole `Pass` (Dong et al. 2024): blocks of the mask in which nobody sees anybody are skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, FlexKernelOptions, flex_attention

from trialigngr.foundation.device import moved
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks.packing import Ints, Pass

Sees = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
BLOCK = 128
"""Queries and keys of a block of the mask."""
TOGETHER = 2
"""Blocks of queries that look at one copy of the header. One for all would be the work of one processor, while all
others have long finished theirs (docs/log.md)."""

KERNEL: FlexKernelOptions = {"BACKEND": "TRITON"}
"""Not the kernel for decoding, which torch would choose for a short pass, and finds no way to compile."""


@dataclass(frozen=True)
class FlexLayout:
    """The mask of T queries, the same for all heads, over the T tokens and C copies of the header's H tokens behind
    them; ``copies_CH`` has their number and length for its shape."""

    mask: BlockMask
    copies_CH: Tensor

    @classmethod
    def of(cls, passed: Pass, device: torch.device) -> FlexLayout:
        """Lay a pass out. Which blocks hold a key that is seen is known from the sheets' places, so no T by T matrix is
        made: a block of queries looks from the start of its first sheet to itself, and at its copy of the header."""
        starts_S = passed.header + np.cumsum(passed.lengths_S) - passed.lengths_S
        start_T = np.concatenate([np.zeros(passed.header, dtype=np.int64), np.repeat(starts_S, passed.lengths_S)])
        length, header = len(start_T), passed.header
        query_Q1 = np.arange(-(-length // BLOCK))[:, None]
        copy_Q1 = query_Q1 // TOGETHER
        copies = int(copy_Q1[-1, 0]) + 1
        keys = length + copies * header
        key_K = np.arange(-(-keys // BLOCK))
        first_Q1, behind_Q1 = start_T[::BLOCK, None] // BLOCK, length + copy_Q1 * header
        looks_QK = (key_K >= first_Q1) & (key_K <= query_Q1)
        looks_QK |= (key_K >= behind_Q1 // BLOCK) & (key_K * BLOCK < behind_Q1 + header)
        found = (looks_QK.sum(1), np.argsort(~looks_QK, axis=1, kind="stable"))
        counts, places = (moved(array.astype(np.int32)[None, None], device) for array in found)
        sees = _sees(passed, start_T, np.repeat(np.arange(copies), header), device)
        mask = BlockMask.from_kv_blocks(counts, places, BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(length, keys))
        return cls(mask, torch.empty(copies, header, device=device))

    def keys(self, part: Tensor) -> Tensor:
        """Return keys or values [1, H, T, D] with the header's copies behind them."""
        copies, header = self.copies_CH.shape
        copied = part[:, :, None, :header].expand(-1, -1, copies, -1, -1).flatten(2, 3)
        return torch.cat([part, copied], dim=2)


def _sees(passed: Pass, starts_T: Ints, copies: Ints, device: torch.device) -> Sees:
    """Return the law of `Pass` with places counted from the pass' first token: which query sees which key."""
    blocks_T = np.arange(len(starts_T)) // BLOCK // TOGETHER
    # Of no copy: a token as a key; a query of the header, which looks at the header itself.
    copy_T = np.where(np.arange(len(starts_T)) < passed.header, -2, blocks_T)
    copy_K = np.concatenate([np.full(len(starts_T), -1), copies])
    arrays = (starts_T, starts_T + passed.cut_T, starts_T + passed.own_T, copy_T, copy_K)
    start_T, cut_T, own_T, whose_T, whose_K = (moved(array.astype(np.int32), device) for array in arrays)

    def sees(_row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        trunk = (key >= start_T[query]) & (key < cut_T[query])
        own = (key >= own_T[query]) & (key <= query)
        return trunk | own | (whose_K[key] == whose_T[query])

    return sees


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


def attend(
    query: Tensor, key: Tensor, value: Tensor, layout: FlexLayout, scaling: float, dropout: float, softcap: float | None
) -> Tensor:
    """Return [1, T, H, D] of queries [1, H, T, D] and keys and values of H heads or fewer."""
    if dropout:
        raise RecipeError("train.attention = flex has no dropout of attention weights; use blocks for this backbone.")
    # Compiled, or the scores would be a whole matrix. A CPU has no backward pass of it.
    whole = query.device.type == "cpu" or torch.compiler.is_compiling()
    kernel = flex_attention if whole else _compiled()
    found: Tensor = kernel(
        query, layout.keys(key), layout.keys(value), score_mod=_capped(softcap) if softcap else None,
        block_mask=layout.mask, scale=scaling, enable_gqa=True, kernel_options=KERNEL,
    )  # fmt: skip
    return found.transpose(1, 2)


def _capped(softcap: float) -> Callable[..., Tensor]:
    return lambda score, *_: softcap * torch.tanh(score / softcap)
