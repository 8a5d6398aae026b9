"""The oracle: the exact score of every SID that exists, against which beams are held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.sequence_model import Prompts, SequenceState
from trialigngr.foundation.device import autocast

NODES_AT_ONCE = 512
"""Nodes fed together, in whole subtrees."""


@torch.inference_mode()
def compute_exact_scores(
    search: BeamSearch, prompts: Prompts, nodes_at_once: int = NODES_AT_ONCE
) -> npt.NDArray[np.float32]:
    """Return log p of every leaf of the trie after each prompt [B, leaves], under the search's own normalisation.

    Prompts are read once, and so is every prefix that SIDs share: a subtree is fed as a tree, in which a node sees the
    prompt, its ancestors and itself.
    """
    with autocast(search.model.device, search.precision):
        sequences = search.model.start(prompts, 2 * nodes_at_once)
        everything = _SubtreeRange(search, 0, len(search.device_levels[0].child_starts) - 1)
        first_BM = _compute_edge_log_probs(search, sequences.last_BD[:, None], 0, everything.parent_places(0))
        pieces = [
            _score_leaves(search, sequences, first_BM[:, part.node_bounds[0][0] : part.node_bounds[0][1]], part)
            for part in _split_trie(search, nodes_at_once)
        ]
    return torch.cat(pieces, 1).cpu().numpy()


@dataclass(frozen=True)
class _SubtreeRange:
    """Some neighbouring nodes of the first level with all that is below: a range of nodes at every depth."""

    search: BeamSearch
    first: int
    last: int

    @property
    def node_bounds(self) -> list[tuple[int, int]]:
        bounds = [(self.first, self.last)]
        for level in self.search.device_levels[:-1]:
            bounds.append((int(level.child_starts[bounds[-1][0]]), int(level.child_starts[bounds[-1][1]])))
        return bounds

    def parent_places(self, depth: int) -> Tensor:
        """Return the place, within its range one level up, of each node's parent; 0 at the first level."""
        first, last = self.node_bounds[depth]
        if not depth:
            return torch.zeros(last - first, dtype=torch.long, device=self.search.model.device)
        above = self.node_bounds[depth - 1]
        counts = self.search.device_levels[depth - 1].child_starts[above[0] : above[1] + 1].diff()
        return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)


def _split_trie(search: BeamSearch, nodes_at_once: int) -> Iterator[_SubtreeRange]:
    """Cut the trie between nodes of the first level, so that each part asks for about so many nodes."""
    nodes = len(search.device_levels[0].child_starts) - 1
    asked_M = search.device_levels[0].uncertain_M.long().cpu().numpy()
    ends_M = np.arange(nodes + 1)
    for depth in range(1, len(search.device_levels) - 1):
        ends_M = search.device_levels[depth - 1].child_starts.cpu().numpy()[ends_M]
        asks = np.append(0, np.cumsum(search.device_levels[depth].uncertain_M.cpu().numpy()))
        asked_M = asked_M + np.diff(asks[ends_M])
    groups = (np.cumsum(asked_M) - asked_M) // nodes_at_once
    cuts = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), nodes]
    return (_SubtreeRange(search, first, last) for first, last in pairwise(cuts))


def _score_leaves(search: BeamSearch, sequences: SequenceState, scores_BM: Tensor, subtrees: _SubtreeRange) -> Tensor:
    """Return the scores of all leaves of a part, from those of its first level."""
    depths = range(len(search.device_levels) - 1)
    asked = [
        torch.arange(first, last, device=scores_BM.device)[search.device_levels[depth].uncertain_M[first:last]]
        for depth, (first, last) in zip(depths, subtrees.node_bounds, strict=False)
    ]
    hidden = _forward_tree(search, sequences, subtrees, asked) if any(map(len, asked)) else []
    for depth in depths:
        parent_M = subtrees.parent_places(depth + 1)
        below_BM = scores_BM[:, parent_M]
        if len(asked[depth]):
            first, last = subtrees.node_bounds[depth]
            place_M = torch.full((last - first,), -1, device=parent_M.device)
            place_M[asked[depth] - first] = torch.arange(len(asked[depth]), device=parent_M.device)
            edge_M = place_M[parent_M]
            known = edge_M >= 0
            rows = torch.arange(*subtrees.node_bounds[depth + 1], device=parent_M.device)[known]
            below_BM[:, known] += _compute_edge_log_probs(search, hidden[depth], depth + 1, edge_M[known], rows)
        scores_BM = below_BM
    return scores_BM


def _forward_tree(
    search: BeamSearch, sequences: SequenceState, subtrees: _SubtreeRange, uncertain_nodes: list[Tensor]
) -> list[Tensor]:
    """Feed the nodes of a part that must be asked, as one tree; return their hidden states, depth by depth."""
    sizes = [len(nodes) for nodes in uncertain_nodes]
    tokens_X = torch.cat(
        [search.device_levels[depth].node_tokens(nodes) for depth, nodes in enumerate(uncertain_nodes)]
    )
    depth_X = torch.cat([torch.full_like(nodes, depth) for depth, nodes in enumerate(uncertain_nodes)])
    seen_XX = torch.eye(len(tokens_X), dtype=torch.bool, device=tokens_X.device)
    starts = np.cumsum([0, *sizes])
    for depth in range(1, len(uncertain_nodes)):
        parent = (
            subtrees.parent_places(depth)[uncertain_nodes[depth] - subtrees.node_bounds[depth][0]]
            + subtrees.node_bounds[depth - 1][0]
        )
        slot = torch.searchsorted(uncertain_nodes[depth - 1], parent) + int(starts[depth - 1])
        seen_XX[starts[depth] : starts[depth + 1]] |= seen_XX[slot]
    batch = len(sequences.last_BD)
    hidden_BXD = sequences.advance(tokens_X.expand(batch, -1), depth_X.expand(batch, -1), seen_XX[None])
    sequences.reset_to_prompts()
    return list(hidden_BXD.split(sizes, 1))


def _compute_edge_log_probs(
    search: BeamSearch, hidden_BXD: Tensor, depth: int, edge_M: Tensor, nodes_M: Tensor | None = None
) -> Tensor:
    """Return log p [B, M] of nodes of a depth, each after the hidden state that ``edge_M`` names."""
    level = search.device_levels[depth]
    logits_XK = search.model.compute_logits(hidden_BXD.flatten(0, 1), level.tokens_K, search.score_softmax)
    logits_BXK = logits_XK.view(*hidden_BXD.shape[:2], -1)
    token_of_M = (level.token_of_M if nodes_M is None else level.token_of_M[nodes_M]).long()
    chosen_BM = logits_BXK[:, edge_M, token_of_M]
    if search.score_softmax == "full":
        return chosen_BM
    # The sum over a node's children; the largest is taken out first, so that nothing overflows.
    shape, index = (len(hidden_BXD), hidden_BXD.shape[1]), edge_M.expand(len(hidden_BXD), -1)
    most_BX = torch.full(shape, float("-inf"), device=chosen_BM.device).scatter_reduce(1, index, chosen_BM, "amax")
    shifted_BM = chosen_BM - most_BX[:, edge_M]
    total_BX = torch.zeros(shape, device=chosen_BM.device).scatter_add(1, index, shifted_BM.exp())
    return shifted_BM - total_BX.log()[:, edge_M]
