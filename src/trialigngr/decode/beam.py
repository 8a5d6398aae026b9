"""Beam search over the trie, with the prompt read once.

The prompt is encoded once a user; beams are branches over that context. Each step feeds the newest tokens of a user as
so many queries that see the context and their own ancestors, so nothing is copied or reordered between steps. A step
costs at most W tokens: where the rest of a SID is certain already, nothing is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.decode.context import Context, Prompts
from trialigngr.decode.filters import Filters, Masks, Rows
from trialigngr.decode.head import Normalisation, level_logits
from trialigngr.foundation.device import Precision, autocast
from trialigngr.models.fitness import GROWN, PROMPT, refuse_narrow, refuse_unfit
from trialigngr.models.output import logits_of
from trialigngr.sids.semantic_ids import END
from trialigngr.sids.trie import Level, Trie

_NEVER = float("-inf")
ROOM = 16
"""Steps that room is kept for from the start, more than SIDs have. Titles are longer, and beams over them are certain
long before."""


@dataclass(frozen=True)
class Beams:
    """The best W leaves of the trie for B prompts, best first. A leaf of −1 (score −inf): fewer than W are allowed."""

    leaves_BW: Rows
    scores_BW: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Nodes:
    """The nodes of one depth on the model's device.

    ``tokens_K`` are the distinct tokens that stand there, ``token_of_M`` says which of them each node bears. Below a
    node of which ``asks_M`` is False all is certain: the model need not be asked.
    """

    widest: int
    tokens_K: Tensor
    token_of_M: Tensor
    children: Tensor
    asks_M: Tensor

    @classmethod
    def of(cls, level: Level, tokens_K: npt.NDArray[np.int64], end: int, asks_M: npt.NDArray[np.bool_]) -> Nodes:
        """Lay a level of a trie out; ``tokens_K`` are the token ids of its codes."""
        present = np.bincount(level.codes_M - END) > 0
        codes, place = np.flatnonzero(present) + END, np.cumsum(present, dtype=np.int32) - 1
        tokens, token_of_M = np.where(codes == END, end, tokens_K[codes]), place[level.codes_M - END]
        widest = int(np.diff(level.children).max())
        return cls(widest, *map(torch.from_numpy, (tokens, token_of_M, level.children, asks_M)))

    def to(self, device: torch.device) -> Nodes:
        """Return them on a device."""
        arrays = (self.tokens_K, self.token_of_M, self.children, self.asks_M)
        return Nodes(self.widest, *(array.to(device) for array in arrays))

    def tokens(self, nodes: Tensor) -> Tensor:
        """Return the token ids of nodes."""
        return self.tokens_K[self.token_of_M[nodes].long()]


class BeamSearch:
    """Constrained beam search with one model over one trie; neither is changed, so threads may share it.

    ``tokens_LK[l][c]`` is the token id of code c at level l; ``end_token`` stands for a SID that ends early.
    ``vocabulary`` normalises over the whole vocabulary, as `generate` does; ``catalogue`` over what may follow.
    The model's generation_config is never read. The first search raises `RecipeError` for a model that branches over a
    shared prompt are not right for.
    """

    def __init__(
        self,
        model: Any,
        trie: Trie,
        tokens_LK: Sequence[Sequence[int]],
        end_token: int,
        normalisation: Normalisation = "catalogue",
        precision: Precision = "auto",
    ) -> None:
        self.model, self.trie, self.normalisation, self.precision = model, trie, normalisation, precision
        asks = _asking(trie, normalisation)
        tokens = [np.asarray(tokens_K, dtype=np.int64) for tokens_K in tokens_LK]
        self._levels = [Nodes.of(level, tokens[d], end_token, asks[d]) for d, level in enumerate(trie.levels)]
        self._counts = [trie.item_counts(depth) for depth in range(len(trie.levels))]
        self._fit = False

    @property
    def levels(self) -> list[Nodes]:
        """The trie on the device where the model stands now (training may move it after this search was made)."""
        if self._levels[0].children.device != self.model.device:
            self._levels = [level.to(self.model.device) for level in self._levels]
        return self._levels

    def normalised(self, normalisation: Normalisation) -> BeamSearch:
        """Return the same search under a normalisation."""
        other = copy(self)
        other.normalisation, asks = normalisation, _asking(self.trie, normalisation)
        other._levels = [
            replace(level, asks_M=torch.from_numpy(asks_M).to(level.children.device))
            for level, asks_M in zip(self._levels, asks, strict=True)
        ]
        return other

    @torch.inference_mode()
    def __call__(self, prompts: Prompts, beams: int, filters: Filters = None) -> Beams:
        """Return the ``beams`` best leaves of each prompt, of those that its filter lets."""
        device = self.model.device
        masks = None if filters is None else Masks(filters, self.trie, self._counts, device)
        with autocast(device, self.precision):
            self._refuse_unfit(max(map(len, prompts)) + len(self._levels))
            leaves_BW, scores_BW = _Search(self, prompts, beams, masks).run()
        return Beams(torch.where(scores_BW > _NEVER, leaves_BW, -1).cpu().numpy(), scores_BW.cpu().numpy())

    def _refuse_unfit(self, tokens: int) -> None:
        refuse_narrow(self.model, tokens)
        if not self._fit:
            refuse_unfit(self.model, _both_ways)
        self._fit = True


def _both_ways(model: Any) -> tuple[Tensor, Tensor]:
    """Return the logits behind a prompt and behind two branches of it, grown as a search does and row by row."""
    context, grown = Context(model, [PROMPT], len(GROWN)), torch.tensor([GROWN], device=model.device)
    seen_1XS = torch.eye(len(GROWN), dtype=torch.bool, device=model.device)[None]
    hidden_XD = torch.cat([context.last_BD, context.grow(grown, torch.zeros_like(grown), seen_1XS)[0]])
    rows = [torch.tensor([[*PROMPT, *more]], device=model.device) for more in ([], *([token] for token in GROWN))]
    return logits_of(model, hidden_XD), torch.cat([model(row).logits[:, -1] for row in rows])


def _asking(trie: Trie, normalisation: Normalisation) -> list[npt.NDArray[np.bool_]]:
    """Return for each depth below which nodes the model must be asked.

    Over the whole vocabulary: unless the SID has ended. Over the catalogue: where more than one SID goes on from there.
    """
    if normalisation == "vocabulary":
        return [level.codes_M != END for level in trie.levels]
    found = []
    leaf_at = np.arange(len(trie.levels[-1]) + 1)  # the first leaf below each node, and the end
    for depth in reversed(range(len(trie.levels))):
        found.append(np.diff(leaf_at) > 1)
        leaf_at = leaf_at[trie.levels[depth - 1].children] if depth else leaf_at
    return found[::-1]


class _Search:
    """One search: W beams for each of B prompts, taken down the trie level by level."""

    def __init__(self, search: BeamSearch, prompts: Prompts, beams: int, masks: Masks | None) -> None:
        self.model, self.levels, self.normalisation = search.model, search.levels, search.normalisation
        self.beams, self.masks = beams, masks
        self.context = Context(self.model, prompts, beams * min(len(self.levels) - 1, ROOM))
        # The slots of each beam's ancestors among the grown tokens.
        self.path_BWS = torch.empty(len(prompts), beams, 0, dtype=torch.long, device=self.model.device)

    def run(self) -> tuple[Tensor, Tensor]:
        nodes_BW, scores_BW = self._root()
        for depth in range(1, len(self.levels)):
            nodes_BW, scores_BW = self._step(depth, nodes_BW, scores_BW)
        return nodes_BW, scores_BW

    def _root(self) -> tuple[Tensor, Tensor]:
        level, last_BD = self.levels[0], self.context.last_BD
        logits_BK = level_logits(self.model, last_BD, level.tokens_K, self.normalisation)
        logits_BM = logits_BK[:, level.token_of_M.long()]
        nodes_BM = torch.arange(logits_BM.shape[1], device=last_BD.device).expand(logits_BM.shape)
        scores_BM = self._normalised(logits_BM, torch.ones_like(nodes_BM, dtype=torch.bool), self._alive(nodes_BM, 0))
        best_BW, place_BW = _top(scores_BM, self.beams)
        return nodes_BM.gather(1, place_BW), best_BW

    def _step(self, depth: int, nodes_BW: Tensor, scores_BW: Tensor) -> tuple[Tensor, Tensor]:
        above = self.levels[depth - 1]
        first_BW, asks_BW = above.children[nodes_BW], above.asks_M[nodes_BW] & (scores_BW > _NEVER)
        most = int(asks_BW.sum(1).max())
        if not most:
            return first_BW, scores_BW
        asking_BX = asks_BW.to(torch.int8).topk(most, dim=1).indices
        asked_BX = asks_BW.gather(1, asking_BX)
        below_BXC, added_BXC = self._asked(depth, nodes_BW.gather(1, asking_BX), asking_BX, asked_BX)
        totals_BXC = scores_BW.gather(1, asking_BX)[..., None] + added_BXC
        # The other beams have one child each, which costs nothing.
        totals = torch.cat([totals_BXC.flatten(1), scores_BW.masked_fill(asks_BW, _NEVER)], 1)
        best_BW, place_BW = _top(totals, self.beams)
        parent_BX = torch.arange(self.beams, device=nodes_BW.device).expand(nodes_BW.shape)
        parents = torch.cat([asking_BX.repeat_interleave(below_BXC.shape[2], 1), parent_BX], 1)
        parents_BW = parents.gather(1, place_BW)
        self.path_BWS = self.path_BWS.gather(1, parents_BW[..., None].expand(-1, -1, self.path_BWS.shape[2]))
        return torch.cat([below_BXC.flatten(1), first_BW], 1).gather(1, place_BW), best_BW

    def _asked(self, depth: int, nodes_BX: Tensor, asking_BX: Tensor, asked_BX: Tensor) -> tuple[Tensor, Tensor]:
        """Return the children of nodes [B, X, C] and what each adds to the score (−inf where there is none)."""
        above, level = self.levels[depth - 1], self.levels[depth]
        hidden_BXD = self._grown(above.tokens(nodes_BX), asking_BX)
        logits_XK = level_logits(self.model, hidden_BXD.flatten(0, 1), level.tokens_K, self.normalisation)
        first_BX = above.children[nodes_BX]
        below_BXC = first_BX[..., None] + torch.arange(above.widest, device=nodes_BX.device)
        exists_BXC = below_BXC < above.children[nodes_BX + 1][..., None]
        below_BXC = torch.where(exists_BXC, below_BXC, first_BX[..., None])
        chosen_BXC = logits_XK.view(*nodes_BX.shape, -1).gather(2, level.token_of_M[below_BXC].long())
        alive_BXC = self._alive(below_BXC, depth) & asked_BX[..., None]
        return below_BXC, self._normalised(chosen_BXC, exists_BXC, alive_BXC)

    def _grown(self, tokens_BX: Tensor, asking_BX: Tensor) -> Tensor:
        """Feed one token of some of the beams, and return their hidden states [B, X, D]."""
        batch, new = tokens_BX.shape
        slots_BX = torch.arange(self.context.grown, self.context.grown + new, device=tokens_BX.device).expand(batch, -1)
        depth = self.path_BWS.shape[2]
        path_BXS = torch.cat(
            [self.path_BWS.gather(1, asking_BX[..., None].expand(-1, -1, depth)), slots_BX[..., None]], 2
        )
        seen_BXS = torch.zeros(batch, new, self.context.grown + new, dtype=torch.bool, device=tokens_BX.device)
        seen_BXS.scatter_(2, path_BXS, True)
        # A beam that was not asked is certain to its end and will never be: its slot is never looked at.
        slot_BW = torch.zeros(self.path_BWS.shape[:2], dtype=torch.long, device=tokens_BX.device)
        slot_BW.scatter_(1, asking_BX, slots_BX)
        self.path_BWS = torch.cat([self.path_BWS, slot_BW[..., None]], 2)
        return self.context.grow(tokens_BX, torch.full_like(tokens_BX, depth), seen_BXS)

    def _alive(self, nodes: Tensor, depth: int) -> Tensor:
        return torch.ones_like(nodes, dtype=torch.bool) if self.masks is None else self.masks.alive(nodes, depth)

    def _normalised(self, logits: Tensor, exists: Tensor, alive: Tensor) -> Tensor:
        """Return log p [..., C] under the normalisation; −inf for what a filter lets not live or does not exist.

        A filter changes no score, so that what it leaves keeps its order.
        """
        if self.normalisation == "catalogue":
            logits = logits - logits.masked_fill(~exists, _NEVER).logsumexp(-1, keepdim=True)
        return logits.masked_fill(~(exists & alive), _NEVER)


def _top(scores_BX: Tensor, beams: int) -> tuple[Tensor, Tensor]:
    """Return the best ``beams`` scores and places, padded with −inf."""
    short = beams - scores_BX.shape[1]
    if short > 0:
        scores_BX = torch.nn.functional.pad(scores_BX, (0, short), value=_NEVER)
    best, place = scores_BX.topk(beams, dim=1)
    return best, place if short <= 0 else place.clamp(max=scores_BX.shape[1] - short - 1)
