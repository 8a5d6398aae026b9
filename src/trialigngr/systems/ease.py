"""EASE^R (Steck, WWW 2019, arXiv 1905.03375): the linear item-to-item model whose weights have a closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trialigngr.evaluate.system import ScorerSystem
from trialigngr.foundation.errors import CatalogError
from trialigngr.systems.item_to_item import ItemToItem, count_users, load_scorer
from trialigngr.systems.settings import EaseSettings
from trialigngr.systems.spec import Facts, SystemInputs

MAX_ITEMS = 30_000
"""Items whose weights, every pair's, are still inverted in minutes: 3.6 GB."""


def fit_ease(inputs: SystemInputs, settings: EaseSettings, out: Path) -> Facts:
    """Write the weights B = I − P / diag(P), where P = (XᵀX + λI)⁻¹ and X is who took what."""
    n_items = len(inputs.catalog)
    if n_items > MAX_ITEMS:
        raise CatalogError(
            f"ease weighs every pair of items at once, and {n_items:,} items are more than {MAX_ITEMS:,}; leave it out "
            "of evaluate.systems, or take item_knn."
        )
    taken_UN = count_users(inputs.histories, n_items)
    gram_NN = (taken_UN.T @ taken_UN).toarray()
    gram_NN[np.diag_indices(n_items)] += settings.l2_weight
    weights_NN = np.linalg.inv(gram_NN)
    weights_NN /= -np.diag(weights_NN)
    np.fill_diagonal(weights_NN, 0)
    ItemToItem("ease", weights_NN, np.zeros(n_items, dtype=np.float32)).save(out)
    return {"items": n_items}


def load_ease(inputs: SystemInputs, folder: Path) -> ScorerSystem:
    """Read what `fit_ease` wrote."""
    return load_scorer("ease", inputs, folder)
