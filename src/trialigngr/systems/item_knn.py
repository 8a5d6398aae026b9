"""ItemKNN (Deshpande & Karypis 2004): items that the same people took as those of the history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from trialigngr.evaluate.system import ScorerSystem
from trialigngr.systems.item_to_item import ItemToItem, count_users, load_scorer, measure_popularity
from trialigngr.systems.settings import ItemKnnSettings
from trialigngr.systems.spec import Facts, SystemInputs


def fit_item_knn(inputs: SystemInputs, settings: ItemKnnSettings, out: Path) -> Facts:
    """Write the neighbors of every item: cosines of who took them, over a shrunk norm."""
    n_items = len(inputs.catalog)
    taken_UN = count_users(inputs.histories, n_items)
    both = (taken_UN.T @ taken_UN).tocoo()
    counts_N = np.asarray(taken_UN.sum(0))
    norms = np.sqrt(counts_N[both.row] * counts_N[both.col]) + settings.shrinkage
    cosines = np.where(both.row == both.col, 0, both.data / norms).astype(np.float32)
    similarity_NN = sparse.csr_array((cosines, (both.row, both.col)), shape=both.shape)
    kept_NN = keep_best(similarity_NN, settings.num_neighbors)
    found = ItemToItem("item_knn", kept_NN, measure_popularity(inputs.histories, n_items))
    found.save(out)
    return {"pairs": found.num_weights}


def keep_best(weights_NN: sparse.csr_array, k: int) -> sparse.csr_array:
    """Return the k largest positive weights of each line; of equal ones those of the first columns."""
    rows = np.repeat(np.arange(weights_NN.shape[0]), np.diff(weights_NN.indptr))
    order = np.lexsort((weights_NN.indices, -weights_NN.data, rows))
    places = np.arange(len(order)) - weights_NN.indptr[rows]
    kept = order[(places < k) & (weights_NN.data[order] > 0)]
    return sparse.csr_array((weights_NN.data[kept], (rows[kept], weights_NN.indices[kept])), shape=weights_NN.shape)


def load_item_knn(inputs: SystemInputs, folder: Path) -> ScorerSystem:
    """Read what `fit_item_knn` wrote."""
    return load_scorer("item_knn", inputs, folder)
