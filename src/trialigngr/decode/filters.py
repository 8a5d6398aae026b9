"""`Filter`: which items may come back for one request, as masks over a trie that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.sids.trie import Trie

Rows = npt.NDArray[np.int64]
_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Filter:
    """Catalogue rows that must not come back, and, unless None, the only ones that may."""

    denied_rows: Rows = field(default_factory=lambda: _NO_ROWS)
    only_rows: Rows | None = None

    def is_allowed(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Say which of some rows may come back."""
        kept: npt.NDArray[np.bool_] = ~np.isin(rows, self.denied_rows)
        return kept if self.only_rows is None else kept & np.isin(rows, self.only_rows)

    def list_allowed_rows(self, n: int) -> Rows | None:
        """Return the rows of n that may come back, or None where the few that may not are the shorter list."""
        if self.only_rows is None and 4 * len(self.denied_rows) <= n:
            return None
        if self.only_rows is not None and len(self.denied_rows) < len(self.only_rows):
            return self.only_rows[~np.isin(self.only_rows, self.denied_rows)]
        allowed_N = np.full(n, self.only_rows is None)
        if self.only_rows is not None:
            allowed_N[self.only_rows] = True
        allowed_N[self.denied_rows] = False
        return np.flatnonzero(allowed_N)


Filters: TypeAlias = Sequence[Filter | Rows | None] | None
"""One filter a request; plain rows are what must not come back, None lets everything."""


def as_filter(given: Filter | Rows | None) -> Filter:
    """Return what a request gave as a filter."""
    return given if isinstance(given, Filter) else Filter(_NO_ROWS if given is None else given)


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
