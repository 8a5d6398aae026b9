"""`Scorer`: any system that scores all items after a history, and where targets stand by its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.metrics.ranks import NOT_LISTED, Ranks

FloatArray = npt.NDArray[np.floating]
Rows = npt.NDArray[np.int64]
BATCH_SIZE = 256
"""Targets scored at a time."""


class Scorer(Protocol):
    """A system fitted on the training parts only."""

    @property
    def name(self) -> str:
        """How the system is called in tables."""
        ...

    def score_items(self, histories: Sequence[Rows]) -> FloatArray:
        """Return a score for every item [B, N] after each of B histories (catalogue rows, oldest first, not empty)."""
        ...


def compute_ranks(scorer: Scorer, histories: Histories, targets: Targets, *, mask_seen: bool) -> Ranks:
    """Return where each target stands among all items, as `ranked` does."""
    return rank_all_items(scorer, histories, targets, 0, mask_seen=mask_seen)[0]


def rank_all_items(
    scorer: Scorer, histories: Histories, targets: Targets, list_length: int, *, mask_seen: bool
) -> tuple[Ranks, Rows]:
    """Return where each target stands among all items, and the first ``list_length`` rows of its list [M, longest].

    Items of equal score share their places; in a list they stand in an order that means nothing. With ``mask_seen``,
    items taken before a target take no place (−1 where a list ends), and a target that was taken before is missed: no
    list without seen items can hold it.
    """
    wanted_M = histories.target_items(targets)
    ahead_M, tied_M = np.empty(len(targets), np.int64), np.empty(len(targets), np.int64)
    lists_MR = np.full((len(targets), list_length), -1, np.int64)
    for start in range(0, len(targets), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        before = [
            histories.user_sequence(user)[:place]
            for user, place in zip(targets.users[part], targets.positions[part], strict=True)
        ]
        scores_BN = np.array(scorer.score_items(before))
        if mask_seen:
            for line, seen in enumerate(before):
                scores_BN[line, seen] = -np.inf
        own_B1 = scores_BN[np.arange(len(before)), wanted_M[part]][:, None]
        missed_B = np.isneginf(own_B1[:, 0])
        ahead_M[part] = np.where(missed_B, NOT_LISTED, (scores_BN > own_B1).sum(1))
        tied_M[part] = np.where(missed_B, 1, (scores_BN == own_B1).sum(1))
        lists_MR[part, : scores_BN.shape[1]] = _select_top_rows(scores_BN, min(list_length, scores_BN.shape[1]))
    return Ranks(ahead_M, tied_M), lists_MR


def _select_top_rows(scores_BN: FloatArray, list_length: int) -> Rows:
    """Return the rows of the best scores [B, longest]; −1 for a score of −inf."""
    if not list_length:
        return np.empty((len(scores_BN), 0), np.int64)
    rows_BR = np.argpartition(-scores_BN, list_length - 1, axis=1)[:, :list_length]
    scores_BR = np.take_along_axis(scores_BN, rows_BR, 1)
    order_BR = np.lexsort((rows_BR, -scores_BR))
    best_BR = np.take_along_axis(rows_BR, order_BR, 1)
    return np.where(np.isneginf(np.take_along_axis(scores_BR, order_BR, 1)), -1, best_BR)
