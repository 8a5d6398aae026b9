"""The generator, a language model that writes SIDs, as a `System`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from trialigngr.catalog.queries import Queries
from trialigngr.decode.filters import Filters, Rows
from trialigngr.decode.generative_recommender import GenerativeRecommender, RankedList
from trialigngr.evaluate.system import RankedLists, TargetRanking
from trialigngr.evaluate.target_lists import pad_lists
from trialigngr.evaluate.target_ranks import ITEM, SID


class GeneratorInputs(Protocol):
    """What the generator is loaded from: a run whose model is trained."""

    @property
    def sid_recommender(self) -> GenerativeRecommender:
        """Beam search with the run's model over the run's SIDs."""
        ...

    @property
    def max_prompt_history(self) -> int:
        """Items of a history that a prompt shows at most."""
        ...


class GeneratorSystem:
    """Beam search over SIDs, or titles; items that share a SID share its places. Lists of k items take k beams, where
    that is more than `decode.num_beams`."""

    name = "generator"

    def __init__(self, recommender: GenerativeRecommender, max_history: int) -> None:
        self.recommender, self.max_history = recommender, max_history

    def choose_num_beams(self, k: int) -> int:
        """Return the beams that lists of k items take."""
        return max(self.recommender.settings.num_beams, min(k, len(self.recommender.search.trie.sorted_rows)))

    def rank(self, queries: Queries, k: int, filters: Filters = None) -> RankedLists:
        """Return the best k items after each history; scores are log-probabilities."""
        recommender = self.recommender.with_num_beams(self.choose_num_beams(k))
        beams = recommender.decode_beams(queries.keep_last(self.max_history).items, filters, description="")
        return pad_rankings(recommender.rank_items(beams, k, filters))

    def rank_targets(
        self, queries: Queries, targets_B: Rows, k: int, filters: Filters = None, description: str = ""
    ) -> TargetRanking:
        """Return where each target stands among the items of its beams; one that no beam holds is missed."""
        recommender = self.recommender.with_num_beams(self.choose_num_beams(k))
        shown = queries.keep_last(self.max_history).items
        beams = recommender.decode_beams(shown, filters, description=description or self.name)
        ranks = {ITEM: recommender.compute_ranks(beams, targets_B, filters)}
        if filters is None:
            ranks[SID] = recommender.compute_sid_ranks(beams, targets_B)
        return TargetRanking(ranks, pad_rankings(recommender.rank_items(beams, k, filters), k))


def pad_rankings(rankings: list[RankedList], k: int | None = None) -> RankedLists:
    """Return lists as arrays of k columns, or of as many as the longest has."""
    width = max((len(ranking.rows) for ranking in rankings), default=0) if k is None else k
    scores_BK = np.full((len(rankings), width), -np.inf, dtype=np.float32)
    for line, ranking in enumerate(rankings):
        scores_BK[line, : len(ranking.scores)] = ranking.scores
    return RankedLists(pad_lists([ranking.rows for ranking in rankings], width), scores_BK)


def load_generator(inputs: GeneratorInputs, _folder: Path) -> GeneratorSystem:
    """Return the generator of a run."""
    return GeneratorSystem(inputs.sid_recommender, inputs.max_prompt_history)
