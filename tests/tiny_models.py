"""Random models of a real architecture, small enough to build in a second, saved as a hub would hold them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    "initializer_range": 0.2,
}  # fmt: skip
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}


def save_tokenizer(folder: Path) -> Qwen2Tokenizer:
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    lines = ["a plain white mug for tea and coffee", "interests of a weekend hiker; home barista"] * 3
    learned.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)
    )
    learned.save(str(folder / "raw.json"))
    import json

    raw = json.loads((folder / "raw.json").read_text("utf-8"))["model"]
    (folder / "raw.json").unlink()
    tokenizer = Qwen2Tokenizer(vocab=raw["vocab"], merges=[tuple(pair) for pair in raw["merges"]])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL, "eos_token": "<|im_end|>"})
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


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
