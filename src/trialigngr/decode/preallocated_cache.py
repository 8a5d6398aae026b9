"""A key–value cache with room for what will be appended: nothing in it is copied."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]  # transformers' classes are untyped
    """One layer's keys and values in buffers with room for what will be appended.

    What is written for one row is written for all B: so the beginning that all prompts share is read once.
    """

    def __init__(self, batch: int, capacity: int) -> None:
        super().__init__()
        self.batch, self.capacity, self.length = batch, capacity, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the buffers, in the shape of the first states."""
        self.keys, self.values = self._allocate_buffer(key_states), self._allocate_buffer(value_states)
        self.is_initialized = True

    def _allocate_buffer(self, states: Tensor) -> Tensor:
        _, heads, _, width = states.shape
        kind = states.device.type
        # Attention under autocast reads them in this dtype anyway.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        return torch.empty(self.batch, heads, self.capacity, width, dtype=dtype, device=states.device)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values, and return all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.capacity:
            self.capacity = 2 * end
            self.keys, self.values = (self._enlarge_buffer(states) for states in (self.keys, self.values))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[: len(key_states), :, :end], self.values[: len(key_states), :, :end]

    def _enlarge_buffer(self, states: Tensor) -> Tensor:
        larger = self._allocate_buffer(states)
        larger[:, :, : self.length] = states[:, :, : self.length]
        return larger

    def get_seq_length(self) -> int:
        """Return how many tokens are held."""
        return self.length


def convert_mask(visible: Tensor, model: Any) -> Tensor:
    """Return a boolean mask in the form that the model's attention takes (eager attention adds it to the scores)."""
    if model.config._attn_implementation != "eager":
        return visible
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, torch.finfo(torch.bfloat16).min)
