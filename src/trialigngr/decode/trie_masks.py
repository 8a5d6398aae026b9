"""`TrieMasks`: filters as masks over a trie that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trialigngr.decode.filters import Filter, Rows, as_filter
from trialigngr.sids.trie import Trie


class TrieMasks:
    """The filters of B requests over one trie: which of its nodes have an allowed item below them."""

    def __init__(self, filters: Sequence[Filter | Rows | None], trie: Trie, counts: list[Rows], device: torch.device):
        listed = [_list_nodes(as_filter(given), trie, counts) for given in filters]
        self._allows_B = torch.tensor([allows for allows, _ in listed], device=device)
        self._sizes = [len(level) for level in trie.levels]
        keys = [
            np.concatenate([nodes[depth] + b * size for b, (_, nodes) in enumerate(listed)])
            for depth, size in enumerate(self._sizes)
        ]
        self._keys = [torch.from_numpy(key).to(device) for key in keys]

    def is_allowed(self, nodes: Tensor, depth: int) -> Tensor:
        """Say for nodes [B, …] of a depth whether they may be written."""
        listed = self._keys[depth]
        shape = [-1, *[1] * (nodes.dim() - 1)]
        allows = self._allows_B.view(shape)
        if not len(listed):
            return ~allows.expand(nodes.shape)
        key = torch.arange(len(nodes), device=nodes.device).view(shape) * self._sizes[depth] + nodes
        return (listed[torch.searchsorted(listed, key).clamp(max=len(listed) - 1)] == key) == allows


def _list_nodes(given: Filter, trie: Trie, counts: list[Rows]) -> tuple[bool, list[Rows]]:
    """Return whether nodes are listed because they are alive (or else dead), and the nodes of each depth, in order."""
    given = given.keep_known(len(trie.sorted_rows))
    allowed = given.list_allowed_rows(len(trie.sorted_rows))
    rows = np.unique(given.denied_rows) if allowed is None else allowed
    # Nodes stand in lexicographic order, so that sorted leaves have sorted ancestors: one sort serves all depths.
    nodes_R = np.sort(trie.node_of_item[-1][rows])
    found: list[Rows] = []
    for depth in reversed(range(len(trie.levels))):
        starts = np.flatnonzero(np.diff(nodes_R, prepend=-1))
        nodes = nodes_R[starts]
        if allowed is None:
            found.append(nodes[np.diff(starts, append=len(nodes_R)) == counts[depth][nodes]])
            nodes_R = trie.levels[depth].parent_M[nodes_R]
        else:
            found.append(nodes)
            nodes_R = trie.levels[depth].parent_M[nodes]
    return allowed is not None, found[::-1]
