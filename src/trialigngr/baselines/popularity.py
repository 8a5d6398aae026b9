"""Popularity: everybody gets what was taken most often in the training parts. Ties share their places."""

from __future__ import annotations

import numpy as np

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.metrics.ranks import MISSED, Ranks


class Popularity:
    """Ranks items by how often they occur in the training parts."""

    name = "popularity"

    def __init__(self, histories: Histories, n_items: int) -> None:
        self.counts_N = histories.popularity(n_items)

    def ranks(self, histories: Histories, targets: Targets, *, unseen: bool) -> Ranks:
        """Return where each target stands; items of equal count share their places (see `Ranker`)."""
        ordered = np.sort(self.counts_N)
        count_M = self.counts_N[histories.target_items(targets)]
        above = len(ordered) - np.searchsorted(ordered, count_M, side="right")
        tied = len(ordered) - np.searchsorted(ordered, count_M, side="left") - above
        if unseen:
            for place in range(len(targets)):
                user, position = int(targets.users[place]), int(targets.positions[place])
                seen = np.unique(histories.sequence(user)[:position])
                if histories.sequence(user)[position] in seen:
                    above[place], tied[place] = MISSED, 1
                    continue
                above[place] -= (self.counts_N[seen] > count_M[place]).sum()
                tied[place] -= (self.counts_N[seen] == count_M[place]).sum()
        return Ranks(above, tied)
