"""Last-item co-occurrence: what was taken soon after the item that a history ends on."""

from __future__ import annotations

from pathlib import Path

from trialigngr.catalog.histories import Histories
from trialigngr.evaluate.system import ScorerSystem
from trialigngr.systems.item_to_item import ItemToItem, count_pairs, load_scorer, measure_popularity
from trialigngr.systems.settings import CoOccurrenceSettings
from trialigngr.systems.spec import Facts, SystemInputs


class CoOccurrence(ItemToItem):
    """Scores item j after item i by Σ 1/d over the places in the training parts where j stands d ≤ ``window_size``
    behind i.

    Items of equal score go by popularity: its share of all interactions, which is below every difference of scores.
    """

    @classmethod
    def from_histories(cls, settings: CoOccurrenceSettings, histories: Histories, n_items: int) -> CoOccurrence:
        """Count the training parts."""
        counts_NN = count_pairs(histories, n_items, settings.window_size)
        return cls("co_occurrence", counts_NN, measure_popularity(histories, n_items), max_history=1)


def fit_co_occurrence(inputs: SystemInputs, settings: CoOccurrenceSettings, out: Path) -> Facts:
    """Write the counts of pairs."""
    found = CoOccurrence.from_histories(settings, inputs.histories, len(inputs.catalog))
    found.save(out)
    return {"pairs": found.num_weights}


def load_co_occurrence(inputs: SystemInputs, folder: Path) -> ScorerSystem:
    """Read what `fit_co_occurrence` wrote."""
    return load_scorer("co_occurrence", inputs, folder)
