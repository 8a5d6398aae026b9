"""Random models of a real architecture, small enough to build in a second, saved as a hub would hold them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from benchmarks.servers.tiny_tokenizer import save_tokenizer

TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    "initializer_range": 0.2,
}  # fmt: skip
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}


def save_chat_model(folder: Path) -> Path:
    folder.mkdir()
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **TEXT))
    model.generation_config.update(top_k=20, temperature=0.7, repetition_penalty=1.3, do_sample=True)
    model.save_pretrained(folder)
    return folder


def save_vision_model(folder: Path, kind: str) -> Path:
    """Save a tiny ``qwen2_vl`` or ``qwen2_5_vl``."""
    folder.mkdir()
    tokenizer = save_tokenizer(folder)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "vision_start", "vision_end")}
    tokens = {f"{name.replace('_pad', '')}_token_id": number for name, number in ids.items()}
    text = {"vocab_size": len(tokenizer), "rope_parameters": ROPE, **TEXT}
    torch.manual_seed(0)
    if kind == "qwen2_vl":
        vision: dict[str, object] = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
        Qwen2VLForConditionalGeneration(
            Qwen2VLConfig(text_config=text, vision_config=vision, **tokens)
        ).save_pretrained(folder)
    else:
        vision = {
            "depth": 1, "hidden_size": 16, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 32,
            "fullatt_block_indexes": [0],
        }  # fmt: skip
        Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        ).save_pretrained(folder)
    Qwen2VLImageProcessorPil().save_pretrained(folder)
    return folder
