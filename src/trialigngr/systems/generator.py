"""What writes SIDs, as a `System`: the generator, which is a language model, and those beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from trialigngr.catalog.queries import Queries
from trialigngr.decode.beam import Beams
from trialigngr.decode.filters import Filters, Rows
from trialigngr.decode.generative_recommender import GenerativeRecommender, RankedList
from trialigngr.decode.prior import Prior, Priors
from trialigngr.decode.sequence_model import Prompts
from trialigngr.evaluate.system import FloatArray, RankedLists, TargetRanking
from trialigngr.evaluate.target_lists import pad_lists
from trialigngr.evaluate.target_ranks import ITEM, SID
from trialigngr.seq2seq.settings import Seq2SeqSettings
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.systems.spec import SidInputs

BuildPriors = Callable[[Queries], Priors]
BuildPrompts = Callable[[Queries], Prompts]


class GeneratorInputs(Protocol):
    """What the generator is loaded from: a run whose model is trained."""

    @property
    def sid_recommender(self) -> GenerativeRecommender:
        """Beam search with the run's model over the run's SIDs."""
        ...

    @property
    def mixed_recommender(self) -> GenerativeRecommender:
        """The same with the model's item head, where the recipe mixes it in."""
        ...

    @property
    def max_prompt_history(self) -> int:
        """Items of a history that a prompt shows at most."""
        ...

    @property
    def build_priors(self) -> BuildPriors | None:
        """What the recipe mixes with the generator's probabilities; None for nothing."""
        ...


class GeneratorSystem:
    """Beam search over SIDs, or titles; items that share a SID share its places. Lists of k items take k beams, where
    that is more than `decode.num_beams`."""

    def __init__(
        self,
        recommender: GenerativeRecommender,
        max_history: int,
        build_priors: BuildPriors | None = None,
        *,
        name: str = "generator",
        build_prompts: BuildPrompts | None = None,
    ) -> None:
        """``build_priors`` returns what is mixed with the generator's probabilities, a prior a query;
        ``build_prompts`` a prompt a query, for a generator to which more than the items of a history is shown."""
        self.recommender, self.max_history, self.name = recommender, max_history, name
        self.build_priors, self.build_prompts = build_priors, build_prompts

    def rank(self, queries: Queries, k: int, filters: Filters = None) -> RankedLists:
        """Return the best k items after each history; scores are log-probabilities.

        With priors the parts are ``generator``, the generator's log-probability, ``prior``, the share of the prior's
        weights, and, where they are mixed linearly, ``from_prior``: how much of the probability comes from the prior.
        With an item head ``items`` is the share that it gives.
        """
        recommender = self._with_enough_beams(k)
        beams, mixing_B = self._decode(recommender, queries, filters, "")
        return _divide_scores(pad_rankings(recommender.rank_items(beams, k, filters)), mixing_B)

    def rank_targets(
        self, queries: Queries, targets_B: Rows, k: int, filters: Filters = None, description: str = ""
    ) -> TargetRanking:
        """Return where each target stands among the items of its beams; one that no beam holds is missed."""
        recommender = self._with_enough_beams(k)
        beams, _ = self._decode(recommender, queries, filters, description or self.name)
        ranks = {ITEM: recommender.compute_ranks(beams, targets_B, filters)}
        if filters is None:
            ranks[SID] = recommender.compute_sid_ranks(beams, targets_B)
        return TargetRanking(ranks, pad_rankings(recommender.rank_items(beams, k, filters), k))

    def _with_enough_beams(self, k: int) -> GenerativeRecommender:
        num_items = len(self.recommender.search.trie.sorted_rows)
        return self.recommender.with_num_beams(self.recommender.settings.choose_num_beams(k, num_items))

    def _decode(
        self, recommender: GenerativeRecommender, queries: Queries, filters: Filters, description: str
    ) -> tuple[Beams, FloatArray]:
        """Return the beams, and λ of each query's prior; NaN where that is no share of a sum."""
        build_priors, mixing_B = self.build_priors, np.zeros(len(queries))
        shown = queries.keep_last(self.max_history)
        build_prompt = recommender.build_prompt
        prompts = [*map(build_prompt, shown.items)] if self.build_prompts is None else self.build_prompts(shown)
        if build_priors is None:
            return recommender.decode_prompts(prompts, filters, None, description), mixing_B

        def build(places: Rows) -> Priors:
            priors = build_priors(queries.pick(places))
            mixing_B[places] = [_read_mixing_weight(prior) for prior in priors or ()]
            return priors

        return recommender.decode_prompts(prompts, filters, build, description), mixing_B


def _read_mixing_weight(prior: Prior | None) -> float:
    if prior is None:
        return 0.0
    return prior.mixing_weight if prior.form == "linear" else float("nan")


def _divide_scores(lists: RankedLists, mixing_B: FloatArray) -> RankedLists:
    """Return lists with the part ``from_prior``, where they have parts and every mixture is a sum."""
    if "prior" not in lists.parts or np.isnan(mixing_B).any():
        return lists
    held_BK, is_item_BK = mixing_B[:, None] * lists.parts["prior"], lists.rows_BK >= 0
    from_prior_BK = np.divide(held_BK, np.exp(lists.scores_BK), out=np.zeros_like(held_BK), where=is_item_BK)
    return replace(lists, parts={**lists.parts, "from_prior": from_prior_BK})


def pad_rankings(rankings: list[RankedList], k: int | None = None) -> RankedLists:
    """Return lists as arrays of k columns, or of as many as the longest has."""
    width = max((len(ranking.rows) for ranking in rankings), default=0) if k is None else k
    names = {"scores": "score", "generator_scores": "generator", "prior_shares": "prior", "item_shares": "items"}
    names = {source: name for source, name in names.items() if rankings and getattr(rankings[0], source) is not None}
    names |= {"scores": "score"}
    columns = {name: np.full((len(rankings), width), -np.inf, dtype=np.float32) for name in names.values()}
    for line, ranking in enumerate(rankings):
        for source, name in names.items():
            columns[name][line, : len(ranking.rows)] = getattr(ranking, source)
    rows_BK = pad_lists([ranking.rows for ranking in rankings], width)
    return RankedLists(rows_BK, columns.pop("score"), columns)


def load_generator(inputs: GeneratorInputs, _folder: Path) -> GeneratorSystem:
    """Return the generator of a run, with what its recipe mixes in."""
    return GeneratorSystem(inputs.mixed_recommender, inputs.max_prompt_history, inputs.build_priors)


def load_generator_alone(inputs: GeneratorInputs, _folder: Path) -> GeneratorSystem:
    """Return the generator of a run, without a prior."""
    return GeneratorSystem(inputs.sid_recommender, inputs.max_prompt_history, name="generator_alone")


def load_seq2seq(
    name: str, settings: type[Seq2SeqSettings], inputs: SidInputs, sids: SemanticIds, folder: Path
) -> GeneratorSystem:
    """Return an encoder–decoder generator of a run, over SIDs as they are now."""
    from trialigngr.seq2seq.model import Seq2SeqGenerator

    own = Seq2SeqGenerator.load(name, settings, folder, sids.codebook_sizes, inputs.device)
    recommender, sequences = own.build_recommender(sids.codes_NL, inputs.decode), own.build_sequences(sids.codes_NL)
    return GeneratorSystem(recommender, own.settings.max_history, name=name, build_prompts=sequences.encode_queries)
