"""Logits as a model's own forward pass gives them: those of its output layer, scaled or capped as its family does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def compute_logits(model: Any, hidden: Tensor) -> Tensor:
    """Return the logits [..., V] of last hidden states [..., D]."""
    return scale_logits(model, model.get_output_embeddings()(hidden))


def scale_logits(model: Any, logits: Tensor) -> Tensor:
    """Return what the model makes of its output layer's logits: Granite divides them, Cohere multiplies them, Gemma 2
    caps them. A model that does otherwise fails its trial (`trialigngr.models.compatibility`)."""
    config = model.config
    if divisor := getattr(config, "logits_scaling", None):
        logits = logits / divisor
    if factor := getattr(config, "logit_scale", None):
        logits = logits * factor
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = cap * torch.tanh(logits / cap)
    return logits
