"""`SoftTargets`: some targets give way to items that others took after the same item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from trialigngr.tasks.token_lists import Int64Array


@dataclass(frozen=True)
class SoftTargets:
    """Draws targets from (1 − ``share``) of what was taken and ``share`` of what counts say was taken behind the item
    shown last, ``counts_NN`` [before, after], where a pair that stands side by side counts 1.

    The expected loss is that of soft labels of these shares. The example's own pair is left out of its counts, and a
    target stays where nothing else is counted.
    """

    counts_NN: csr_array
    share: float

    def draw_targets(self, before_P: Int64Array, taken_P: Int64Array, random: np.random.Generator) -> Int64Array:
        """Return a target for each of P places: the item that was ``taken_P``, or one drawn in its place."""
        drawn_P = taken_P.copy()
        for place in np.flatnonzero(random.random(len(taken_P)) < self.share).tolist():
            drawn_P[place] = self._draw_target(int(before_P[place]), int(taken_P[place]), random.random())
        return drawn_P

    def _draw_target(self, before: int, taken: int, chance: float) -> int:
        own = slice(*self.counts_NN.indptr[before : before + 2])
        items, counts = self.counts_NN.indices[own], self.counts_NN.data[own].astype(np.float64)
        ends = np.cumsum(np.maximum(counts - (items == taken), 0.0))
        if not len(ends) or ends[-1] <= 0:
            return taken
        return int(items[np.searchsorted(ends, chance * ends[-1], side="right")])
