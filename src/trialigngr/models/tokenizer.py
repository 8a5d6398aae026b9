"""Tokenizers: a byte-level BPE trained on the catalogue's own text, and SID tokens as new words of any tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import Qwen2Tokenizer

ROLES = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

# One token a role: every branch of a shared prefix pays for the assistant's header again.
COMPACT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

# For pretrained models that come without a chat template.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ message['content'] }}\n\n{% endif %}{% endfor %}{% if add_generation_prompt %}Answer: {% endif %}"
)

MAX_WORD_CHARACTERS = 256
"""Bytes of a word from which the BPE learns in one piece. Of longer ones it learns part by part: the time that a word
takes grows with the square of its length, and a title may be one word of a megabyte."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """Return a byte-level BPE of at most ``vocab_size`` words, with the compact chat template and its role tokens.

    It is a `Qwen2Tokenizer`, as a Qwen2 model is opened with by ``AutoTokenizer``: same splitting, other words.
    """
    pattern = Qwen2Tokenizer().backend_tokenizer
    bpe = Tokenizer(BPE())
    cut = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{MAX_WORD_CHARACTERS}}}"), "isolated")
    bpe.normalizer, bpe.pre_tokenizer = pattern.normalizer, pre_tokenizers.Sequence([pattern.pre_tokenizer, cut])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=max(vocab_size, 256), initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    model = json.loads(bpe.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    end = ROLES[-1]
    tokenizer = Qwen2Tokenizer(vocab=model["vocab"], merges=merges, unk_token=end, eos_token=end, pad_token=ROLES[0])
    tokenizer.add_tokens([AddedToken(role, special=True, normalized=False) for role in ROLES], special_tokens=True)
    tokenizer.chat_template = COMPACT_TEMPLATE
    return tokenizer


def add_sid_tokens(tokenizer: Any, tokens: Sequence[str]) -> list[int]:
    """Make every SID token one new word, and return their ids in order.

    They are words that are shown, not special tokens: servers leave those out of what they answer.
    """
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False, single_word=False) for token in tokens])
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in tokens]
