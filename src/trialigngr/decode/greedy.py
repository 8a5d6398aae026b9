"""Plain text from a model: the likeliest token after the other. The model's generation_config is never read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache

from trialigngr.foundation.config import Precision
from trialigngr.foundation.console import show_progress
from trialigngr.foundation.device import autocast
from trialigngr.models.logits import compute_logits

BATCH_SIZE = 128
"""Prompts written after at a time."""


@torch.inference_mode()
def generate_greedily(
    model: Any,
    prompts: Sequence[Sequence[int]],
    eos_token: int,
    max_new_tokens: int,
    suppress_tokens: Sequence[int] = (),
    precision: Precision = "auto",
) -> list[list[int]]:
    """Return the tokens that the model writes after each prompt, without ``eos_token``, at most ``max_new_tokens`` of
    them; tokens that are ``suppress_tokens`` to be written are passed over."""
    written: list[list[int]] = [[] for _ in prompts]
    refused = torch.tensor(sorted(suppress_tokens), dtype=torch.long, device=model.device)
    with show_progress("write", len(prompts)) as advance:
        for places in _group_by_length(prompts):
            tokens_BT = torch.tensor([prompts[place] for place in places], device=model.device)
            with autocast(model.device, precision):
                found_BT = _decode_batch(model, tokens_BT, eos_token, max_new_tokens, refused)
            for place, tokens in zip(places, found_BT.tolist(), strict=True):
                written[place] = tokens[: tokens.index(eos_token)] if eos_token in tokens else tokens
            advance(len(places))
    return written


def _group_by_length(prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield places of prompts of one length, so that nothing has to be padded."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for _, same in groupby(order, key=lambda place: len(prompts[place])):
        places = list(same)
        for start in range(0, len(places), BATCH_SIZE):
            yield places[start : start + BATCH_SIZE]


def _decode_batch(
    model: Any, tokens_BT: torch.Tensor, eos_token: int, max_new_tokens: int, suppressed: torch.Tensor
) -> torch.Tensor:
    cache, columns = DynamicCache(), []
    done_B = torch.zeros(len(tokens_BT), dtype=torch.bool, device=tokens_BT.device)
    for _ in range(max_new_tokens):
        hidden = model.base_model(input_ids=tokens_BT, past_key_values=cache, use_cache=True).last_hidden_state
        logits_BV = compute_logits(model, hidden[:, -1])
        next_B = logits_BV.index_fill(1, suppressed, float("-inf")).argmax(-1)
        columns.append(next_B)
        done_B |= next_B == eos_token
        if bool(done_B.all()):
            break
        tokens_BT = next_B[:, None]
    return torch.stack(columns, 1)
