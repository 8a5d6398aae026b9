"""`JoinedSystem`: lists of several beam searches over the same items as one list, and the rules that join them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.queries import Queries, Rows
from trialigngr.decode.filters import Filter, Filters, as_filter
from trialigngr.decode.generative_recommender import GenerativeRecommender
from trialigngr.evaluate.system import RankedLists, TargetRanking
from trialigngr.evaluate.target_ranks import ITEM
from trialigngr.metrics.ranks import NOT_LISTED, Ranks
from trialigngr.seq2seq.batches import SidSequences

Floats = npt.NDArray[np.float64]
JoinScores = Callable[[Floats, Rows], Floats]
"""Log-probabilities of S items by P searches [S, P], −inf where an item is not in that list, and the levels of each
search's SIDs [P] → a score each [S]."""


def add_bonus(scores_SP: Floats, levels_P: Rows) -> Floats:
    """Return the mean of the log-probabilities a token, plus 1, of an item that is in all lists, and else its own
    (MACRec's rule: its scores are those of `generate`, which divides by the length)."""
    per_token_SP = scores_SP / levels_P
    everywhere_S = np.isfinite(per_token_SP).all(1)
    return np.where(everywhere_S, per_token_SP.mean(1) + 1, per_token_SP.max(1))


def mix_probabilities(scores_SP: Floats, _levels_P: Rows) -> Floats:
    """Return the logarithm of the mean of the probabilities; 0 stands for what a list does not hold."""
    mixed_S: Floats = np.logaddexp.reduce(scores_SP, axis=1) - np.log(scores_SP.shape[1])
    return mixed_S


@dataclass(frozen=True)
class PartialSearch:
    """Beam search over one kind of SIDs, which the items in ``rows_M``, in order, have."""

    recommender: GenerativeRecommender
    sequences: SidSequences
    rows_M: Rows

    def find_scores(
        self, queries: Queries, num_beams: int, filters: Filters, description: str
    ) -> tuple[Rows, Rows, Floats]:
        """Return what is in the beams, item by item: whose list it is in, catalogue row and log-probability."""
        recommender = self.recommender.with_num_beams(num_beams)
        own = None if filters is None else [self._translate_filter(as_filter(given)) for given in filters]
        beams = recommender.decode_prompts(self.sequences.encode_queries(queries), own, None, description)
        rankings = recommender.rank_items(beams, len(self.rows_M), own)
        counts_B = np.array([len(ranking.rows) for ranking in rankings], dtype=np.int64)
        rows = np.concatenate([np.empty(0, np.int64), *(ranking.rows for ranking in rankings)])
        scores = np.concatenate([np.empty(0), *(ranking.scores for ranking in rankings)])
        return np.repeat(np.arange(len(rankings)), counts_B), self.rows_M[rows], scores

    def _translate_filter(self, given: Filter) -> Filter:
        """Return a filter of catalogue rows as one of this search's items."""
        only = None if given.only_rows is None else self._find_own(given.only_rows)
        return Filter(self._find_own(given.denied_rows), only)

    def _find_own(self, rows: Rows) -> Rows:
        return np.flatnonzero(np.isin(self.rows_M, rows))


class JoinedSystem:
    """A `System` of one or several searches over ``num_items`` items, each with as many beams."""

    def __init__(
        self, name: str, searches: Sequence[PartialSearch], join: JoinScores, num_items: int, max_history: int
    ) -> None:
        self.name, self.searches, self.join = name, searches, join
        self.num_items, self.max_history = num_items, max_history

    def rank(self, queries: Queries, k: int, filters: Filters = None) -> RankedLists:
        """Return the best k items after each history."""
        lists = self._join_lists(queries, k, filters, self.name)
        return RankedLists(lists.rows_BK[:, :k], lists.scores_BK[:, :k])

    def rank_targets(
        self, queries: Queries, targets_B: Rows, k: int, filters: Filters = None, description: str = ""
    ) -> TargetRanking:
        """Return where each target stands in its joined list; one that no list holds is missed."""
        lists = self._join_lists(queries, k, filters, description or self.name)
        is_target_BK = (lists.rows_BK == targets_B[:, None]) & (lists.rows_BK >= 0)
        own_B1 = np.where(is_target_BK, lists.scores_BK, -np.inf).max(1, initial=-np.inf, keepdims=True)
        hit_B = is_target_BK.any(1)
        ahead_B = np.where(hit_B, (lists.scores_BK > own_B1).sum(1), NOT_LISTED)
        tied_B = np.where(hit_B, (lists.scores_BK == own_B1).sum(1), 1)
        first = RankedLists(_pad_columns(lists.rows_BK, k, -1), _pad_columns(lists.scores_BK, k, -np.inf))
        return TargetRanking({ITEM: Ranks(ahead_B, tied_B)}, first)

    def _join_lists(self, queries: Queries, k: int, filters: Filters, description: str) -> RankedLists:
        """Return all items of all beams, best first; equal scores in row order."""
        shown = queries.keep_last(self.max_history)
        width = self.searches[0].recommender.settings.choose_num_beams(k, self.num_items)
        found = [search.find_scores(shown, width, filters, description) for search in self.searches]
        keys = [lines * self.num_items + rows for lines, rows, _ in found]
        joined_S, places = np.unique(np.concatenate(keys), return_inverse=True)
        scores_SP = np.full((len(joined_S), len(found)), -np.inf)
        search = np.repeat(np.arange(len(found)), [len(own) for own in keys])
        scores_SP[places, search] = np.concatenate([scores for _, _, scores in found])
        levels_P = np.array([one.sequences.tokens_NL.shape[1] for one in self.searches])
        score_S = self.join(scores_SP, levels_P)
        line_S, row_S = np.divmod(joined_S, self.num_items)
        order_S = np.lexsort((row_S, -score_S, line_S))
        lengths_B = np.bincount(line_S, minlength=len(queries))
        is_item_BK = np.arange(lengths_B.max(initial=0)) < lengths_B[:, None]
        rows_BK, scores_BK = np.full(is_item_BK.shape, -1), np.full(is_item_BK.shape, -np.inf)
        rows_BK[is_item_BK], scores_BK[is_item_BK] = row_S[order_S], score_S[order_S]
        return RankedLists(rows_BK, scores_BK)


def _pad_columns(values_BK: npt.NDArray[Any], k: int, filling: float) -> npt.NDArray[Any]:
    """Return k columns."""
    short = max(0, k - values_BK.shape[1])
    return np.pad(values_BK[:, :k], ((0, 0), (0, short)), constant_values=filling)
