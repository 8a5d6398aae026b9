"""Small random backbones: their shape, one as a hub would hold it, one in memory alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tests.support.world import KINDS
from trialigngr.sids.semantic_ids import list_sid_tokens

SIDS = list_sid_tokens((6, 5, 4))
SMALL = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "ffn_size": 48, "vocab_size": 300}
IDS = torch.arange(12)[None] * 20


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(IDS).logits


def pretrained(folder: Path, kind: str, *, tied: bool, spare: int) -> Any:
    """Save a random "pretrained" model with its tokenizer; ``spare`` rows stand behind the tokenizer's words."""
    tokenizer = KINDS[kind]()
    torch.manual_seed(1)
    config, build = {"qwen": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}[kind]
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = len(tokenizer) + spare
    model = build(config(vocab_size=words, num_key_value_heads=1, tie_word_embeddings=tied, **shape))
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        torch.nn.init.normal_(layer.weight, mean=0.3, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def tiny_backbone(kind: str, vocabulary: int) -> Any:
    torch.manual_seed(0)
    config, build = {"qwen": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}[kind]
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = build(config(vocab_size=vocabulary, num_key_value_heads=1, tie_word_embeddings=kind == "qwen", **shape))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)  # far from uniform, so that what is seen matters
    return model.eval()
