"""The generator, a language model that writes SIDs, as a `System`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from trialigngr.catalog.queries import Queries
from trialigngr.decode.beam import Beams
from trialigngr.decode.filters import Filters, Rows
from trialigngr.decode.generative_recommender import GenerativeRecommender
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
    """Beam search over SIDs; items that share a SID share its places."""

    name = "generator"

    def __init__(self, recommender: GenerativeRecommender, max_history: int) -> None:
        self.recommender = recommender
        self.max_history: int | None = max_history

    def rank(self, queries: Queries, k: int, filters: Filters = None) -> RankedLists:
        """Return the best k items after each history; scores are log-probabilities of their SIDs."""
        recommender = self.recommender.with_min_beams(k)
        return _list_items(recommender, self._decode(recommender, queries, filters, self.name), k, filters)

    def rank_targets(
        self, queries: Queries, targets_B: Rows, k: int, filters: Filters = None, description: str = ""
    ) -> TargetRanking:
        """Return where each target stands among the items of its beams; one that no beam holds is missed."""
        recommender = self.recommender.with_min_beams(k)
        beams = self._decode(recommender, queries, filters, description or self.name)
        ranks = {ITEM: recommender.compute_ranks(beams, targets_B, filters)}
        if filters is None:
            ranks[SID] = recommender.compute_sid_ranks(beams, targets_B)
        return TargetRanking(ranks, _list_items(recommender, beams, k, filters))

    def _decode(
        self, recommender: GenerativeRecommender, queries: Queries, filters: Filters, description: str
    ) -> Beams:
        shown = queries.keep_last(self.max_history or 1)
        return recommender.decode_beams(shown.items, filters, description=description)


def _list_items(recommender: GenerativeRecommender, beams: Beams, k: int, filters: Filters) -> RankedLists:
    rankings = recommender.rank_items(beams, k, filters)
    scores_BK = np.full((len(rankings), k), -np.inf, dtype=np.float32)
    for line, ranking in enumerate(rankings):
        scores_BK[line, : len(ranking.scores)] = ranking.scores
    return RankedLists(pad_lists([ranking.rows for ranking in rankings], k), scores_BK)


def load_generator(inputs: GeneratorInputs, _folder: Path) -> GeneratorSystem:
    """Return the generator of a run."""
    return GeneratorSystem(inputs.sid_recommender, inputs.max_prompt_history)
