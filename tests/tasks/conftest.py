"""Tiny tokenizers of the kinds that backbones come with, and a small world of items and histories."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from trialigngr.models.tokenizer import add_sid_tokens, train_tokenizer
from trialigngr.sids.semantic_ids import all_tokens

TEXTS = ["A red cotton dress for summer", "You are a recommendation model: you write what comes next."] * 50
SIZES = (6, 5, 4)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def scratch() -> Any:
    """Return the tokenizer of a model from scratch."""
    return train_tokenizer(TEXTS, 320)


def qwen() -> Any:
    """Return a Qwen2-style tokenizer: byte-level BPE, ChatML, special tokens beside the vocabulary."""
    vocabulary = {word: token for word, token in scratch().get_vocab().items() if not word.startswith("<|")}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>", eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    return tokenizer


def llama() -> Any:
    """Return a Llama-3-style tokenizer whose special tokens are words of the BPE, taken whole (``ignore_merges``)."""
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    bare = Tokenizer(models.BPE(ignore_merges=True))
    # Splits at blanks only, so that a special token in a text reaches the BPE as one piece.
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "merged_with_next"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=specials, show_progress=False
    )
    bare.train_from_iterator(TEXTS, trainer)
    bare.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", pad_token="<|end_of_text|>"
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
        "{% if loop.first %}Today is {{ strftime_now('%d %b %Y') }}\n\n{% endif %}"
        "{{ message['content'] }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )
    return tokenizer


def old_llama() -> Any:
    """Return a Llama-2-style tokenizer: blanks as ▁, bytes as a fallback, no system role, [INST] as plain text."""
    specials = ["<unk>", "<s>", "</s>"]
    learned = Tokenizer(models.BPE())
    learned.train_from_iterator([text.replace(" ", "▁") for text in TEXTS], trainers.BpeTrainer(show_progress=False))
    body = json.loads(learned.to_str())["model"]
    words = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *body["vocab"]]
    merges = [tuple(pair) for pair in body["merges"]]
    vocabulary = {word: token for token, word in enumerate(words)}
    bare = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bare.normalizer = normalizers.Replace(" ", "▁")
    bare.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bare.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in specials])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{ raise_exception('no system role') }}{% elif message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
        "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    return tokenizer


KINDS: dict[str, Callable[[], Any]] = {"scratch": scratch, "qwen": qwen, "llama": llama, "old_llama": old_llama}


@pytest.fixture(scope="session", params=list(KINDS))
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer of each kind with SID tokens, saved and opened again as a user's would be."""
    made = KINDS[request.param]()
    add_sid_tokens(made, all_tokens(SIZES))
    folder: Path = tmp_path_factory.mktemp(request.param)
    made.save_pretrained(folder)
    return type(made).from_pretrained(folder)
