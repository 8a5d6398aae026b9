"""The output layer, for the tokens of one level alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trialigngr.models.logits import compute_logits, scale_logits

if TYPE_CHECKING:  # a GPU's machine may lack pydantic (benchmarks/decode_gpu.py)
    from trialigngr.decode.settings import ScoreSoftmax

# Logits of the whole vocabulary made at once: as many as stay in a CPU's cache, or fill a GPU.
_MAX_CPU_LOGITS, _MAX_GPU_LOGITS = 2**21, 2**28


def compute_level_logits(model: Any, hidden_XD: Tensor, tokens_K: Tensor, score_softmax: ScoreSoftmax) -> Tensor:
    """Return float32 logits [X, K] of a level's tokens.

    Under ``full`` they are log-probabilities over all tokens; under ``constrained`` only the rows of these tokens
    are computed, and are not normalised yet.
    """
    if score_softmax == "full":
        most = _MAX_CPU_LOGITS if hidden_XD.device.type == "cpu" else _MAX_GPU_LOGITS
        pieces = hidden_XD.split(max(most // model.config.vocab_size, 16))
        return torch.cat(
            [_log_softmax_of_tokens(compute_logits(model, piece_XD).float(), tokens_K) for piece_XD in pieces]
        )
    layer = model.get_output_embeddings()
    if type(layer) is not nn.Linear:  # a wrapped layer (adapters, quantised weights) has no rows to pick
        return compute_logits(model, hidden_XD)[:, tokens_K].float()
    bias = None if layer.bias is None else layer.bias[tokens_K]
    some_XK = nn.functional.linear(hidden_XD, layer.weight.index_select(0, tokens_K), bias)
    return scale_logits(model, some_XK).float()


def _log_softmax_of_tokens(logits_XV: Tensor, tokens_K: Tensor) -> Tensor:
    return logits_XV[:, tokens_K] - logits_XV.logsumexp(-1, keepdim=True)
