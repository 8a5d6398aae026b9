"""The layers of any causal language model: which of their parts are compiled, and which attention decodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from trialigngr.foundation.errors import RecipeError


def find_layers(model: Any, setting_name: str) -> nn.ModuleList:
    """Return the layers of a model, by whatever name: the list of as many modules as it says it has.

    Raises `RecipeError`, which names the setting that wants them, when there is no such list.
    """
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise RecipeError(f"{setting_name} finds no list of layers in a model of type {model.config.model_type!r}.")


def compile_layers(model: Any, whole_layers: bool = False, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile, in place and for any number of tokens, what each layer does token by token (norms, feed-forward); or
    ``whole_layers`` layers, where attention can be traced.

    ``backend`` is that of `torch.compile`. Raises `RecipeError` as `find_layers` does.
    """
    for layer in find_layers(model, "train.torch_compile"):
        tokenwise = [part for part in layer.children() if "attention" not in type(part).__name__.lower()]
        for part in [layer] if whole_layers else tokenwise:
            part.compile(dynamic=True, backend=backend)


def choose_decoding_attention(model: Any) -> str:
    """Return the name of the attention that decodes: torch's fused one, where a model takes it (Gemma 2 does not)."""
    return "sdpa" if model._supports_sdpa else "eager"
