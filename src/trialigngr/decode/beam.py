"""Beam search over the trie, with the prompt read once.

The prompt is read once a user (`SequenceModel`); beams are continuations of that context. Each step feeds the newest
tokens of a user as so many queries that see the context and their own ancestors, so nothing is copied or reordered
between steps. A step costs at most W tokens: where the rest of a SID is certain already, nothing is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.decode.filters import Filters, Rows
from trialigngr.decode.prior import Prior, Priors
from trialigngr.decode.sequence_model import Prompts, SequenceModel, SequenceState
from trialigngr.decode.trie_masks import TrieMasks
from trialigngr.decode.trie_priors import TriePriors
from trialigngr.foundation.device import autocast
from trialigngr.foundation.errors import RecipeError
from trialigngr.models.item_layer import ItemHead
from trialigngr.sids.semantic_ids import END_CODE
from trialigngr.sids.trie import Trie, TrieLevel

if TYPE_CHECKING:  # a GPU's machine may lack pydantic (benchmarks/decode_gpu.py)
    from trialigngr.decode.settings import ScoreSoftmax
    from trialigngr.foundation.config import Precision

_NEG_INF = float("-inf")
RESERVED_STEPS = 16
"""Steps that room is kept for from the start, more than SIDs have. Titles are longer, and beams over them are certain
long before."""


@dataclass(frozen=True)
class Beams:
    """The best W leaves of the trie for B prompts, best first. A leaf of −1 (score −inf): fewer than W are allowed.

    Where priors were given, or an item head has a say, ``scores_BW`` are of the mixture, and its parts stand beside:
    the generator's log-probability, the share of the prior that the leaf holds (0 for a request without a prior) and
    the share of the head.
    """

    leaves_BW: Rows
    scores_BW: npt.NDArray[np.float32]
    generator_scores_BW: npt.NDArray[np.float32] | None = None
    prior_shares_BW: npt.NDArray[np.float32] | None = None
    item_shares_BW: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class DeviceTrieLevel:
    """The nodes of one depth on the model's device.

    ``tokens_K`` are the distinct tokens that stand there, ``token_of_M`` says which of them each node bears. Below a
    node of which ``uncertain_M`` is False all is certain: the model need not be asked.
    """

    max_children: int
    tokens_K: Tensor
    token_of_M: Tensor
    child_starts: Tensor
    uncertain_M: Tensor

    @classmethod
    def from_trie_level(
        cls, level: TrieLevel, tokens_K: npt.NDArray[np.int64], end_token: int, uncertain_M: npt.NDArray[np.bool_]
    ) -> DeviceTrieLevel:
        """Lay a level of a trie out; ``tokens_K`` are the token ids of its codes."""
        present = np.bincount(level.codes_M - END_CODE) > 0
        codes, place = np.flatnonzero(present) + END_CODE, np.cumsum(present, dtype=np.int32) - 1
        tokens, token_of_M = np.where(codes == END_CODE, end_token, tokens_K[codes]), place[level.codes_M - END_CODE]
        widest = int(np.diff(level.child_starts).max())
        return cls(widest, *map(torch.from_numpy, (tokens, token_of_M, level.child_starts, uncertain_M)))

    def to_device(self, device: torch.device) -> DeviceTrieLevel:
        """Return them on a device."""
        arrays = (self.tokens_K, self.token_of_M, self.child_starts, self.uncertain_M)
        return DeviceTrieLevel(self.max_children, *(array.to(device) for array in arrays))

    def node_tokens(self, nodes: Tensor) -> Tensor:
        """Return the token ids of nodes."""
        return self.tokens_K[self.token_of_M[nodes].long()]


class BeamSearch:
    """Constrained beam search with one model over one trie; neither is changed, so threads may share it.

    ``tokens_LK[l][c]`` is the token id of code c at level l; ``end_token`` stands for a SID that ends early.
    ``score_softmax``: ``full`` normalises over the whole vocabulary, as `generate` does; ``constrained`` over what may
    follow.
    The first search raises `RecipeError` for a model that is not fit.
    """

    def __init__(
        self,
        model: SequenceModel,
        trie: Trie,
        tokens_LK: Sequence[Sequence[int]],
        end_token: int,
        score_softmax: ScoreSoftmax = "constrained",
        precision: Precision = "auto",
    ) -> None:
        self.model, self.trie, self.score_softmax, self.precision = model, trie, score_softmax, precision
        asks = _mark_uncertain_nodes(trie, score_softmax)
        tokens = [np.asarray(tokens_K, dtype=np.int64) for tokens_K in tokens_LK]
        self._device_levels = [
            DeviceTrieLevel.from_trie_level(level, tokens[d], end_token, asks[d]) for d, level in enumerate(trie.levels)
        ]
        self._item_counts = [trie.item_counts(depth) for depth in range(len(trie.levels))]
        self.item_head: ItemHead | None = None
        self.items_weight = 0.0

    @property
    def device_levels(self) -> list[DeviceTrieLevel]:
        """The trie on the device where the model stands now (training may move it after this search was made)."""
        if self._device_levels[0].child_starts.device != self.model.device:
            self._device_levels = [level.to_device(self.model.device) for level in self._device_levels]
        return self._device_levels

    def with_score_softmax(self, score_softmax: ScoreSoftmax) -> BeamSearch:
        """Return the same search under a normalisation."""
        other = copy(self)
        other.score_softmax, asks = score_softmax, _mark_uncertain_nodes(self.trie, score_softmax)
        other._device_levels = [
            replace(level, uncertain_M=torch.from_numpy(asks_M).to(level.child_starts.device))
            for level, asks_M in zip(self._device_levels, asks, strict=True)
        ]
        return other

    def with_item_head(self, head: ItemHead, weight: float) -> BeamSearch:
        """Return the same search by (1 − weight) · the generator + weight · what a head says of the state at a prompt's
        end. Priors are mixed with that."""
        other = copy(self)
        other.item_head, other.items_weight = head, weight
        return other

    @torch.inference_mode()
    def __call__(self, prompts: Prompts, num_beams: int, filters: Filters = None, priors: Priors = None) -> Beams:
        """Return the ``num_beams`` best leaves of each prompt, of those that its filter lets: by the generator or,
        where there is a prior, by the mixture of both."""
        device, depth = self.model.device, len(self._device_levels) - 1
        masks = None if filters is None else TrieMasks(filters, self.trie, self._item_counts, device)
        shares = self._lay_out_priors(priors, filters)
        with autocast(device, self.precision):
            self.model.check(max(map(len, prompts)) + len(self._device_levels))
            sequences = self.model.start(prompts, num_beams * min(depth, RESERVED_STEPS))
            head = self._lay_out_head(sequences.last_BD, filters)
            mixed_in = [own for own in (head, shares) if own is not None]
            leaves_BW, scores_BW, mixed_BW = _BeamSearchState(self, sequences, num_beams, masks, mixed_in).run()
        parts = {"leaves_BW": torch.where(mixed_BW > _NEG_INF, leaves_BW, -1), "scores_BW": mixed_BW}
        if priors is not None or self.items_weight:
            parts["generator_scores_BW"] = scores_BW
        if priors is not None:
            parts["prior_shares_BW"] = _share_leaves(shares, leaves_BW, mixed_BW, depth)
        if self.items_weight:
            parts["item_shares_BW"] = _share_leaves(head, leaves_BW, mixed_BW, depth)
        return Beams(**{name: part.cpu().numpy() for name, part in parts.items()})

    def _lay_out_head(self, last_BD: Tensor, filters: Filters) -> TriePriors | None:
        """Return what the item head says over the trie; None where it has no say."""
        if self.item_head is None or not self.items_weight:
            return None
        if self.score_softmax != "constrained":
            raise RecipeError(f"An item head needs decode.score_softmax = constrained, and it is {self.score_softmax}.")
        shares_BN = self.item_head(last_BD).cpu().numpy()
        return TriePriors([Prior(own_N, self.items_weight) for own_N in shares_BN], filters, self.trie, last_BD.device)

    def _lay_out_priors(self, priors: Priors, filters: Filters) -> TriePriors | None:
        """Return the priors over the trie; None where none of them changes a score."""
        given = [] if priors is None else [prior for prior in priors if prior is not None]
        if given and self.score_softmax != "constrained":
            raise RecipeError(
                f"A prior needs decode.score_softmax = constrained, and it is {self.score_softmax}: only then do the "
                "probabilities of all items sum to one."
            )
        if priors is None or not any(prior.mixing_weight for prior in given):
            return None
        return TriePriors(priors, filters, self.trie, self.model.device)


def _mark_uncertain_nodes(trie: Trie, score_softmax: ScoreSoftmax) -> list[npt.NDArray[np.bool_]]:
    """Return for each depth below which nodes the model must be asked.

    Over the whole vocabulary: unless the SID has ended. Over the catalogue: where more than one SID goes on from there.
    """
    if score_softmax == "full":
        return [level.codes_M != END_CODE for level in trie.levels]
    found = []
    leaf_at = np.arange(len(trie.levels[-1]) + 1)  # the first leaf below each node, and the end
    for depth in reversed(range(len(trie.levels))):
        found.append(np.diff(leaf_at) > 1)
        leaf_at = leaf_at[trie.levels[depth - 1].child_starts] if depth else leaf_at
    return found[::-1]


def _share_leaves(priors: TriePriors | None, leaves_BW: Tensor, scores_BW: Tensor, depth: int) -> Tensor:
    """Return the share of the prior that leaves hold; 0 for a beam that is none and for a request without a prior."""
    if priors is None:
        return torch.zeros_like(scores_BW)
    return priors.find_shares(leaves_BW, depth).masked_fill(scores_BW == _NEG_INF, 0)


class _BeamSearchState:
    """One search: W beams for each of B prompts, taken down the trie level by level."""

    def __init__(
        self,
        search: BeamSearch,
        sequences: SequenceState,
        num_beams: int,
        masks: TrieMasks | None,
        priors: Sequence[TriePriors],
    ) -> None:
        """``priors`` are mixed in one after the other, each with what came out of those before."""
        self.model, self.device_levels, self.score_softmax = search.model, search.device_levels, search.score_softmax
        self.num_beams, self.masks, self.priors, self.sequences = num_beams, masks, priors, sequences
        # The slots of each beam's ancestors among the appended tokens.
        self.path_BWS = torch.empty(len(sequences.last_BD), num_beams, 0, dtype=torch.long, device=self.model.device)

    def run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the leaves, the generator's scores and those that rank (the same where there is no prior)."""
        nodes_BW, scores_BW, mixed_BW = self._expand_root()
        for depth in range(1, len(self.device_levels)):
            nodes_BW, scores_BW, mixed_BW = self._expand_beams(depth, nodes_BW, scores_BW, mixed_BW)
        return nodes_BW, scores_BW, mixed_BW

    def _expand_root(self) -> tuple[Tensor, Tensor, Tensor]:
        level, last_BD = self.device_levels[0], self.sequences.last_BD
        logits_BK = self.model.compute_logits(last_BD, level.tokens_K, self.score_softmax)
        logits_BM = logits_BK[:, level.token_of_M.long()]
        nodes_BM = torch.arange(logits_BM.shape[1], device=last_BD.device).expand(logits_BM.shape)
        scores_BM = self._to_log_probs(
            logits_BM, torch.ones_like(nodes_BM, dtype=torch.bool), self._mark_allowed(nodes_BM, 0)
        )
        place_BW, scores_BW, mixed_BW = self._select_beams(nodes_BM, scores_BM, 0)
        return nodes_BM.gather(1, place_BW), scores_BW, mixed_BW

    def _expand_beams(
        self, depth: int, nodes_BW: Tensor, scores_BW: Tensor, mixed_BW: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        above = self.device_levels[depth - 1]
        first_BW, asks_BW = above.child_starts[nodes_BW], above.uncertain_M[nodes_BW] & (scores_BW > _NEG_INF)
        most = int(asks_BW.sum(1).max())
        if not most:
            return first_BW, scores_BW, mixed_BW
        asking_BX = asks_BW.to(torch.int8).topk(most, dim=1).indices
        asked_BX = asks_BW.gather(1, asking_BX)
        below_BXC, added_BXC = self._score_children(depth, nodes_BW.gather(1, asking_BX), asking_BX, asked_BX)
        totals_BXC = scores_BW.gather(1, asking_BX)[..., None] + added_BXC
        # The other beams have one child each, which costs nothing.
        totals = torch.cat([totals_BXC.flatten(1), scores_BW.masked_fill(asks_BW, _NEG_INF)], 1)
        nodes = torch.cat([below_BXC.flatten(1), first_BW], 1)
        place_BW, scores_BW, mixed_BW = self._select_beams(nodes, totals, depth)
        parent_BX = torch.arange(self.num_beams, device=nodes_BW.device).expand(nodes_BW.shape)
        parents = torch.cat([asking_BX.repeat_interleave(below_BXC.shape[2], 1), parent_BX], 1)
        parents_BW = parents.gather(1, place_BW)
        self.path_BWS = self.path_BWS.gather(1, parents_BW[..., None].expand(-1, -1, self.path_BWS.shape[2]))
        return nodes.gather(1, place_BW), scores_BW, mixed_BW

    def _select_beams(self, nodes_BX: Tensor, scores_BX: Tensor, depth: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the places of the best W of X nodes, the generator's scores of them and those that rank them."""
        if not self.priors:
            best_BW, place_BW = _select_top_beams(scores_BX, self.num_beams)
            return place_BW, best_BW, best_BW
        mixed_BX = scores_BX
        for prior in self.priors:
            mixed_BX = prior.mix_scores(mixed_BX, nodes_BX, depth)
        mixed_BW, place_BW = _select_top_beams(mixed_BX, self.num_beams)
        return place_BW, scores_BX.gather(1, place_BW).masked_fill(mixed_BW == _NEG_INF, _NEG_INF), mixed_BW

    def _score_children(
        self, depth: int, nodes_BX: Tensor, asking_BX: Tensor, asked_BX: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the children of nodes [B, X, C] and what each adds to the score (−inf where there is none)."""
        above, level = self.device_levels[depth - 1], self.device_levels[depth]
        hidden_BXD = self._advance_beams(above.node_tokens(nodes_BX), asking_BX)
        logits_XK = self.model.compute_logits(hidden_BXD.flatten(0, 1), level.tokens_K, self.score_softmax)
        first_BX = above.child_starts[nodes_BX]
        below_BXC = first_BX[..., None] + torch.arange(above.max_children, device=nodes_BX.device)
        exists_BXC = below_BXC < above.child_starts[nodes_BX + 1][..., None]
        below_BXC = torch.where(exists_BXC, below_BXC, first_BX[..., None])
        chosen_BXC = logits_XK.view(*nodes_BX.shape, -1).gather(2, level.token_of_M[below_BXC].long())
        alive_BXC = self._mark_allowed(below_BXC, depth) & asked_BX[..., None]
        return below_BXC, self._to_log_probs(chosen_BXC, exists_BXC, alive_BXC)

    def _advance_beams(self, tokens_BX: Tensor, asking_BX: Tensor) -> Tensor:
        """Feed one token of some of the beams, and return their hidden states [B, X, D]."""
        batch, new = tokens_BX.shape
        end = self.sequences.num_appended + new
        slots_BX = torch.arange(end - new, end, device=tokens_BX.device).expand(batch, -1)
        depth = self.path_BWS.shape[2]
        path_BXS = torch.cat(
            [self.path_BWS.gather(1, asking_BX[..., None].expand(-1, -1, depth)), slots_BX[..., None]], 2
        )
        seen_BXS = torch.zeros(batch, new, end, dtype=torch.bool, device=tokens_BX.device)
        seen_BXS.scatter_(2, path_BXS, True)
        # A beam that was not asked is certain to its end and will never be: its slot is never looked at.
        slot_BW = torch.zeros(self.path_BWS.shape[:2], dtype=torch.long, device=tokens_BX.device)
        slot_BW.scatter_(1, asking_BX, slots_BX)
        self.path_BWS = torch.cat([self.path_BWS, slot_BW[..., None]], 2)
        return self.sequences.advance(tokens_BX, torch.full_like(tokens_BX, depth), seen_BXS)

    def _mark_allowed(self, nodes: Tensor, depth: int) -> Tensor:
        return torch.ones_like(nodes, dtype=torch.bool) if self.masks is None else self.masks.is_allowed(nodes, depth)

    def _to_log_probs(self, logits: Tensor, exists: Tensor, alive: Tensor) -> Tensor:
        """Return log p [..., C] under the normalisation; −inf for what a filter lets not live or does not exist.

        A filter changes no score, so that what it leaves keeps its order.
        """
        if self.score_softmax == "constrained":
            logits = logits - logits.masked_fill(~exists, _NEG_INF).logsumexp(-1, keepdim=True)
        return logits.masked_fill(~(exists & alive), _NEG_INF)


def _select_top_beams(scores_BX: Tensor, num_beams: int) -> tuple[Tensor, Tensor]:
    """Return the best ``num_beams`` scores and places, padded with −inf."""
    short = num_beams - scores_BX.shape[1]
    if short > 0:
        scores_BX = torch.nn.functional.pad(scores_BX, (0, short), value=_NEG_INF)
    best, place = scores_BX.topk(num_beams, dim=1)
    return best, place if short <= 0 else place.clamp(max=scores_BX.shape[1] - short - 1)
