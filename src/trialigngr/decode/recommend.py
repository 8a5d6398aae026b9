"""`Recommender`: histories in, ranked items out, and where given targets stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from trialigngr.decode.beam import Beams, BeamSearch, Normalisation
from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import progress
from trialigngr.foundation.device import Precision
from trialigngr.metrics.ranks import MISSED, Ranks

Rows = npt.NDArray[np.int64]
Prompter = Callable[[Rows], list[int]]


class DecodeSettings(Settings):
    """How recommendations are written."""

    beams: int = Field(20, ge=1)
    """Beams kept at every level."""
    normalisation: Normalisation = "vocabulary"
    """``vocabulary``: log-softmax over all tokens, then the trie. ``catalogue``: softmax over what the trie allows."""
    batch_size: int = Field(64, ge=1)
    """Prompts decoded together."""
    precision: Precision = "auto"
    """``bf16``, ``fp32``, or ``auto``: bf16 where the hardware is fast at it."""


@dataclass(frozen=True)
class Ranking:
    """One ranked list. Items that share a SID stand together, in row order; ``scores`` are SIDs' log-probabilities."""

    rows: Rows
    scores: npt.NDArray[np.float32]


class Recommender:
    """Beam search over prompts made from histories of catalogue rows. ``prompt`` turns a history into token ids."""

    def __init__(self, search: BeamSearch, prompt: Prompter, settings: DecodeSettings) -> None:
        self.search, self.prompt, self.settings = search, prompt, settings

    def recommend(self, history: Rows, k: int, banned: Rows | None = None) -> Ranking:
        """Return the best k items after a history (oldest first), without the banned ones."""
        beams = max(self.settings.beams, k)
        found = self.search([self.prompt(history)], beams, None if banned is None else [banned])
        return self._ranking(found.leaves_BW[0], found.scores_BW[0], banned, k)

    def _ranking(self, leaves_W: Rows, scores_W: npt.NDArray[np.float32], banned: Rows | None, k: int) -> Ranking:
        rows: list[int] = []
        scores: list[float] = []
        refused = set() if banned is None else set(banned.tolist())
        for leaf, score in zip(leaves_W, scores_W, strict=True):
            new = [row for row in self.search.trie.items_at(leaf).tolist() if row not in refused] if leaf >= 0 else []
            rows += new
            scores += [float(score)] * len(new)
        return Ranking(np.array(rows[:k], dtype=np.int64), np.array(scores[:k], dtype=np.float32))

    def batches(
        self, histories: Sequence[Rows], banned: Sequence[Rows] | None = None, what: str = "decode"
    ) -> Iterator[tuple[Rows, Beams]]:
        """Yield (places in ``histories``, their beams), prompts of like length together, longest first."""
        prompts = [self.prompt(history) for history in histories]
        order = np.argsort([-len(prompt) for prompt in prompts], kind="stable")
        with progress(what, len(prompts)) as advance:
            for start in range(0, len(order), self.settings.batch_size):
                here = order[start : start + self.settings.batch_size]
                refused = None if banned is None else [banned[place] for place in here]
                yield here, self.search([prompts[place] for place in here], self.settings.beams, refused)
                advance(len(here))

    def all_beams(self, histories: Sequence[Rows], banned: Sequence[Rows] | None = None, what: str = "decode") -> Beams:
        """Return the beams of many histories, in their order."""
        leaves = np.empty((len(histories), self.settings.beams), dtype=np.int64)
        scores = np.empty(leaves.shape, dtype=np.float32)
        for places, beams in self.batches(histories, banned, what):
            leaves[places], scores[places] = beams.leaves_BW, beams.scores_BW
        return Beams(leaves, scores)

    def rankings(self, beams: Beams, k: int, banned: Sequence[Rows] | None = None) -> list[Ranking]:
        """Return the best k items of each prompt's beams."""
        refused = [None] * len(beams.leaves_BW) if banned is None else banned
        columns = zip(beams.leaves_BW, beams.scores_BW, refused, strict=True)
        return [self._ranking(leaves, scores, rows, k) for leaves, scores, rows in columns]

    def ranks(self, beams: Beams, targets: Rows, banned: Sequence[Rows] | None = None) -> Ranks:
        """Return where each target item stands among the items of its beams.

        Banned items take no place, and a target that is banned itself is missed.
        """
        trie = self.search.trie
        counts = np.append(trie.item_counts(len(trie.levels) - 1), 0)  # a leaf of −1 holds nothing
        held_BW = counts[beams.leaves_BW]
        found_BW = beams.leaves_BW == trie.node_of_item[-1][targets][:, None]
        hit_B = found_BW.any(1)
        if banned is not None:
            held_BW = held_BW - self._banned_below(beams, banned)
            hit_B &= [target not in out for target, out in zip(targets, banned, strict=True)]
        before_BW = np.cumsum(held_BW, axis=1) - held_BW
        line, place_B = np.arange(len(targets)), found_BW.argmax(1)
        ahead = np.where(hit_B, before_BW[line, place_B], MISSED)
        return Ranks(ahead, np.where(hit_B, held_BW[line, place_B], 1))

    def _banned_below(self, beams: Beams, banned: Sequence[Rows]) -> Rows:
        leaf_of_item = self.search.trie.node_of_item[-1]
        rows = zip(beams.leaves_BW, banned, strict=True)
        return np.stack([(leaves[:, None] == leaf_of_item[np.unique(out)]).sum(1) for leaves, out in rows])

    def sid_ranks(self, beams: Beams, targets: Rows) -> Ranks:
        """Return where each target's SID stands among the SIDs (one place a SID: the peers' way of counting)."""
        found_BW = beams.leaves_BW == self.search.trie.node_of_item[-1][targets][:, None]
        ahead = np.where(found_BW.any(1), found_BW.argmax(1), MISSED)
        return Ranks(ahead, np.ones_like(ahead))
