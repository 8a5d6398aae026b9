"""`GenerativeRecommender`: histories in, ranked items out, and where given targets stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trialigngr.decode.beam import Beams, BeamSearch
from trialigngr.decode.filters import Filter, Filters, Rows, as_filter
from trialigngr.decode.prior import Prior, Priors
from trialigngr.decode.sequence_model import Prompts
from trialigngr.decode.settings import DecodeSettings
from trialigngr.foundation.console import show_progress
from trialigngr.metrics.ranks import NOT_LISTED, Ranks

BuildPrompt = Callable[[Rows], list[int]]
PriorSource = Priors | Callable[[Rows], Priors]
"""A prior a history, or what makes those of some histories, by their places, when they are decoded."""


@dataclass(frozen=True)
class RankedList:
    """One ranked list. Items that share a SID stand together, in row order; ``scores`` are SIDs' log-probabilities, or
    those under the mixture with a prior, with its two parts beside them (see `Beams`)."""

    rows: Rows
    scores: npt.NDArray[np.float32]
    generator_scores: npt.NDArray[np.float32] | None = None
    prior_shares: npt.NDArray[np.float32] | None = None


class GenerativeRecommender:
    """Beam search over prompts made from histories of catalogue rows. ``build_prompt`` turns a history into token
    ids."""

    def __init__(self, search: BeamSearch, build_prompt: BuildPrompt, settings: DecodeSettings) -> None:
        self.search, self.build_prompt, self.settings = search, build_prompt, settings

    def with_num_beams(self, num_beams: int) -> GenerativeRecommender:
        """Return the same with so many beams."""
        if self.settings.num_beams == num_beams:
            return self
        changed = self.settings.model_copy(update={"num_beams": num_beams})
        return GenerativeRecommender(self.search, self.build_prompt, changed)

    def recommend(
        self, history: Rows, k: int, item_filter: Filter | Rows | None = None, prior: Prior | None = None
    ) -> RankedList:
        """Return the best k items after a history (oldest first), of those that a filter lets; a prior is mixed in."""
        return self.recommend_after_prompt(self.build_prompt(history), k, item_filter, prior)

    def recommend_after_prompt(
        self, prompt: list[int], k: int, item_filter: Filter | Rows | None = None, prior: Prior | None = None
    ) -> RankedList:
        """Return the best k items after a prompt. Where k is more than the beams, k beams are kept."""
        beams = min(max(self.settings.num_beams, k), len(self.search.trie.levels[-1]))
        found = self.search([prompt], beams, [item_filter], None if prior is None else [prior])
        return self.rank_items(found, k, [item_filter])[0]

    def iter_beam_batches(
        self, prompts: Prompts, filters: Filters = None, priors: PriorSource = None, description: str = "decode"
    ) -> Iterator[tuple[Rows, Beams]]:
        """Yield (places in ``prompts``, their beams), prompts of like length together, longest first."""
        order = np.argsort([-len(prompt) for prompt in prompts], kind="stable")
        with show_progress(description, len(prompts)) as advance:
            for start in range(0, len(order), self.settings.batch_size):
                here = order[start : start + self.settings.batch_size]
                own = None if filters is None else [filters[place] for place in here]
                if callable(priors):
                    mixed = priors(here)
                else:
                    mixed = None if priors is None else [priors[place] for place in here]
                yield here, self.search([prompts[place] for place in here], self.settings.num_beams, own, mixed)
                advance(len(here))

    def decode_beams(
        self,
        histories: Sequence[Rows],
        filters: Filters = None,
        priors: PriorSource = None,
        description: str = "decode",
    ) -> Beams:
        """Return the beams of many histories, in their order."""
        return self.decode_prompts([self.build_prompt(rows) for rows in histories], filters, priors, description)

    def decode_prompts(
        self, prompts: Prompts, filters: Filters = None, priors: PriorSource = None, description: str = "decode"
    ) -> Beams:
        """Return the beams of many prompts, in their order."""
        shape = (len(prompts), self.settings.num_beams)
        scores = [np.empty(shape, dtype=np.float32) for _ in range(1 if priors is None else 3)]
        found = Beams(np.empty(shape, dtype=np.int64), *scores)
        for places, beams in self.iter_beam_batches(prompts, filters, priors, description):
            for name, values in vars(beams).items():
                if values is not None:
                    getattr(found, name)[places] = values
        return found

    def rank_items(self, beams: Beams, k: int, filters: Filters = None) -> list[RankedList]:
        """Return the best k items of each prompt's beams."""
        given = [None] * len(beams.leaves_BW) if filters is None else filters
        held_BW = self._count_leaf_items(beams.leaves_BW)
        found = self._list_leaf_items(beams.leaves_BW.ravel(), held_BW.ravel())
        parts = [beams.scores_BW, beams.generator_scores_BW, beams.prior_shares_BW]
        scores = [np.repeat(part.ravel(), held_BW.ravel()) for part in parts if part is not None]
        rankings = []
        for (start, end), allowed in zip(pairwise([0, *np.cumsum(held_BW.sum(1)).tolist()]), given, strict=True):
            kept = start + np.flatnonzero(as_filter(allowed).is_allowed(found[start:end]))[:k]
            rankings.append(RankedList(found[kept], *(part[kept] for part in scores)))
        return rankings

    def compute_ranks(self, beams: Beams, targets: Rows, filters: Filters = None) -> Ranks:
        """Return where each target item stands among the items of its beams.

        Items that its filter does not let take no place, and a target that it does not let is missed.
        """
        held_BW = self._count_leaf_items(beams.leaves_BW)
        found_BW = beams.leaves_BW == self.search.trie.node_of_item[-1][targets][:, None]
        hit_B = found_BW.any(1)
        if filters is not None:
            held_BW = np.stack(
                [self._count_allowed_items(*row) for row in zip(beams.leaves_BW, held_BW, filters, strict=True)]
            )
            hit_B &= [as_filter(own).is_allowed(targets[b : b + 1])[0] for b, own in enumerate(filters)]
        before_BW = np.cumsum(held_BW, axis=1) - held_BW
        line, place_B = np.arange(len(targets)), found_BW.argmax(1)
        ahead = np.where(hit_B, before_BW[line, place_B], NOT_LISTED)
        return Ranks(ahead, np.where(hit_B, held_BW[line, place_B], 1))

    def _count_leaf_items(self, leaves: Rows) -> Rows:
        """Return how many items each leaf holds; a leaf of −1 holds nothing."""
        children = self.search.trie.levels[-1].child_starts
        return np.where(leaves < 0, 0, children[leaves + 1] - children[leaves])

    def _list_leaf_items(self, leaves_W: Rows, held_W: Rows) -> Rows:
        """Return the items of leaves, one leaf after the other, each leaf's in row order as the trie has them."""
        first_W = self.search.trie.levels[-1].child_starts[leaves_W]
        behind_W = np.cumsum(held_W) - held_W
        return self.search.trie.sorted_rows[np.repeat(first_W - behind_W, held_W) + np.arange(held_W.sum())]

    def _count_allowed_items(self, leaves_W: Rows, held_W: Rows, item_filter: Filter | Rows | None) -> Rows:
        """Return how many items of each leaf a filter lets."""
        kept = as_filter(item_filter).is_allowed(self._list_leaf_items(leaves_W, held_W))
        beam = np.repeat(np.arange(len(leaves_W)), held_W)
        return np.bincount(beam[kept], minlength=len(leaves_W))

    def compute_sid_ranks(self, beams: Beams, targets: Rows) -> Ranks:
        """Return where each target's SID stands among the SIDs (one place a SID: the peers' way of counting)."""
        found_BW = beams.leaves_BW == self.search.trie.node_of_item[-1][targets][:, None]
        ahead = np.where(found_BW.any(1), found_BW.argmax(1), NOT_LISTED)
        return Ranks(ahead, np.ones_like(ahead))
