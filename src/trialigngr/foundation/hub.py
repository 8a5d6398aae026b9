"""`read_tokenizer`: a tokenizer of the hub or a folder, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_tokenizer(name: str | Path, **how: Any) -> Any:
    """Return a tokenizer as `AutoTokenizer` opens it; raise `OSError` when its files are not there, from which
    transformers makes one that knows no words."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name, **how)
    if len(tokenizer) == len(tokenizer.get_added_vocab()):
        raise OSError("it comes without a tokenizer; put the tokenizer's files beside the weights")
    return tokenizer
