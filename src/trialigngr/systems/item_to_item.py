"""`ItemToItem`: systems that add up, over a history, how much each of its items speaks for each item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.queries import Queries
from trialigngr.evaluate.system import FloatArray, ScorerSystem
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import whole_file
from trialigngr.systems.spec import SystemInputs

WEIGHTS_FILE = "weights.safetensors"
_Float32Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ItemToItem:
    """Scores item j by Σ ``decay``^n · ``weights_NN``[i, j] over the last ``max_history`` items i of a history (all,
    where that is None), n items from its end. Items of equal score go by ``popularity_N``, which is small."""

    name: str
    weights_NN: sparse.csr_array | _Float32Array
    popularity_N: _Float32Array
    max_history: int | None = None
    decay: float = 1.0

    def score_items(self, queries: Queries) -> FloatArray:
        """Return the scores [B, N], float32."""
        found = self.sum_weights(queries)
        scores_BN: FloatArray = found if isinstance(found, np.ndarray) else found.toarray()
        scores_BN += self.popularity_N
        return scores_BN

    def sum_weights(self, queries: Queries) -> sparse.csr_array | _Float32Array:
        """Return the scores [B, N] without popularity, sparse where the weights are."""
        shown = [rows if self.max_history is None else rows[-self.max_history :] for rows in queries.items]
        places = np.concatenate([[0], np.cumsum([len(rows) for rows in shown])])
        says = np.concatenate([self.decay ** np.arange(len(rows))[::-1] for rows in shown]).astype(np.float32)
        parts = (says, np.concatenate(shown), places)
        return sparse.csr_array(parts, shape=(len(queries), len(self.popularity_N))) @ self.weights_NN

    @property
    def num_weights(self) -> int:
        """Weights that are not 0."""
        return int(
            np.count_nonzero(self.weights_NN) if isinstance(self.weights_NN, np.ndarray) else self.weights_NN.nnz
        )

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        weights = self.weights_NN
        if isinstance(weights, np.ndarray):
            arrays = {"dense": weights}
        else:
            arrays = {"data": weights.data, "indices": weights.indices, "indptr": weights.indptr}
        reads = np.array([self.max_history or 0, self.decay])
        with whole_file(folder / WEIGHTS_FILE) as half:
            save_file(arrays | {"popularity": self.popularity_N, "history": reads}, half)

    @classmethod
    def load(cls, name: str, folder: Path, n_items: int) -> Self:
        """Read what `save` wrote; raise `ArtifactError` for weights of no such catalogue."""
        path = check_file(folder / WEIGHTS_FILE)
        try:
            arrays = load_file(path)
            popularity_N, (max_history, decay) = arrays["popularity"], arrays["history"]
            weights_NN = arrays["dense"] if "dense" in arrays else _read_sparse(arrays, n_items)
            if weights_NN.shape != (n_items, n_items) or popularity_N.shape != (n_items,):
                raise ValueError("not one number an item")
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"{path} holds no weights of {n_items} items ({error}); run the recipe again."
            ) from None
        return cls(name, weights_NN, popularity_N, int(max_history) or None, float(decay))


def _read_sparse(arrays: dict[str, Any], n_items: int) -> sparse.csr_array:
    parts = tuple(arrays[name] for name in ("data", "indices", "indptr"))
    weights_NN = sparse.csr_array(parts, shape=(n_items, n_items))
    weights_NN.check_format(full_check=True)
    return weights_NN


def load_scorer(name: str, inputs: SystemInputs, folder: Path) -> ScorerSystem:
    """Return a system that `ItemToItem.save` wrote."""
    return ScorerSystem(ItemToItem.load(name, folder, len(inputs.catalog)))


def count_pairs(histories: Histories, n_items: int, window_size: int) -> sparse.csr_array:
    """Return Σ 1/d [N, N] over the places in the training parts where j stands d ≤ ``window_size`` behind i."""
    items, users = histories.train_rows, np.repeat(np.arange(len(histories)), histories.valid_from)
    counts_NN = sparse.csr_array((n_items, n_items), dtype=np.float32)
    for distance in range(1, window_size + 1):
        same = users[distance:] == users[:-distance]
        pairs = (items[:-distance][same], items[distance:][same])
        weights = np.full(len(pairs[0]), 1 / distance, dtype=np.float32)
        counts_NN = counts_NN + sparse.csr_array((weights, pairs), shape=(n_items, n_items))
    return counts_NN


def count_users(histories: Histories, n_items: int) -> sparse.csr_array:
    """Return who took what in the training parts, zeros and ones [U, N]."""
    users = np.repeat(np.arange(len(histories)), histories.valid_from)
    ones = np.ones(len(users), dtype=np.float32)
    taken_UN = sparse.csr_array((ones, (users, histories.train_rows)), shape=(len(histories), n_items))
    taken_UN.data[:] = 1
    return taken_UN


def measure_popularity(histories: Histories, n_items: int) -> _Float32Array:
    """Return a tenth of each item's share of the training parts [N]."""
    counts_N = histories.count_train_items(n_items)
    return (0.1 * counts_N / (counts_N.sum() + 1)).astype(np.float32)
