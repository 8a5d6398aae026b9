"""`SequenceModel`: all that beam search and exact scores ask of a model. They know no library of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:  # a GPU's machine may lack pydantic (benchmarks/decode_gpu.py)
    from trialigngr.decode.settings import ScoreSoftmax

Prompts = Sequence[Sequence[int]]


class SequenceState(Protocol):
    """B prompts that were read, and the tokens that were appended behind each of them, in slots."""

    last_BD: Tensor
    """The hidden state from which the first token is predicted."""
    num_appended: int
    """Slots that are taken."""

    def advance(self, tokens_BX: Tensor, offsets_BX: Tensor, visible_BXS: Tensor) -> Tensor:
        """Append X tokens a prompt, and return their hidden states [B, X, D].

        ``offsets_BX`` tokens stand between a prompt's end and the token; ``visible_BXS`` [B or 1, X, S] says which of
        the S appended slots, the X new ones last, it looks at. It always looks at the whole prompt.
        """
        ...

    def reset_to_prompts(self) -> None:
        """Drop what was appended."""
        ...


class SequenceModel(Protocol):
    """A model that reads prompts once and gives scores of many continuations of them."""

    @property
    def device(self) -> torch.device:
        """Where the model stands now; training may move it."""
        ...

    def check(self, num_tokens: int) -> None:
        """Raise `RecipeError` for a model that is not fit, or not for so many tokens of a prompt and its answer."""
        ...

    def start(self, prompts: Prompts, reserved_tokens: int) -> SequenceState:
        """Read prompts; ``reserved_tokens`` are expected behind each (more are taken, at the cost of a copy)."""
        ...

    def compute_logits(self, hidden_XD: Tensor, tokens_K: Tensor, score_softmax: ScoreSoftmax) -> Tensor:
        """Return float32 logits [X, K] of some tokens: log-probabilities over all tokens under ``full``; not
        normalised under ``constrained``, where only the rows of these tokens need be computed."""
        ...
