"""FlexAttention over a whole `Pass` (Dong et al. 2024): blocks of the mask in which nobody sees anybody are skipped."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from trialigngr.foundation.device import moved
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks.packing import Pass

Sees = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def block_mask(passed: Pass, device: torch.device) -> BlockMask:
    """Return the mask of a pass' T tokens, the same for all heads."""
    length = len(passed.tokens_T)
    return create_block_mask(_sees(passed, device), None, None, length, length, device=device)


def _sees(passed: Pass, device: torch.device) -> Sees:
    """Return the law of `Pass` with places counted from the pass' first token: which query sees which key."""
    starts_S = passed.header + np.cumsum(passed.lengths_S) - passed.lengths_S
    start = np.concatenate([np.zeros(passed.header, dtype=np.int64), np.repeat(starts_S, passed.lengths_S)])
    arrays = (start, start + passed.cut_T, start + passed.own_T)
    start_T, cut_T, own_T = (moved(array, device) for array in arrays)

    def sees(_row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        trunk = (key >= start_T[query]) & (key < cut_T[query])
        own = (key >= own_T[query]) & (key <= query)
        return trunk | own | ((key < passed.header) & (key <= query))

    return sees


@cache
def _kernel(device_type: str) -> Any:
    """Return the attention; compiled, or the scores would be a whole matrix. A CPU has no backward pass of it."""
    return flex_attention if device_type == "cpu" else torch.compile(flex_attention, dynamic=True)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scaling: float, dropout: float) -> Tensor:
    """Return [1, T, H, D] of queries [1, H, T, D] and keys and values of H heads or fewer."""
    if dropout:
        raise RecipeError("train.attention = flex has no dropout of attention weights; use blocks for this backbone.")
    found: Tensor = _kernel(query.device.type)(query, key, value, block_mask=mask, scale=scaling, enable_gqa=True)
    return found.transpose(1, 2)
