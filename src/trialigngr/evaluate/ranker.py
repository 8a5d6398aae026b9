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
    """Return where each target stands among all items, as `ranked` does."""
    return ranked(ranker, histories, targets, 0, unseen=unseen)[0]


def ranked(ranker: Ranker, histories: Histories, targets: Targets, longest: int, *, unseen: bool) -> tuple[Ranks, Rows]:
    """Return where each target stands among all items, and the first ``longest`` rows of its list [M, longest].

    Items of equal score share their places; in a list they stand in an order that means nothing. With ``unseen``,
    items taken before a target take no place (−1 where a list ends), and a target that was taken before is missed: no
    list without seen items can hold it.
    """
    wanted_M = histories.target_items(targets)
    ahead_M, tied_M = np.empty(len(targets), np.int64), np.empty(len(targets), np.int64)
    lists_MR = np.full((len(targets), longest), -1, np.int64)
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
        lists_MR[part, : scores_BN.shape[1]] = _first(scores_BN, min(longest, scores_BN.shape[1]))
    return Ranks(ahead_M, tied_M), lists_MR


def _first(scores_BN: Floats, longest: int) -> Rows:
    """Return the rows of the best scores [B, longest]; −1 for a score of −inf."""
    if not longest:
        return np.empty((len(scores_BN), 0), np.int64)
    rows_BR = np.argpartition(-scores_BN, longest - 1, axis=1)[:, :longest]
    scores_BR = np.take_along_axis(scores_BN, rows_BR, 1)
    order_BR = np.lexsort((rows_BR, -scores_BR))
    best_BR = np.take_along_axis(rows_BR, order_BR, 1)
    return np.where(np.isneginf(np.take_along_axis(scores_BR, order_BR, 1)), -1, best_BR)
