"""Last-item co-occurrence: what was taken soon after the item that a history ends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.queries import Queries
from trialigngr.evaluate.system import FloatArray, ScorerSystem
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import whole_file
from trialigngr.systems.settings import CoOccurrenceSettings
from trialigngr.systems.spec import Facts, SystemInputs

COUNTS_FILE = "co_counts.safetensors"


class CoOccurrence:
    """Scores item j after item i by Σ 1/d over the places in the training parts where j stands d ≤ ``window_size``
    behind i.

    Items of equal score go by popularity: its share of all interactions, which is below every difference of scores.
    """

    name = "co_occurrence"
    max_history: int | None = 1

    def __init__(self, co_counts_NN: sparse.csr_array, popularity_N: FloatArray) -> None:
        self.co_counts_NN, self.popularity_N = co_counts_NN, popularity_N

    @classmethod
    def from_histories(cls, settings: CoOccurrenceSettings, histories: Histories, n_items: int) -> CoOccurrence:
        """Count the training parts."""
        lengths = histories.valid_from
        inside = np.arange(len(histories.items)) - np.repeat(histories.offsets[:-1], histories.sequence_lengths)
        trained = inside < np.repeat(lengths, histories.sequence_lengths)
        items, users = histories.items[trained], np.repeat(np.arange(len(histories)), lengths)
        co_counts_NN = sparse.csr_array((n_items, n_items), dtype=np.float32)
        for distance in range(1, settings.window_size + 1):
            same = users[distance:] == users[:-distance]
            pairs = (items[:-distance][same], items[distance:][same])
            weights = np.full(len(pairs[0]), 1 / distance, dtype=np.float32)
            co_counts_NN = co_counts_NN + sparse.csr_array((weights, pairs), shape=(n_items, n_items))
        counts_N = histories.count_train_items(n_items)
        return cls(co_counts_NN, (0.1 * counts_N / (counts_N.sum() + 1)).astype(np.float32))

    def score_items(self, queries: Queries) -> FloatArray:
        """Return the scores [B, N] by the last item of each history."""
        last = [int(rows[-1]) for rows in queries.items]
        scores_BN: FloatArray = self.co_counts_NN[last].toarray() + self.popularity_N
        return scores_BN


def fit_co_occurrence(inputs: SystemInputs, settings: CoOccurrenceSettings, out: Path) -> Facts:
    """Write the counts of pairs."""
    found = CoOccurrence.from_histories(settings, inputs.histories, len(inputs.catalog))
    counts = found.co_counts_NN
    arrays = {"data": counts.data, "indices": counts.indices, "indptr": counts.indptr, "popularity": found.popularity_N}
    with whole_file(out / COUNTS_FILE) as half:
        save_file(arrays, half)
    return {"pairs": int(counts.nnz)}


def load_co_occurrence(inputs: SystemInputs, folder: Path) -> ScorerSystem:
    """Read what `fit_co_occurrence` wrote; raise `ArtifactError` for counts of no such catalogue."""
    path, n_items = check_file(folder / COUNTS_FILE), len(inputs.catalog)
    try:
        arrays = load_file(path)
        counts_NN = sparse.csr_array(tuple(arrays[name] for name in ("data", "indices", "indptr")), (n_items, n_items))
        counts_NN.check_format(full_check=True)
        popularity_N = arrays["popularity"]
        if popularity_N.shape != (n_items,):
            raise ValueError("not one number an item")
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} holds no counts of {n_items} items ({error}); run the recipe again.") from None
    return ScorerSystem(CoOccurrence(counts_NN, popularity_N))
