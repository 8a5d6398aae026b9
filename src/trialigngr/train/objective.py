"""`Objective`: what the training loop trains. The loop knows no task and no packing; everything of those is in here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn


class Batch(Protocol):
    """What one optimizer step learns from."""

    @property
    def name(self) -> str:
        """Under which its loss is logged, such as ``sids_to_sid``."""
        ...

    @property
    def label(self) -> str:
        """The same, short, for the terminal."""
        ...

    @property
    def description(self) -> str:
        """What it is and where it stands in the data, for messages."""
        ...

    @property
    def num_tokens(self) -> int:
        """Tokens, or items, that go through the model."""
        ...


class Objective(Protocol):
    """A loss over batches, and the model whose parameters it trains."""

    @property
    def model(self) -> nn.Module:
        """Holds the parameters that are trained, or this process' shares of them (FSDP)."""
        ...

    @property
    def whole_model(self) -> nn.Module:
        """What is validated and kept: ``model`` itself, unless that is in shares."""
        ...

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        ...

    @property
    def unit(self) -> str:
        """What ``num_tokens`` counts."""
        ...

    def draw_batch(self, step: int) -> Any:
        """Return the `Batch` of a step: a function of seed and step alone, so that a killed run goes on as it was."""
        ...

    def iter_micro_losses(self, batch: Any) -> Iterator[Tensor]:
        """Yield scalars whose sum is the loss of the batch and whose gradients add up: each is differentiated before
        the next is asked for, so that only one of them is in memory."""
        ...

    def prepare_training(self) -> None:
        """Put the model in the state in which it trains."""
        ...

    def prepare_validation(self) -> None:
        """Put ``whole_model`` in the state in which it is asked."""
        ...
