"""`ReferenceModel`: the model as a phase found it, which the model that is trained is held against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from trialigngr.models.backbone import Backbone


class ReferenceModel:
    """A frozen copy of the weights, or no copy at all where adapters (LoRA) hold what is trained: without them the
    model is what it was."""

    def __init__(self, backbone: Backbone) -> None:
        self._peft_model, self._model = backbone.peft_model, backbone.model
        self._copy = None if backbone.peft_model is not None else deepcopy(backbone.model).requires_grad_(False).eval()

    @contextmanager
    def use_weights(self) -> Iterator[Any]:
        """Let the caller have the model with the weights of the start, attending as the trained one does."""
        if self._copy is None:
            with self._peft_model.disable_adapter():
                yield self._model
        else:
            if self._copy.config._attn_implementation != self._model.config._attn_implementation:
                self._copy.set_attn_implementation(self._model.config._attn_implementation)
            yield self._copy
