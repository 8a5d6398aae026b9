"""The loss of a pass: autoregressive cross-entropy on target tokens (Eq. 7), logits only where a target is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from trialigngr.decode.head import level_logits
from trialigngr.foundation.device import moved
from trialigngr.models.fitness import GROWN, PROMPT
from trialigngr.models.output import logits_of
from trialigngr.tasks.packing import Branch, Pass, Sheet, passes
from trialigngr.train.attention import NAME, Layout
from trialigngr.train.flex import FlexLayout

Softmax = Literal["vocabulary", "level"]
Attention = Literal["blocks", "flex"]
LOGITS_AT_ONCE, LOGITS_AT_ONCE_ON_A_GPU = 1 << 25, 1 << 28
"""More logits than this are computed in pieces, each again in the backward pass: 32M are 128 MB in fp32. Each piece
adds a gradient of the whole output layer, which on a GPU costs more than the piece itself."""
Entropy = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DevicePass:
    """A `Pass` as tensors, with the layout of its attention."""

    tokens_1T: Tensor
    positions_1T: Tensor
    layout: Layout | FlexLayout
    predict_place_M: Tensor
    predict_token_M: Tensor
    refused_M: Tensor

    @classmethod
    def of(cls, passed: Pass, device: torch.device, attention: Attention = "blocks") -> DevicePass:
        """Move a pass to the device."""
        predict = (passed.predict_place_M, passed.predict_token_M, passed.predict_refused_M)
        arrays = (passed.tokens_T[None], passed.positions_T[None], *predict)
        tokens, positions, *predicted = (moved(array, device) for array in arrays)
        layout = (FlexLayout if attention == "flex" else Layout).of(passed, device)
        return cls(tokens, positions, layout, *predicted)


def entropy(logits_MV: Tensor, token_M: Tensor) -> Tensor:
    """Return the cross-entropy of each token [M] in fp32."""
    return cross_entropy(logits_MV.float(), token_M, reduction="none")


def target_losses(model: Any, passed: DevicePass, level_V: Tensor | None = None, entropy: Entropy = entropy) -> Tensor:
    """Return the cross-entropy of each target token [M], in fp32, over the full vocabulary.

    ``level_V`` (1 … L for the SID tokens of a level, 0 for all others) narrows the vocabulary of a SID token to its
    level, and that of a word to the words; no other row of the output layer is computed. ``entropy`` may be compiled.
    The model's attention must be `trialigngr.train.attention.NAME`.
    """
    hidden_MD = _hidden(model, passed)
    most = LOGITS_AT_ONCE_ON_A_GPU if hidden_MD.device.type == "cuda" else LOGITS_AT_ONCE
    at_once = max(1, most // model.config.vocab_size)
    if len(hidden_MD) <= at_once:
        return _losses(model, hidden_MD, passed.predict_token_M, level_V, entropy)
    pieces = zip(hidden_MD.split(at_once), passed.predict_token_M.split(at_once), strict=True)
    return torch.cat([checkpoint(_losses, model, *piece, level_V, entropy, use_reentrant=False) for piece in pieces])


def _hidden(model: Any, passed: DevicePass) -> Tensor:
    """Return the hidden states [M, D] from which the targets are predicted."""
    hidden_1TD = model.base_model(
        input_ids=passed.tokens_1T, position_ids=passed.positions_1T, layout=passed.layout, use_cache=False
    ).last_hidden_state
    found: Tensor = hidden_1TD[0].index_select(0, passed.predict_place_M)
    return found


def both_ways(model: Any) -> tuple[Tensor, Tensor]:
    """Return the logits of two short targets, behind a shared beginning and row by row."""
    training, usual = model.training, model.config._attn_implementation
    model.eval()
    header, trunk = PROMPT[:1], PROMPT[1:]
    sheet = Sheet(trunk, [Branch(cut, GROWN, GROWN[::-1]) for cut in (1, len(trunk))])
    rows = [[*header, *trunk[: branch.cut], *branch.prompt, *branch.target] for branch in sheet.branches]
    own = [model(torch.tensor([row], device=model.device)).logits[0, -1 - len(GROWN) : -1] for row in rows]
    model.set_attn_implementation(NAME)
    (passed,) = passes(header, [sheet], len(PROMPT) + 8)
    ours_MV = logits_of(model, _hidden(model, DevicePass.of(passed, model.device)))
    model.set_attn_implementation(usual)
    model.train(training)
    return ours_MV, torch.cat(own)


class TargetLosses(nn.Module):
    """`target_losses` of a model as a module: what works on modules (shares of weights) sees all of a pass."""

    def __init__(self, model: Any, compiled: bool = False) -> None:
        """``compiled``: the cross-entropy over the vocabulary, whose logits are then not copied into fp32."""
        super().__init__()
        self.model = model
        self._entropy: Entropy = torch.compile(entropy, dynamic=True) if compiled else entropy

    def forward(self, passed: DevicePass, level_V: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of each target token [M]."""
        return target_losses(self.model, passed, level_V, self._entropy)


def with_unlikelihood(losses_M: Tensor, passed: DevicePass, weight: float) -> Tensor:
    """Return the losses, −log p, of tokens to be written, and ``weight`` times −log(1 − p) of those that must not be
    (Welleck et al. 2020, arXiv 1908.04319, Eq. 4)."""
    unlikely_M = -torch.log(-torch.expm1(-losses_M.clamp(min=1e-6)))
    return torch.where(passed.refused_M, weight * unlikely_M, losses_M)


def _losses(model: Any, hidden_MD: Tensor, token_M: Tensor, level_V: Tensor | None, entropy: Entropy) -> Tensor:
    if level_V is None:
        return entropy(logits_of(model, hidden_MD), token_M)
    losses_M = hidden_MD.new_zeros(len(token_M), dtype=torch.float32)
    level_M = level_V[token_M]
    for level in level_M.unique():
        places, tokens_K = torch.nonzero(level_M == level)[:, 0], torch.nonzero(level_V == level)[:, 0]
        logits = level_logits(model, hidden_MD.index_select(0, places), tokens_K, "catalogue")
        wanted = torch.searchsorted(tokens_K, token_M[places])
        losses_M = losses_M.index_copy(0, places, cross_entropy(logits, wanted, reduction="none"))
    return losses_M
