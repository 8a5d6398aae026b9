"""Collaborative vectors: items that the same people take near one another lie near one another.

The positive pointwise mutual information of items that stand close in a history, factored (Levy & Goldberg 2014,
"Neural Word Embedding as Implicit Matrix Factorization"). They know the training part of the log and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import svds

from trialigngr.embed.fusion import l2_normalize
from trialigngr.images.colors import Float32Array

WINDOW = 5
"""Items at most so far apart count as company, a pair by one over its distance."""
CONTEXT_SMOOTHING = 0.75
"""Power of an item's count as company: rare items are not all that is told (Mikolov et al. 2013)."""
DIMENSIONS = 64


def compute_collaborative_vectors(sequences: Sequence[npt.NDArray[np.int64]], n_items: int) -> Float32Array:
    """Return unit vectors float32 [N, ≤ 64] of items by whom they stand beside; zeros for one without company."""
    information = _compute_ppmi(_count_cooccurrences(sequences, n_items))
    kept = min(DIMENSIONS, n_items - 1)
    if not information.nnz or kept < 1:
        return np.zeros((n_items, max(kept, 1)), np.float32)
    left_ND, values_D, _ = svds(information, k=kept, v0=np.ones(n_items))
    return l2_normalize(left_ND * np.sqrt(np.maximum(values_D, 0)))


def _count_cooccurrences(sequences: Sequence[npt.NDArray[np.int64]], n_items: int) -> csr_array:
    """Return how much company items [N, N] are to each other, the same both ways."""
    pairs: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]] = []
    for rows in sequences:
        pairs += [(rows[:-apart], rows[apart:], apart) for apart in range(1, min(WINDOW, len(rows) - 1) + 1)]
    if not pairs:
        return csr_array((n_items, n_items))
    one, other = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    weights = np.concatenate([np.full(len(pair[0]), 1 / pair[2]) for pair in pairs])
    company = coo_array((weights, (one, other)), shape=(n_items, n_items)).tocsr()
    return csr_array(company + company.T)


def _compute_ppmi(company_NN: csr_array) -> csr_array:
    """Return the positive pointwise mutual information [N, N], sparse."""
    cells = company_NN.tocoo()
    of_N = np.asarray(company_NN.sum(axis=1)).ravel()
    as_company_N = of_N**CONTEXT_SMOOTHING / max((of_N**CONTEXT_SMOOTHING).sum(), 1e-12)
    expected = of_N[cells.row] * as_company_N[cells.col]
    values = np.maximum(np.log(cells.data / expected), 0)
    return csr_array((values, (cells.row, cells.col)), shape=company_NN.shape)
