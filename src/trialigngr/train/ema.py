"""An exponential moving average of the trained weights (Polyak and Juditsky 1992, with decay)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """Follows parameters; ``averages`` is their average by name. A decay of 0 follows nothing and costs nothing."""

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.averages: dict[str, Tensor] = {}
        if decay:
            self.averages = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after a step in; early on the average forgets sooner, or it would hold the random start."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.averages.items():
            value.lerp_(self.parameters[name], 1 - decay)

    @contextmanager
    def average_parameters(self) -> Iterator[None]:
        """Let the model have the averaged weights for a while."""
        self._swap_weights()
        try:
            yield
        finally:
            self._swap_weights()

    @torch.no_grad()
    def _swap_weights(self) -> None:
        for name, value in self.averages.items():
            parameter = self.parameters[name]
            mine = value.clone()
            value.copy_(parameter)
            parameter.copy_(mine)
