"""Models of the hub or a folder: their tokenizer and configuration, without ever running code that comes with them.

Asked nothing, transformers asks [y/N] on the terminal and would take its answer from whatever stands in stdin. So every
load, here and elsewhere, says ``trust_remote_code=False``: a type that transformers knows is opened by its own classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_tokenizer(name: str | Path, **options: Any) -> Any:
    """Return a tokenizer as `AutoTokenizer` opens it; raise `OSError` when its files are not there, from which
    transformers makes one that knows no words."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
    if len(tokenizer) == len(tokenizer.get_added_vocab()):
        raise OSError("it comes without a tokenizer; put the tokenizer's files beside the weights")
    return tokenizer


def read_config(name: str | Path) -> Any:
    """Return a model's configuration as `AutoConfig` opens it."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(name, trust_remote_code=False)


def reason_of(error: Exception) -> str:
    """Return in a few words why a model was not loaded."""
    if "trust_remote_code" in str(error):
        return "it brings code of its own, which is never run here; take a model whose type transformers knows"
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
