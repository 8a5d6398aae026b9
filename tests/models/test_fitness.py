"""Which language models can be a backbone: those that give the same logits whether a prompt is read once or often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.causal_model import CausalModel
from trialigngr.foundation.errors import RecipeError
from trialigngr.models.compatibility import check_attention_is_causal, check_context_length
from trialigngr.sids.trie import Trie
from trialigngr.train.loss import compute_trial_logits

WORDS = 60
USUAL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 2}
GROUPED = USUAL | {"num_key_value_heads": 1, "head_dim": 16}
FIT: dict[str, dict[str, Any]] = {
    "qwen2": USUAL | {"num_key_value_heads": 1},
    "qwen3": GROUPED,
    "granite": USUAL | {"logits_scaling": 8.0},
    "cohere": USUAL | {"logit_scale": 0.25},
    "gemma2": GROUPED | {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0},
    "llama": USUAL,
    "mistral": GROUPED,
    "gpt2": OLD,
    "gpt_neox": USUAL,
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 32,
    },
}
UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "hyperclovax": (USUAL | {"logits_scaling": 8.0}, "other logits than its own"),
    "mamba": ({"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, "a try on a few tokens"),
}
UNFIT_TO_TRAIN: dict[str, tuple[dict[str, Any], str]] = {
    "bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 2}, "a try on a few tokens"),
    "falcon": ({"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}, "other logits than its own"),
    "gpt_oss": (GROUPED | {"num_local_experts": 2, "num_experts_per_tok": 1}, "its attention has sinks"),
}


def made(kind: str, shape: dict[str, Any]) -> Any:
    """Return a small random model that is far from uniform."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](vocab_size=WORDS, pad_token_id=0, **shape)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def searched(model: Any, prompt: int = 12) -> None:
    trie = Trie.from_codes(np.array([[0, 0], [0, 1], [1, 0]], dtype=np.int32))
    BeamSearch(CausalModel(model), trie, [[10, 11], [20, 21]], 1, "full", "fp32")([list(range(10, 10 + prompt))], 2)


@pytest.mark.parametrize("kind", FIT)
def test_plain_causal_models_are_fit(kind: str) -> None:
    model = made(kind, FIT[kind])
    before = model.config._attn_implementation
    check_attention_is_causal(model, compute_trial_logits)
    torch.testing.assert_close(*compute_trial_logits(model), rtol=1e-4, atol=1e-4)
    assert model.config._attn_implementation == before
    searched(model)


@pytest.mark.parametrize("kind", UNFIT)
def test_others_are_refused_by_both(kind: str) -> None:
    shape, why = UNFIT[kind]
    model = made(kind, shape)
    for use in (lambda: check_attention_is_causal(model, compute_trial_logits), lambda: searched(model)):
        with pytest.raises(RecipeError, match=f"A model of type '{kind}' cannot be a backbone.*{why}"):
            use()


@pytest.mark.parametrize("kind", UNFIT_TO_TRAIN)
def test_attention_that_takes_no_layout_is_refused_in_training(kind: str) -> None:
    shape, why = UNFIT_TO_TRAIN[kind]
    with pytest.raises(RecipeError, match=f"A model of type '{kind}' cannot be a backbone.*{why}"):
        check_attention_is_causal(made(kind, shape), compute_trial_logits)


def test_a_window_is_held_against_the_longest_row_and_not_against_a_pass() -> None:
    model = made("mistral", GROUPED | {"sliding_window": 64})
    check_context_length(model, 64)
    searched(model, 40)
    for use in (lambda: check_context_length(model, 65), lambda: searched(model, 70)):
        with pytest.raises(RecipeError, match="its sliding_window of 64 is shorter than the"):
            use()


def test_half_precision_is_not_taken_for_another_model() -> None:
    model = made("qwen2", FIT["qwen2"]).to(torch.bfloat16)
    check_attention_is_causal(model, compute_trial_logits)
    searched(model)
