"""A tokenizer of Qwen2's kind, small enough to learn in a moment, for models of random weights."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def save_tokenizer(folder: Path) -> Qwen2Tokenizer:
    """Save a tokenizer of a few hundred words as a hub would hold it, and return it."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    lines = ["a plain white mug for tea and coffee", "interests of a weekend hiker; home barista"] * 3
    learned.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)
    )
    learned.save(str(folder / "raw.json"))
    raw = json.loads((folder / "raw.json").read_text("utf-8"))["model"]
    (folder / "raw.json").unlink()
    tokenizer = Qwen2Tokenizer(vocab=raw["vocab"], merges=[tuple(pair) for pair in raw["merges"]])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL, "eos_token": "<|im_end|>"})
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer
