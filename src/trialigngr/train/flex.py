"""FlexAttention over a whole `Pass` (Dong et al. 2024): blocks of the mask in which nobody sees anybody are skipped."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from trialigngr.foundation.device import moved
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks.packing import Ints, Pass

Sees = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
BLOCK = 128
"""Queries and keys of a block of the mask."""


def block_mask(passed: Pass, device: torch.device) -> BlockMask:
    """Return the mask of a pass' T tokens, the same for all heads.

    Queries of a block look into the header's blocks, and from the start of their first sheet to themselves; that is
    known from the sheets' places, so no T by T matrix is made.
    """
    starts_S = passed.header + np.cumsum(passed.lengths_S) - passed.lengths_S
    start_T = np.concatenate([np.zeros(passed.header, dtype=np.int64), np.repeat(starts_S, passed.lengths_S)])
    first_Q = start_T[::BLOCK, None] // BLOCK
    query_Q, key_K = np.arange(len(first_Q))[:, None], np.arange(len(first_Q))
    looks_QK = ((key_K >= first_Q) | (key_K * BLOCK < passed.header)) & (key_K <= query_Q)
    found = (looks_QK.sum(1), np.argsort(~looks_QK, axis=1, kind="stable"))
    counts, places = (moved(array.astype(np.int32)[None, None], device) for array in found)
    length = len(start_T)
    return BlockMask.from_kv_blocks(
        counts, places, BLOCK_SIZE=BLOCK, mask_mod=_sees(passed, start_T, device), seq_lengths=(length, length)
    )


def _sees(passed: Pass, starts_T: Ints, device: torch.device) -> Sees:
    """Return the law of `Pass` with places counted from the pass' first token: which query sees which key."""
    arrays = (starts_T, starts_T + passed.cut_T, starts_T + passed.own_T)
    start_T, cut_T, own_T = (moved(array, device) for array in arrays)

    def sees(_row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        trunk = (key >= start_T[query]) & (key < cut_T[query])
        own = (key >= own_T[query]) & (key <= query)
        return trunk | own | ((key < passed.header) & (key <= query))

    return sees


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scaling: float, dropout: float, softcap: float | None
) -> Tensor:
    """Return [1, T, H, D] of queries [1, H, T, D] and keys and values of H heads or fewer."""
    if dropout:
        raise RecipeError("train.attention = flex has no dropout of attention weights; use blocks for this backbone.")
    # Compiled, or the scores would be a whole matrix. A CPU has no backward pass of it.
    whole = query.device.type == "cpu" or torch.compiler.is_compiling()
    kernel = flex_attention if whole else _compiled()
    bend = _capped(softcap) if softcap else None
    found: Tensor = kernel(query, key, value, score_mod=bend, block_mask=mask, scale=scaling, enable_gqa=True)
    return found.transpose(1, 2)


def _capped(softcap: float) -> Callable[..., Tensor]:
    return lambda score, *_: softcap * torch.tanh(score / softcap)
