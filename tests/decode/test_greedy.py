"""Greedy text: equal to taking the likeliest token with no cache, whatever stands beside in the batch."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from trialigngr.decode.greedy import generate_greedily

END = 3


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128,
    )  # fmt: skip
    found = Qwen2ForCausalLM(config).eval()
    torch.nn.init.normal_(found.get_input_embeddings().weight, std=0.5)
    # What a checkpoint ships as its habits must change nothing.
    found.generation_config.do_sample, found.generation_config.repetition_penalty = True, 5.0
    return found


def by_hand(model: Qwen2ForCausalLM, prompt: list[int], most: int, never: list[int]) -> list[int]:
    tokens = list(prompt)
    with torch.no_grad():
        while len(tokens) < len(prompt) + most:
            logits = model(input_ids=torch.tensor([tokens])).logits[0, -1]
            logits[never] = float("-inf")
            if (token := int(logits.argmax())) == END:
                break
            tokens.append(token)
    return tokens[len(prompt) :]


def test_equals_one_by_one_without_a_cache(model: Qwen2ForCausalLM) -> None:
    dice = torch.Generator().manual_seed(1)
    prompts = [torch.randint(4, 40, (n,), generator=dice).tolist() for n in (5, 3, 5, 9, 3, 5)]
    free = [by_hand(model, prompt, 12, []) for prompt in prompts]
    never = sorted({free[0][0], free[1][0]})
    assert generate_greedily(model, prompts, END, 12, precision="fp32") == free
    found = generate_greedily(model, prompts, END, 12, never, precision="fp32")
    assert found == [by_hand(model, prompt, 12, never) for prompt in prompts]
    assert not {token for own in found for token in own} & set(never)


def test_it_stops_at_the_end(model: Qwen2ForCausalLM) -> None:
    prompts = [[5, 6, 7], [8, 9, 10]]
    first = by_hand(model, prompts[0], 1, [])[0]
    found = generate_greedily(model, prompts, first, 12, precision="fp32")
    assert found[0] == []
    assert first not in found[1]
