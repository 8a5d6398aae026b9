"""Popularity: everybody gets what was taken most often in the training parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trialigngr.catalog.histories import Histories
from trialigngr.evaluate.scorer import FloatArray, Rows


class Popularity:
    """Scores items by how often they occur in the training parts."""

    name = "popularity"

    def __init__(self, histories: Histories, n_items: int) -> None:
        self.counts_N = histories.count_train_items(n_items)

    def score_items(self, histories: Sequence[Rows]) -> FloatArray:
        """Return the counts [N] once for each history, as [B, N]."""
        return np.broadcast_to(self.counts_N.astype(np.float32), (len(histories), len(self.counts_N)))
