"""Last-item co-occurrence: what was taken soon after the item that a history ends on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from trialigngr.catalog.histories import Histories
from trialigngr.evaluate.scorer import FloatArray, Rows
from trialigngr.systems.settings import CoOccurrenceSettings


class CoOccurrence:
    """Scores item j after item i by Σ 1/d over the places in the training parts where j stands d ≤ ``window_size``
    behind i.

    Items of equal score go by popularity: its share of all interactions, which is below every difference of scores.
    """

    name = "co_occurrence"

    def __init__(self, settings: CoOccurrenceSettings, histories: Histories, n_items: int) -> None:
        lengths = histories.valid_from
        inside = np.arange(len(histories.items)) - np.repeat(histories.offsets[:-1], histories.sequence_lengths)
        trained = inside < np.repeat(lengths, histories.sequence_lengths)
        items, users = histories.items[trained], np.repeat(np.arange(len(histories)), lengths)
        self.co_counts_NN = sparse.csr_array((n_items, n_items), dtype=np.float32)
        for distance in range(1, settings.window_size + 1):
            same = users[distance:] == users[:-distance]
            pairs = (items[:-distance][same], items[distance:][same])
            weights = np.full(len(pairs[0]), 1 / distance, dtype=np.float32)
            self.co_counts_NN = self.co_counts_NN + sparse.csr_array((weights, pairs), shape=(n_items, n_items))
        counts_N = histories.count_train_items(n_items)
        self.popularity_N = (0.1 * counts_N / (counts_N.sum() + 1)).astype(np.float32)

    def score_items(self, histories: Sequence[Rows]) -> FloatArray:
        """Return the scores [B, N] by the last item of each history."""
        scores_BN: FloatArray = self.co_counts_NN[[int(rows[-1]) for rows in histories]].toarray() + self.popularity_N
        return scores_BN
