"""`compile_layers`: fewer and larger kernels for what a layer does token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trialigngr.models.backbone import layers_of


def compile_layers(model: Any, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile each layer of a model in place, for passes of any number of tokens. Attention in blocks stays as it is.

    ``backend`` is that of `torch.compile`. Raises `RecipeError` when the model has no list of layers.
    """
    for layer in layers_of(model, "train.compile"):
        layer.compile(dynamic=True, backend=backend)
