"""Beam search over the trie, with the prompt read once.

The prompt is encoded once a user; beams are branches over that context. Each step feeds the W new tokens of a user as
W queries that see the context and their own ancestors, so nothing is copied or reordered between steps. A step costs W
tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache

from trialigngr.foundation.device import Precision, autocast
from trialigngr.sids.semantic_ids import END
from trialigngr.sids.trie import Level, Trie

Normalisation = Literal["vocabulary", "catalogue"]
Rows = npt.NDArray[np.int64]
_NEVER = float("-inf")


@dataclass(frozen=True)
class Beams:
    """The best W leaves of the trie for B prompts, best first. A leaf of −1 (score −inf): fewer than W are allowed."""

    leaves_BW: Rows
    scores_BW: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Level:
    tokens_M: Tensor
    children: Tensor
    widest: int
    ended_M: Tensor | None  # which nodes stand for a SID that has ended; None when none does

    @classmethod
    def of(cls, level: Level, tokens_K: Sequence[int], end_token: int) -> _Level:
        ended = level.codes_M == END
        tokens = torch.from_numpy(np.where(ended, end_token, np.array(tokens_K)[level.codes_M]))
        children = torch.from_numpy(level.children)
        widest = int((children[1:] - children[:-1]).max())
        return cls(tokens, children, widest, torch.from_numpy(ended) if ended.any() else None)

    def to(self, device: torch.device) -> _Level:
        ended_M = None if self.ended_M is None else self.ended_M.to(device)
        return _Level(self.tokens_M.to(device), self.children.to(device), self.widest, ended_M)


class BeamSearch:
    """Constrained beam search with one model over one trie.

    ``tokens_LK[l][c]`` is the token id of code c at level l; ``end_token`` stands for a SID that ends early.
    ``vocabulary`` normalises over the whole vocabulary, as `generate` does; ``catalogue`` over what may follow.
    The model's generation_config is never read.
    """

    def __init__(
        self,
        model: Any,
        trie: Trie,
        tokens_LK: Sequence[Sequence[int]],
        end_token: int,
        normalisation: Normalisation = "vocabulary",
        precision: Precision = "auto",
    ) -> None:
        self.model, self.trie, self.normalisation, self.precision = model, trie, normalisation, precision
        self._levels = [_Level.of(level, tokens_LK[depth], end_token) for depth, level in enumerate(trie.levels)]
        self._counts = [trie.item_counts(depth) for depth in range(len(trie.levels))]

    @property
    def device(self) -> torch.device:
        """Where the model stands now (training may move it after this search was made)."""
        device: torch.device = self.model.device
        return device

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[Sequence[int]], beams: int, banned: Sequence[Rows] | None = None) -> Beams:
        """Return the ``beams`` best leaves of each prompt; ``banned[b]`` are catalogue rows that must not come back."""
        self._levels = [level.to(self.device) for level in self._levels]
        with autocast(self.device, self.precision):
            context = _Context.read(self.model, prompts)
            dead = self._dead(banned) if banned is not None else [None] * len(self._levels)
            nodes_BW, scores_BW = self._root(context, beams, dead[0])
            for depth in range(1, len(self._levels)):
                nodes_BW, scores_BW = self._step(context, depth, nodes_BW, scores_BW, beams, dead[depth])
        leaves = torch.where(scores_BW > _NEVER, nodes_BW, -1)
        return Beams(leaves.cpu().numpy(), scores_BW.cpu().numpy())

    def _dead(self, banned: Sequence[Rows]) -> list[Tensor | None]:
        """Return, for each depth, the sorted keys ``b * M + node`` of nodes that have no allowed item below them."""
        keys: list[Tensor | None] = []
        for depth, count_M in enumerate(self._counts):
            found = [self._dead_nodes(depth, rows) + b * len(count_M) for b, rows in enumerate(banned)]
            keys.append(torch.from_numpy(np.concatenate(found)).to(self.device))
        return keys

    def _dead_nodes(self, depth: int, rows: Rows) -> Rows:
        nodes, counts = np.unique(self.trie.node_of_item[depth][np.unique(rows)], return_counts=True)
        return nodes[counts == self._counts[depth][nodes]]

    def _alive(self, nodes: Tensor, depth: int, dead: Tensor | None) -> Tensor:
        if dead is None or not len(dead):
            return torch.ones_like(nodes, dtype=torch.bool)
        batch = torch.arange(len(nodes), device=self.device).view(-1, *[1] * (nodes.dim() - 1))
        key = batch * len(self._counts[depth]) + nodes
        place = torch.searchsorted(dead, key).clamp(max=len(dead) - 1)
        return dead[place] != key

    def _root(self, context: _Context, beams: int, dead: Tensor | None) -> tuple[Tensor, Tensor]:
        level = self._levels[0]
        logits_BV = self.model.get_output_embeddings()(context.last_BD).float()
        nodes_BM = torch.arange(len(level.tokens_M), device=self.device).expand(len(logits_BV), -1)
        scores_BM = self._log_probabilities(logits_BV, logits_BV[:, level.tokens_M], self._alive(nodes_BM, 0, dead))
        return _best(scores_BM, nodes_BM, beams)

    def _step(
        self, context: _Context, depth: int, nodes_BW: Tensor, scores_BW: Tensor, beams: int, dead: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        above, level = self._levels[depth - 1], self._levels[depth]
        hidden_BWD = context.extend(self.model, above.tokens_M[nodes_BW])
        logits_BWV = self.model.get_output_embeddings()(hidden_BWD).float()
        first_BW = above.children[nodes_BW]
        offsets_C = torch.arange(above.widest, device=self.device)
        nodes_BWC = first_BW[..., None] + offsets_C
        exists_BWC = nodes_BWC < above.children[nodes_BW + 1][..., None]
        nodes_BWC = torch.where(exists_BWC, nodes_BWC, first_BW[..., None])
        chosen_BWC = logits_BWV.gather(2, level.tokens_M[nodes_BWC])
        allowed_BWC = exists_BWC & self._alive(nodes_BWC, depth, dead) & (scores_BW > _NEVER)[..., None]
        added_BWC = self._log_probabilities(logits_BWV, chosen_BWC, allowed_BWC)
        if above.ended_M is not None:  # its end is written already: the rest of its path costs nothing
            added_BWC = added_BWC.masked_fill(above.ended_M[nodes_BW][..., None] & allowed_BWC, 0.0)
        totals_BWC = scores_BW[..., None] + added_BWC
        best_BW, place_BW = _top(totals_BWC.flatten(1), beams)
        context.keep(place_BW // above.widest)
        return nodes_BWC.flatten(1).gather(1, place_BW), best_BW

    def _log_probabilities(self, logits: Tensor, chosen: Tensor, allowed: Tensor) -> Tensor:
        """Return log p of the chosen tokens [..., C] under the normalisation; −inf where not allowed."""
        masked = chosen.masked_fill(~allowed, _NEVER)
        over = masked if self.normalisation == "catalogue" else logits
        total = over.logsumexp(-1, keepdim=True)
        return torch.where(allowed, chosen - total, torch.full_like(chosen, _NEVER))


def _top(scores_BX: Tensor, beams: int) -> tuple[Tensor, Tensor]:
    """Return the best ``beams`` scores and places, padded with −inf."""
    short = beams - scores_BX.shape[1]
    if short > 0:
        scores_BX = torch.nn.functional.pad(scores_BX, (0, short), value=_NEVER)
    best, place = scores_BX.topk(beams, dim=1)
    return best, place if short <= 0 else place.clamp(max=scores_BX.shape[1] - short - 1)


def _best(scores_BX: Tensor, nodes_BX: Tensor, beams: int) -> tuple[Tensor, Tensor]:
    best, place = _top(scores_BX, beams)
    return nodes_BX.gather(1, place), best


def _as_taken(seen: Tensor, model: Any) -> Tensor:
    """Return a boolean mask in the form that the model's attention takes (eager attention adds it to the scores)."""
    if model.config._attn_implementation != "eager":
        return seen
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, torch.finfo(torch.bfloat16).min)


class _Context:
    """B encoded prompts and the branches grown over them."""

    def __init__(self, cache: DynamicCache, last_BD: Tensor, lengths_B: Tensor, width: int) -> None:
        self.cache, self.last_BD, self.lengths_B = cache, last_BD, lengths_B
        self._real_BT = torch.arange(width, device=lengths_B.device) < lengths_B[:, None]
        self._grown = 0
        self._path_BWS: Tensor | None = None  # slots of each beam's ancestors among the grown tokens

    @classmethod
    def read(cls, model: Any, prompts: Sequence[Sequence[int]]) -> _Context:
        """Encode prompts, padded at the right: a causal model never looks there, and branches mask it."""
        width = max(map(len, prompts))
        tokens_BT = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=model.device)
        lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
        cache = DynamicCache()
        hidden_BTD = model.base_model(input_ids=tokens_BT, past_key_values=cache, use_cache=True).last_hidden_state
        last_BD = hidden_BTD[torch.arange(len(prompts), device=model.device), lengths_B - 1]
        return cls(cache, last_BD, lengths_B, width)

    def extend(self, model: Any, tokens_BW: Tensor) -> Tensor:
        """Grow each beam by a token and return the hidden states [B, W, D]."""
        batch, beams = tokens_BW.shape
        slots_BW = torch.arange(self._grown, self._grown + beams, device=tokens_BW.device).expand(batch, -1)
        path = slots_BW[..., None] if self._path_BWS is None else torch.cat([self._path_BWS, slots_BW[..., None]], 2)
        self._grown += beams
        seen_BWS = torch.zeros(batch, beams, self._grown, dtype=torch.bool, device=tokens_BW.device).scatter_(
            2, path, True
        )
        mask = torch.cat([self._real_BT[:, None].expand(-1, beams, -1), seen_BWS], 2)[:, None]
        positions_BW = (self.lengths_B[:, None] + path.shape[2] - 1).expand(-1, beams)
        self._path_BWS = path
        hidden: Tensor = model.base_model(
            input_ids=tokens_BW,
            attention_mask=_as_taken(mask, model),
            position_ids=positions_BW,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def keep(self, parents_BW: Tensor) -> None:
        """Let beam w go on from beam ``parents_BW[:, w]``."""
        if self._path_BWS is not None:
            self._path_BWS = self._path_BWS.gather(1, parents_BW[..., None].expand(-1, -1, self._path_BWS.shape[2]))
