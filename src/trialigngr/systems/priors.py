"""`SystemPrior`: what a system of the registry says of the items, as a prior beside the generator; `MixedScorer`: the
same beside any other system."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trialigngr.catalog.queries import Queries
from trialigngr.decode.prior import Prior, PriorForm
from trialigngr.evaluate.system import FloatArray, Scorer, ScorerSystem, System
from trialigngr.foundation.errors import RecipeError
from trialigngr.systems.item_to_item import ItemToItem


@dataclass(frozen=True)
class SystemPrior:
    """Priors made of the scores of a system that knows the first ``num_items`` rows of the catalogue.

    Counts (a sparse `ItemToItem`) give the weights that are not 0, without what breaks ties; with their sum n over the
    shown items λ is ``mixing_weight`` · n / (n + ``confidence``). Of any other system it is the softmax of its scores,
    and λ is ``mixing_weight``.
    """

    scorer: Scorer
    num_items: int
    mixing_weight: float
    confidence: float
    form: PriorForm = "linear"

    def build(self, queries: Queries, num_items: int) -> list[Prior | None]:
        """Return a prior a query over a catalogue that may have grown since: items that the system does not know have
        no weight. None where the system has nothing to say, as of a history of which it knows no item."""
        known = queries.keep_known(self.num_items)
        places = np.array([place for place, rows in enumerate(known.items) if len(rows)], dtype=np.int64)
        found: list[Prior | None] = [None] * len(queries)
        if len(places):
            asked = known.pick(places)
            counts = _sum_counts(self.scorer, asked)
            priors = self._share_scores(asked, num_items) if counts is None else self._share_counts(counts)
            for place, prior in zip(places.tolist(), priors, strict=True):
                found[place] = prior
        return found

    def _share_counts(self, counts_BN: sparse.csr_array) -> list[Prior | None]:
        lines = [slice(*counts_BN.indptr[place : place + 2]) for place in range(counts_BN.shape[0])]
        return [self._weigh_counts(counts_BN.data[line], counts_BN.indices[line].astype(np.int64)) for line in lines]

    def _weigh_counts(self, weights_R: npt.NDArray[np.float32], rows_R: npt.NDArray[np.int64]) -> Prior | None:
        mass = float(weights_R.sum(dtype=np.float64))
        if not mass:
            return None
        return Prior(weights_R, self.mixing_weight * mass / (mass + self.confidence), rows_R, self.form)

    def _share_scores(self, queries: Queries, num_items: int) -> list[Prior | None]:
        shares_BN = compute_softmax(self.scorer.score_items(queries))
        padded_BN = np.pad(shares_BN, ((0, 0), (0, num_items - self.num_items)))
        return [Prior(shares_N, self.mixing_weight, None, self.form) for shares_N in padded_BN]


def make_prior(
    system: System, num_items: int, mixing_weight: float, confidence: float, form: PriorForm = "linear"
) -> SystemPrior:
    """Return what a system says as a prior; raise as `find_scorer` does."""
    return SystemPrior(find_scorer(system), num_items, mixing_weight, confidence, form)


def find_scorer(system: System) -> Scorer:
    """Return the scorer of a system; raise `RecipeError` for one that gives no score to every item."""
    if not isinstance(system, ScorerSystem):
        raise RecipeError(f"The system {system.name} gives no score to every item, so it cannot be mixed in.")
    return system.scorer


class MixedScorer:
    """Scores items by (1 − λ) · softmax of a system's scores + λ · share of a prior's weights, as beam search mixes
    them with the generator's probabilities."""

    def __init__(self, name: str, scorer: Scorer, prior: SystemPrior) -> None:
        self.name, self.scorer, self.prior = name, scorer, prior
        reads = (scorer.max_history, prior.scorer.max_history)
        self.max_history = None if None in reads else max(filter(None, reads))

    def score_items(self, queries: Queries) -> FloatArray:
        """Return the probabilities [B, N] under the mixture."""
        mixed_BN = compute_softmax(self.scorer.score_items(queries))
        for mixed_N, prior in zip(mixed_BN, self.prior.build(queries, mixed_BN.shape[1]), strict=True):
            if prior is not None:
                mixed_N *= 1 - prior.mixing_weight
                rows = slice(None) if prior.rows is None else prior.rows
                mixed_N[rows] += prior.mixing_weight * prior.weights / prior.weights.sum(dtype=np.float64)
        return mixed_BN


def compute_softmax(scores_BN: FloatArray) -> FloatArray:
    """Return scores as shares that sum to 1 over the items, float64."""
    shares_BN = scores_BN.astype(np.float64)
    np.exp(shares_BN - shares_BN.max(1, keepdims=True), out=shares_BN)
    shares_BN /= shares_BN.sum(1, keepdims=True)
    return shares_BN


def _sum_counts(scorer: Scorer, queries: Queries) -> sparse.csr_array | None:
    """Return the sums of counts [B, N]; None of a system that is no table of counts."""
    if isinstance(scorer, ItemToItem) and sparse.issparse(scorer.weights_NN):
        return scorer.sum_weights(queries)
    return None
