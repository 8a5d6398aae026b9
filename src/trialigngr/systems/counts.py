"""Counts: what was taken near each of the last items of a history, after it and, for less, before it."""

from __future__ import annotations

from pathlib import Path

from trialigngr.evaluate.system import ScorerSystem
from trialigngr.foundation.console import log
from trialigngr.systems.item_to_item import ItemToItem, count_pairs, load_scorer, measure_popularity
from trialigngr.systems.settings import CountsSettings
from trialigngr.systems.spec import Facts, SystemInputs


def fit_counts(inputs: SystemInputs, settings: CountsSettings, out: Path) -> Facts:
    """Write the counts of pairs."""
    n_items = len(inputs.catalog)
    forward_NN = count_pairs(inputs.histories, n_items, settings.window_size)
    counts_NN = forward_NN + settings.backward_weight * forward_NN.T
    popularity_N = measure_popularity(inputs.histories, n_items)
    found = ItemToItem("counts", counts_NN.tocsr(), popularity_N, settings.max_history, settings.decay)
    found.save(out)
    if not found.num_weights:
        log("  counts: nobody took two items in the training part, so there is nothing that counts could say")
    return {"pairs": found.num_weights}


def load_counts(inputs: SystemInputs, folder: Path) -> ScorerSystem:
    """Read what `fit_counts` wrote."""
    return load_scorer("counts", inputs, folder)
