"""Last-item co-occurrence: what was taken soon after the item that a history ends on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from scipy import sparse

from trialigngr.catalog.histories import Histories
from trialigngr.evaluate.ranker import Floats, Rows
from trialigngr.foundation.config import Settings


class CoOccurrenceSettings(Settings):
    """What counts as taken soon after an item."""

    reach: int = Field(3, ge=1, le=100)
    """So many items after it do, the nearer the more."""


class CoOccurrence:
    """Scores item j after item i by Σ 1/d over the places in the training parts where j stands d ≤ ``reach`` behind i.

    Items of equal score go by popularity: its share of all interactions, which is below every difference of scores.
    """

    name = "co-occurrence"

    def __init__(self, settings: CoOccurrenceSettings, histories: Histories, n_items: int) -> None:
        lengths = histories.valid_from
        inside = np.arange(len(histories.items)) - np.repeat(histories.offsets[:-1], histories.lengths)
        trained = inside < np.repeat(lengths, histories.lengths)
        items, users = histories.items[trained], np.repeat(np.arange(len(histories)), lengths)
        self.soon_NN = sparse.csr_array((n_items, n_items), dtype=np.float32)
        for distance in range(1, settings.reach + 1):
            same = users[distance:] == users[:-distance]
            pairs = (items[:-distance][same], items[distance:][same])
            weights = np.full(len(pairs[0]), 1 / distance, dtype=np.float32)
            self.soon_NN = self.soon_NN + sparse.csr_array((weights, pairs), shape=(n_items, n_items))
        counts_N = histories.popularity(n_items)
        self.popular_N = (0.1 * counts_N / (counts_N.sum() + 1)).astype(np.float32)

    def scores(self, histories: Sequence[Rows]) -> Floats:
        """Return the scores [B, N] by the last item of each history."""
        scores_BN: Floats = self.soon_NN[[int(rows[-1]) for rows in histories]].toarray() + self.popular_N
        return scores_BN
