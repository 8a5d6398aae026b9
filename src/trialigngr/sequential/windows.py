"""`WindowNetwork`: a network that looks at a few last items, trained on every window of a history."""

from __future__ import annotations

from typing import TypeVar

from trialigngr.catalog.queries import Rows
from trialigngr.sequential.batches import HistoryPieces, TrainingBatch
from trialigngr.sequential.network import NextItemNetwork
from trialigngr.sequential.settings import WindowSettings

PIECE_LENGTH = 50
"""Places of a history, with a window up to each, that stand in one row."""
S = TypeVar("S", bound=WindowSettings)


class WindowNetwork(NextItemNetwork[S]):
    """Its state at a place depends on the last ``max_history`` items of its history alone."""

    packs_histories = True

    @property
    def piece_length(self) -> int:
        """Inputs of a training piece at most: many windows."""
        return max(PIECE_LENGTH, self.settings.max_history)

    def build_batch(self, pieces: HistoryPieces, chosen: Rows, number: int) -> TrainingBatch:
        """Return pieces with the next items of every window as its targets."""
        return pieces.build_next_batch(
            chosen, number, packs=self.packs_histories, num_targets=self.settings.num_targets
        )
