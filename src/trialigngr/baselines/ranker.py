"""`Ranker`: any system that scores all items after a history, and where targets stand by its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.metrics.ranks import MISSED, Ranks

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.int64]
BATCH = 256
"""Targets scored at a time."""


class Ranker(Protocol):
    """A system fitted on the training parts only."""

    @property
    def name(self) -> str:
        """How the system is called in tables."""
        ...

    def scores(self, histories: Sequence[Rows]) -> Floats:
        """Return a score for every item [B, N] after each of B histories (catalogue rows, oldest first, not empty)."""
        ...


def ranks(ranker: Ranker, histories: Histories, targets: Targets, *, unseen: bool) -> Ranks:
    """Return where each target stands among all items; items of equal score share their places.

    With ``unseen``, items taken before a target take no place, and a target that was taken before is missed: no list
    without seen items can hold it.
    """
    wanted_M = histories.target_items(targets)
    ahead_M, tied_M = np.empty(len(targets), np.int64), np.empty(len(targets), np.int64)
    for start in range(0, len(targets), BATCH):
        part = slice(start, start + BATCH)
        before = [
            histories.sequence(user)[:place]
            for user, place in zip(targets.users[part], targets.positions[part], strict=True)
        ]
        scores_BN = np.array(ranker.scores(before))
        if unseen:
            for line, seen in enumerate(before):
                scores_BN[line, seen] = -np.inf
        own_B1 = scores_BN[np.arange(len(before)), wanted_M[part]][:, None]
        missed_B = np.isneginf(own_B1[:, 0])
        ahead_M[part] = np.where(missed_B, MISSED, (scores_BN > own_B1).sum(1))
        tied_M[part] = np.where(missed_B, 1, (scores_BN == own_B1).sum(1))
    return Ranks(ahead_M, tied_M)
