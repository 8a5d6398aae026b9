"""Tiny models and a small catalogue of SIDs, some shared, some shorter than others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.causal_model import CausalModel
from trialigngr.sids.semantic_ids import END_CODE
from trialigngr.sids.trie import Trie

VOCABULARY, END_TOKEN = 50, 1
TOKENS_LK = [list(range(10, 14)), list(range(20, 24)), list(range(30, 34))]
Codes = npt.NDArray[np.int32]
SHAPES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "qwen": (Qwen2Config, Qwen2ForCausalLM, {"hidden_size": 32, "num_attention_heads": 2, "tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"hidden_size": 32, "num_attention_heads": 2, "head_dim": 24}),
    "llama": (LlamaConfig, LlamaForCausalLM, {"hidden_size": 32, "num_attention_heads": 2}),
    # Three query heads to a key-value head, tied embeddings, as SmolLM2-135M has them.
    "smollm2": (
        LlamaConfig,
        LlamaForCausalLM,
        {"hidden_size": 36, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
    ),
    # Logits divided, multiplied, and capped, as scores are.
    "granite": (
        GraniteConfig,
        GraniteForCausalLM,
        {"hidden_size": 32, "num_attention_heads": 2, "logits_scaling": 4.0},
    ),
    "cohere": (CohereConfig, CohereForCausalLM, {"hidden_size": 32, "num_attention_heads": 2, "logit_scale": 0.5}),
    "gemma2": (
        Gemma2Config,
        Gemma2ForCausalLM,
        {
            "hidden_size": 32,
            "num_attention_heads": 2,
            "head_dim": 16,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 4.0,
        },
    ),
}


def tiny(kind: str) -> Any:
    """Return a small random model that is far from uniform."""
    torch.manual_seed(0)
    if kind == "gpt2":
        model: Any = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=64))
    else:
        config, build, shape = SHAPES[kind]
        common = {"intermediate_size": 48, "num_hidden_layers": 2, "num_key_value_heads": 1}
        model = build(config(vocab_size=VOCABULARY, **(common | shape)))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def trained(model: Any, steps: int = 60) -> Any:
    """Return the model after it has learnt to write some SIDs, so that its scores are far apart."""
    random = np.random.default_rng(3)
    prompts = torch.tensor(random.integers(2, 10, (16, 6)))
    sids = torch.tensor(np.stack([random.choice(tokens, 16) for tokens in TOKENS_LK], axis=1))
    rows = torch.cat([prompts, sids], dim=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(rows).logits[:, 5:-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), sids.flatten()).backward()
        optimizer.step()
    return model.eval()


def catalogue(n: int, seed: int, *, unequal: bool = False) -> Codes:
    """Return the codes of n items, with a few SIDs shared; with ``unequal`` some lack their last level."""
    random = np.random.default_rng(seed)
    codes_NL = random.integers(0, 4, (n, 3)).astype(np.int32)
    if unequal:
        codes_NL[random.random(n) < 0.3, 2] = END_CODE
    return codes_NL


def search(model: Any, codes_NL: Codes, score_softmax: Any = "full") -> BeamSearch:
    """Return beam search in fp32."""
    return BeamSearch(CausalModel(model), Trie.from_codes(codes_NL), TOKENS_LK, END_TOKEN, score_softmax, "fp32")


def sid_of_leaf(trie: Trie, leaf: int, codes_NL: Codes) -> tuple[int, ...]:
    """Return the token ids that a leaf stands for, up to and with its end."""
    tokens = []
    for level, code in enumerate(codes_NL[trie.items_at(leaf)[0]].tolist()):
        tokens.append(END_TOKEN if code == END_CODE else TOKENS_LK[level][code])
        if code == END_CODE:
            break
    return tuple(tokens)


def prompts(lengths: tuple[int, ...], seed: int = 0) -> list[list[int]]:
    """Return prompts of given lengths."""
    random = np.random.default_rng(seed)
    return [random.integers(2, 10, length).tolist() for length in lengths]


MODELS = {
    "qwen": lambda: tiny("qwen"),
    "llama": lambda: tiny("llama"),
    "qwen3": lambda: tiny("qwen3"),
    "smollm2": lambda: tiny("smollm2"),
    "granite": lambda: tiny("granite"),
    "cohere": lambda: tiny("cohere"),
    "gemma2": lambda: tiny("gemma2"),
    "gpt2": lambda: tiny("gpt2"),
    "qwen, trained": lambda: trained(tiny("qwen")),
    "llama, trained": lambda: trained(tiny("llama")),
    "qwen3, trained": lambda: trained(tiny("qwen3")),
    "smollm2, trained": lambda: trained(tiny("smollm2")),
}


class Models(dict[str, Any]):
    """The models by name, each made when somebody asks for it."""

    def __missing__(self, name: str) -> Any:
        self[name] = MODELS[name]()
        return self[name]


def written(codes_NL: Codes) -> list[tuple[int, ...]]:
    """Return each distinct SID as tokens, with its end where it is short."""
    trie = Trie.from_codes(codes_NL)
    return [sid_of_leaf(trie, leaf, codes_NL) for leaf in range(len(trie.levels[-1]))]


@torch.no_grad()
def scored(model: Any, prompt: list[int], sid: Sequence[int], sids: list[tuple[int, ...]] | None) -> float:
    """Return the log-probability of one SID by a plain forward pass; over ``sids`` alone where they are given."""
    logits = model(torch.tensor([[*prompt, *sid]])).logits[0, len(prompt) - 1 : -1].double()
    total = 0.0
    for place, token in enumerate(sid):
        row = logits[place]
        if sids is not None:
            follow = sorted({other[place] for other in sids if other[:place] == tuple(sid[:place])})
            total += float(row[token] - row[follow].logsumexp(0))
        else:
            total += float(row[token] - row.logsumexp(0))
    return total
