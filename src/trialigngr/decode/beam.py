"""Beam search over the trie, with the prompt read once.

The prompt is encoded once a user; beams are continuations of that context. Each step feeds the newest tokens of a user
as so many queries that see the context and their own ancestors, so nothing is copied or reordered between steps. A step
costs at most W tokens: where the rest of a SID is certain already, nothing is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.decode.filters import Filters, Rows
from trialigngr.decode.lm_head import compute_level_logits
from trialigngr.decode.prompt_cache import PromptCache, Prompts
from trialigngr.decode.trie_masks import TrieMasks
from trialigngr.foundation.device import autocast
from trialigngr.models.compatibility import (
    TRIAL_CONTINUATION,
    TRIAL_PROMPT,
    check_attention_is_causal,
    check_context_length,
)
from trialigngr.models.logits import compute_logits
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
    """The best W leaves of the trie for B prompts, best first. A leaf of −1 (score −inf): fewer than W are allowed."""

    leaves_BW: Rows
    scores_BW: npt.NDArray[np.float32]


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
    The model's generation_config is never read. The first search raises `RecipeError` for a model whose
    attention does not let continuations share a prompt.
    """

    def __init__(
        self,
        model: Any,
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
        self._model_is_checked = False

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

    @torch.inference_mode()
    def __call__(self, prompts: Prompts, num_beams: int, filters: Filters = None) -> Beams:
        """Return the ``num_beams`` best leaves of each prompt, of those that its filter lets."""
        device = self.model.device
        masks = None if filters is None else TrieMasks(filters, self.trie, self._item_counts, device)
        with autocast(device, self.precision):
            self._check_model(max(map(len, prompts)) + len(self._device_levels))
            leaves_BW, scores_BW = _BeamSearchState(self, prompts, num_beams, masks).run()
        return Beams(torch.where(scores_BW > _NEG_INF, leaves_BW, -1).cpu().numpy(), scores_BW.cpu().numpy())

    def _check_model(self, num_tokens: int) -> None:
        check_context_length(self.model, num_tokens)
        if not self._model_is_checked:
            check_attention_is_causal(self.model, _compute_trial_logits)
        self._model_is_checked = True


def _compute_trial_logits(model: Any) -> tuple[Tensor, Tensor]:
    """Return the logits behind a prompt and behind two continuations of it, grown as a search does and row by row."""
    context, grown = (
        PromptCache(model, [TRIAL_PROMPT], len(TRIAL_CONTINUATION)),
        torch.tensor([TRIAL_CONTINUATION], device=model.device),
    )
    seen_1XS = torch.eye(len(TRIAL_CONTINUATION), dtype=torch.bool, device=model.device)[None]
    hidden_XD = torch.cat([context.last_BD, context.advance(grown, torch.zeros_like(grown), seen_1XS)[0]])
    rows = [
        torch.tensor([[*TRIAL_PROMPT, *more]], device=model.device)
        for more in ([], *([token] for token in TRIAL_CONTINUATION))
    ]
    return compute_logits(model, hidden_XD), torch.cat([model(row).logits[:, -1] for row in rows])


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


class _BeamSearchState:
    """One search: W beams for each of B prompts, taken down the trie level by level."""

    def __init__(self, search: BeamSearch, prompts: Prompts, num_beams: int, masks: TrieMasks | None) -> None:
        self.model, self.device_levels, self.score_softmax = search.model, search.device_levels, search.score_softmax
        self.num_beams, self.masks = num_beams, masks
        self.prompt_cache = PromptCache(
            self.model, prompts, num_beams * min(len(self.device_levels) - 1, RESERVED_STEPS)
        )
        # The slots of each beam's ancestors among the grown tokens.
        self.path_BWS = torch.empty(len(prompts), num_beams, 0, dtype=torch.long, device=self.model.device)

    def run(self) -> tuple[Tensor, Tensor]:
        nodes_BW, scores_BW = self._expand_root()
        for depth in range(1, len(self.device_levels)):
            nodes_BW, scores_BW = self._expand_beams(depth, nodes_BW, scores_BW)
        return nodes_BW, scores_BW

    def _expand_root(self) -> tuple[Tensor, Tensor]:
        level, last_BD = self.device_levels[0], self.prompt_cache.last_BD
        logits_BK = compute_level_logits(self.model, last_BD, level.tokens_K, self.score_softmax)
        logits_BM = logits_BK[:, level.token_of_M.long()]
        nodes_BM = torch.arange(logits_BM.shape[1], device=last_BD.device).expand(logits_BM.shape)
        scores_BM = self._to_log_probs(
            logits_BM, torch.ones_like(nodes_BM, dtype=torch.bool), self._mark_allowed(nodes_BM, 0)
        )
        best_BW, place_BW = _select_top_beams(scores_BM, self.num_beams)
        return nodes_BM.gather(1, place_BW), best_BW

    def _expand_beams(self, depth: int, nodes_BW: Tensor, scores_BW: Tensor) -> tuple[Tensor, Tensor]:
        above = self.device_levels[depth - 1]
        first_BW, asks_BW = above.child_starts[nodes_BW], above.uncertain_M[nodes_BW] & (scores_BW > _NEG_INF)
        most = int(asks_BW.sum(1).max())
        if not most:
            return first_BW, scores_BW
        asking_BX = asks_BW.to(torch.int8).topk(most, dim=1).indices
        asked_BX = asks_BW.gather(1, asking_BX)
        below_BXC, added_BXC = self._score_children(depth, nodes_BW.gather(1, asking_BX), asking_BX, asked_BX)
        totals_BXC = scores_BW.gather(1, asking_BX)[..., None] + added_BXC
        # The other beams have one child each, which costs nothing.
        totals = torch.cat([totals_BXC.flatten(1), scores_BW.masked_fill(asks_BW, _NEG_INF)], 1)
        best_BW, place_BW = _select_top_beams(totals, self.num_beams)
        parent_BX = torch.arange(self.num_beams, device=nodes_BW.device).expand(nodes_BW.shape)
        parents = torch.cat([asking_BX.repeat_interleave(below_BXC.shape[2], 1), parent_BX], 1)
        parents_BW = parents.gather(1, place_BW)
        self.path_BWS = self.path_BWS.gather(1, parents_BW[..., None].expand(-1, -1, self.path_BWS.shape[2]))
        return torch.cat([below_BXC.flatten(1), first_BW], 1).gather(1, place_BW), best_BW

    def _score_children(
        self, depth: int, nodes_BX: Tensor, asking_BX: Tensor, asked_BX: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the children of nodes [B, X, C] and what each adds to the score (−inf where there is none)."""
        above, level = self.device_levels[depth - 1], self.device_levels[depth]
        hidden_BXD = self._advance_beams(above.node_tokens(nodes_BX), asking_BX)
        logits_XK = compute_level_logits(self.model, hidden_BXD.flatten(0, 1), level.tokens_K, self.score_softmax)
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
        slots_BX = torch.arange(
            self.prompt_cache.num_appended, self.prompt_cache.num_appended + new, device=tokens_BX.device
        ).expand(batch, -1)
        depth = self.path_BWS.shape[2]
        path_BXS = torch.cat(
            [self.path_BWS.gather(1, asking_BX[..., None].expand(-1, -1, depth)), slots_BX[..., None]], 2
        )
        seen_BXS = torch.zeros(
            batch, new, self.prompt_cache.num_appended + new, dtype=torch.bool, device=tokens_BX.device
        )
        seen_BXS.scatter_(2, path_BXS, True)
        # A beam that was not asked is certain to its end and will never be: its slot is never looked at.
        slot_BW = torch.zeros(self.path_BWS.shape[:2], dtype=torch.long, device=tokens_BX.device)
        slot_BW.scatter_(1, asking_BX, slots_BX)
        self.path_BWS = torch.cat([self.path_BWS, slot_BW[..., None]], 2)
        return self.prompt_cache.advance(tokens_BX, torch.full_like(tokens_BX, depth), seen_BXS)

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
