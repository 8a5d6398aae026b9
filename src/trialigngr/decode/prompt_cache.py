"""`PromptCache`: B prompts, encoded once, and what beams or a whole trie grow over them. Nothing in its cache is
copied."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from trialigngr.decode.preallocated_cache import PreallocatedLayer, convert_mask
from trialigngr.decode.sequence_model import Prompts
from trialigngr.models.item_layer import ItemLayer, name_inputs

MIN_SHARED_TOKENS = 256
"""Tokens that a shared beginning must save before it is worth a forward pass of its own."""

_PROMPT_ENDS_B: ContextVar[Tensor | None] = ContextVar("where each prompt ends, while prompts are read", default=None)
_HOOKED_MODELS: WeakSet[Any] = WeakSet()


class PromptCache:
    """``last_BD`` are the hidden states at the end of each prompt. Grown tokens stand behind the prompts, in slots."""

    def __init__(
        self, model: Any, prompt_tokens: Prompts, reserved_tokens: int, items: ItemLayer | None = None
    ) -> None:
        """Encode prompts, padded at the right: a causal model never looks there, and what is grown masks it."""
        self.model, self._items, device = model, items, model.device
        prompts = [list(prompt) for prompt in prompt_tokens]
        width = max(map(len, prompts))
        self.kv_cache = Cache(
            layer_class_to_replicate=partial(PreallocatedLayer, len(prompts), width + reserved_tokens)
        )
        self.lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self._real_BT = torch.arange(width, device=device) < self.lengths_B[:, None]
        self.padded_length, self.num_appended = width, 0
        tokens_BT = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=device)
        _skip_last_mlp(model)
        shared = _shared_prefix_length(prompts)
        if shared:
            self._prefill_tokens(tokens_BT[:1, :shared], self.lengths_B[:1] * 0)
        self.last_BD = self._prefill_tokens(tokens_BT[:, shared:], self.lengths_B - shared - 1)

    def _prefill_tokens(self, tokens_BT: Tensor, ends_B: Tensor) -> Tensor:
        """Read tokens into the cache and return the hidden states [B, D] at the ends."""
        reset_token = _PROMPT_ENDS_B.set(ends_B)
        try:
            hidden_BTD = self.model.base_model(
                **name_inputs(self.model, self._items, tokens_BT), past_key_values=self.kv_cache, use_cache=True
            ).last_hidden_state
        finally:
            _PROMPT_ENDS_B.reset(reset_token)
        last_BD: Tensor = hidden_BTD[torch.arange(len(ends_B), device=ends_B.device), ends_B]
        return last_BD

    def advance(self, tokens_BX: Tensor, offsets_BX: Tensor, visible_BXS: Tensor) -> Tensor:
        """Grow X tokens a prompt, and return their hidden states [B, X, D].

        ``offsets_BX`` tokens stand between a prompt's end and the token; ``visible_BXS`` says which of the grown slots,
        the X new ones last, it looks at.
        """
        batch, new = tokens_BX.shape
        self.num_appended += new
        mask = torch.cat([self._real_BT[:, None].expand(-1, new, -1), visible_BXS.expand(batch, -1, -1)], 2)[:, None]
        hidden: Tensor = self.model.base_model(
            input_ids=tokens_BX,
            attention_mask=convert_mask(mask, self.model),
            position_ids=self.lengths_B[:, None] + offsets_BX,
            past_key_values=self.kv_cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def reset_to_prompts(self) -> None:
        """Drop what was grown."""
        self.num_appended = 0
        for layer in self.kv_cache.layers:
            layer.length = self.padded_length


def _skip_last_mlp(model: Any) -> None:
    """Let the last feed-forward block look at the ends of prompts alone: no one reads its other outputs.

    What it gives for the end [B, 1, D] is added to every token, and is right for the end. The hook does nothing but
    while prompts are read, and in the thread that reads them.
    """
    if model in _HOOKED_MODELS:
        return
    _HOOKED_MODELS.add(model)
    blocks = [module for name, module in model.base_model.named_modules() if name.endswith(".mlp")]

    def keep_prompt_ends(_block: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        ends_B = _PROMPT_ENDS_B.get()
        # One token is the end itself: a second hook (of a copied model, of another thread) changes nothing.
        if ends_B is None or given[0].shape[1] == 1:
            return None
        return (given[0][torch.arange(len(ends_B), device=ends_B.device), ends_B][:, None], *given[1:])

    for last in blocks[-1:]:
        last.register_forward_pre_hook(keep_prompt_ends)


def _shared_prefix_length(prompts: list[list[int]]) -> int:
    """Return how many tokens all prompts begin with, short of any prompt's last; 0 where sharing saves too little."""
    first, last = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    alike = next((place for place in range(limit) if first[place] != last[place]), limit)
    return alike if alike * (len(prompts) - 1) >= MIN_SHARED_TOKENS else 0
