"""`System`: anything that ranks the catalogue's items after a history. `Scorer`: one that gives every item a score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.catalog.queries import Queries
from trialigngr.decode.filters import Filter, Filters, Rows, as_filter
from trialigngr.evaluate.target_ranks import ITEM
from trialigngr.foundation.console import show_progress
from trialigngr.foundation.errors import TriAlignError
from trialigngr.metrics.ranks import NOT_LISTED, Ranks

FloatArray = npt.NDArray[np.floating]
BATCH_SIZE = 256
"""Queries scored at a time, at most."""
MAX_SCORES = 2**25
"""Scores that are there at a time: of a million items those of 33 queries, an eighth of a gigabyte."""


@dataclass(frozen=True)
class RankedLists:
    """The first K items after each of B histories, best first: catalogue rows [B, K], −1 where a list ends, and their
    scores."""

    rows_BK: Rows
    scores_BK: FloatArray
    parts: Mapping[str, FloatArray] = field(default_factory=dict)
    """What the scores are made of, by name [B, K], where they are made of several."""

    def take_list(self, place: int, k: int) -> RankedLists:
        """Return one list, cut at k, without what stands for its end."""
        real_K = self.rows_BK[place, :k] >= 0
        scores = {name: array_BK[place, :k][real_K][None] for name, array_BK in self.parts.items()}
        return RankedLists(self.rows_BK[place, :k][real_K][None], self.scores_BK[place, :k][real_K][None], scores)


@dataclass(frozen=True)
class TargetRanking:
    """Where B targets stand, by way of counting (item level, and SID level where a system has SIDs), and the lists."""

    ranks: Mapping[str, Ranks]
    lists: RankedLists


class System(Protocol):
    """A system fitted on the training parts only. A filter never changes the order of what it leaves."""

    @property
    def name(self) -> str:
        """Its name in the registry and in tables."""
        ...

    @property
    def max_history(self) -> int | None:
        """Items of a history that it looks at, at most; None for all."""
        ...

    def rank(self, queries: Queries, k: int, filters: Filters = None) -> RankedLists:
        """Return the best k items after each history, of those that its filter allows."""
        ...

    def rank_targets(
        self, queries: Queries, targets_B: Rows, k: int, filters: Filters = None, description: str = ""
    ) -> TargetRanking:
        """Return where each target stands among all items that its filter allows, and the first k of each list.

        Items of equal score share their places. A target that its filter does not allow is missed: no list can hold it.
        ``description`` stands beside the progress.
        """
        ...


class Scorer(Protocol):
    """A system that scores all items after a history, fitted on the training parts only."""

    @property
    def name(self) -> str:
        """Its name in the registry and in tables."""
        ...

    @property
    def max_history(self) -> int | None:
        """Items of a history that it looks at, at most; None for all."""
        ...

    def score_items(self, queries: Queries) -> FloatArray:
        """Return a score for every item [B, N] after each of B histories."""
        ...


class ScorerSystem:
    """A `Scorer` as a `System`."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.name, self.max_history = scorer, scorer.name, scorer.max_history

    def rank(self, queries: Queries, k: int, filters: Filters = None) -> RankedLists:
        """Return the best k items after each history."""
        if not len(queries):
            return RankedLists(np.empty((0, 0), np.int64), np.empty((0, 0)))
        rows, scores = list[Rows](), list[FloatArray]()
        for _, scores_bN in self._iter_scores(queries, filters):
            rows.append(select_top_rows(scores_bN, k))
            scores.append(np.take_along_axis(scores_bN, np.maximum(rows[-1], 0), 1))
        return RankedLists(np.concatenate(rows), np.concatenate(scores))

    def rank_targets(
        self, queries: Queries, targets_B: Rows, k: int, filters: Filters = None, description: str = ""
    ) -> TargetRanking:
        """Return where each target stands among all items."""
        ahead_B, tied_B = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
        rows_BK = np.full((len(queries), k), -1, np.int64)
        scores_BK = np.full((len(queries), k), -np.inf, np.float32)
        with show_progress(description or self.name, len(queries)) as advance:
            for part, scores_bN in self._iter_scores(queries, filters):
                own_b1 = scores_bN[np.arange(len(scores_bN)), targets_B[part]][:, None]
                missed_b = np.isneginf(own_b1[:, 0])
                ahead_B[part] = np.where(missed_b, NOT_LISTED, (scores_bN > own_b1).sum(1))
                tied_B[part] = np.where(missed_b, 1, (scores_bN == own_b1).sum(1))
                rows_bK = select_top_rows(scores_bN, k)
                rows_BK[part, : rows_bK.shape[1]] = rows_bK
                scores_BK[part, : rows_bK.shape[1]] = np.take_along_axis(scores_bN, np.maximum(rows_bK, 0), 1)
                advance(len(scores_bN))
        return TargetRanking({ITEM: Ranks(ahead_B, tied_B)}, RankedLists(rows_BK, scores_BK))

    def _iter_scores(self, queries: Queries, filters: Filters) -> Iterator[tuple[slice, FloatArray]]:
        """Yield parts of the queries and their scores [b, N], few enough that they stay small."""
        start, size = 0, 1  # the first one tells how many items there are
        while start < len(queries):
            part = slice(start, start + size)
            scores_bN = self._score_allowed_items(queries, part, filters)
            yield part, scores_bN
            start += len(scores_bN)
            size = max(1, min(BATCH_SIZE, MAX_SCORES // scores_bN.shape[1]))

    def _score_allowed_items(self, queries: Queries, part: slice, filters: Filters) -> FloatArray:
        """Return the scores [b, N] of a part of the queries, −inf for what a filter does not allow."""
        asked = queries.take(part)
        scores_bN = np.array(self.scorer.score_items(asked))
        if not np.issubdtype(scores_bN.dtype, np.floating):
            scores_bN = scores_bN.astype(np.float64)
        if scores_bN.ndim != 2 or len(scores_bN) != len(asked):
            raise TriAlignError(
                f"The system {self.name} gave no list of numbers for each of {len(asked)} histories (shape "
                f"{scores_bN.shape}); it needs a score for every item."
            )
        if np.isnan(scores_bN).any():
            raise TriAlignError(
                f"The system {self.name} gave a score that is not a number; if it learns by steps, lower "
                f"{self.name}.learning_rate."
            )
        if filters is not None:
            for line, given in enumerate(filters[part]):
                _mask_scores(scores_bN[line], as_filter(given))
        return scores_bN


def _mask_scores(scores_N: FloatArray, given: Filter) -> None:
    """Put −inf where a filter allows nothing. Rows beyond the N items are of items that the system does not know."""
    if given.only_rows is not None:
        kept = given.only_rows[given.only_rows < len(scores_N)]
        scores = scores_N[kept]
        scores_N[:] = -np.inf
        scores_N[kept] = scores
    scores_N[given.denied_rows[given.denied_rows < len(scores_N)]] = -np.inf


def select_top_rows(scores_BN: FloatArray, k: int) -> Rows:
    """Return the rows of the best scores [B, K], K ≤ k; equal ones in row order (which of those that tie
    for the last places stand there means nothing), −1 for a score of −inf."""
    k = min(k, scores_BN.shape[1])
    if not k:
        return np.empty((len(scores_BN), 0), np.int64)
    rows_BK = np.argpartition(-scores_BN, k - 1, axis=1)[:, :k]
    scores_BK = np.take_along_axis(scores_BN, rows_BK, 1)
    order_BK = np.lexsort((rows_BK, -scores_BK))
    best_BK = np.take_along_axis(rows_BK, order_BK, 1)
    return np.where(np.isneginf(np.take_along_axis(scores_BK, order_BK, 1)), -1, best_BK)


def compute_ranks(scorer: Scorer, histories: Histories, targets: Targets, *, mask_seen: bool = False) -> Ranks:
    """Return where each target stands among all items by a scorer; ``mask_seen`` leaves out what was taken before."""
    queries = histories.build_queries(targets)
    found = ScorerSystem(scorer).rank_targets(
        queries, histories.target_items(targets), 0, list(queries.items) if mask_seen else None
    )
    return found.ranks[ITEM]
