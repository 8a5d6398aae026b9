"""The trie of all SIDs that exist, as arrays: what may follow a prefix is a slice, and so is what lies below it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.sids.semantic_ids import Codes

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrieLevel:
    """The M nodes at one depth, in lexicographic order of their prefixes.

    ``codes_M`` is the last code of each prefix. The children of node m are the nodes ``children[m]:children[m + 1]``
    one level deeper (at the last level: places in `Trie.sorted_rows`, the items that bear the SID). ``parent_M`` points
    back.
    """

    codes_M: Codes
    parent_M: Int64Array
    child_starts: Int64Array

    def __len__(self) -> int:
        return len(self.codes_M)


@dataclass(frozen=True)
class Trie:
    """Prefix tree over N items' codes [N, L]. Depth d holds the distinct prefixes of length d + 1.

    A SID that ends early goes on with `END_CODE`, so that every path has L steps and a SID may be the beginning of
    another. ``sorted_rows`` [N] lists the catalogue rows in the order of their SIDs; ``node_of_item`` [L, N] gives the
    node of each item (by row) at each depth.
    """

    levels: tuple[TrieLevel, ...]
    sorted_rows: Int64Array
    node_of_item: Int64Array

    @classmethod
    def from_codes(cls, codes_NL: Codes) -> Trie:
        """Build the trie; O(N L) after one lexicographic sort."""
        n, depth = codes_NL.shape
        order = np.lexsort(codes_NL.T[::-1])
        sorted_NL = codes_NL[order]
        starts_new = np.ones(n, dtype=bool)
        starts_new[1:] = False
        firsts: list[Int64Array] = []
        node_sorted = np.empty((depth, n), dtype=np.int64)
        for level in range(depth):
            starts_new[1:] |= sorted_NL[1:, level] != sorted_NL[:-1, level]
            firsts.append(np.flatnonzero(starts_new))
            node_sorted[level] = np.cumsum(starts_new) - 1
        levels = []
        for level, first in enumerate(firsts):
            below = node_sorted[level + 1][first] if level + 1 < depth else first
            total = len(firsts[level + 1]) if level + 1 < depth else n
            parent = node_sorted[level - 1][first] if level else np.zeros(len(first), dtype=np.int64)
            levels.append(TrieLevel(sorted_NL[first, level].copy(), parent, np.append(below, total)))
        node_of_item = np.empty_like(node_sorted)
        node_of_item[:, order] = node_sorted
        return cls(tuple(levels), order.astype(np.int64), node_of_item)

    def items_at(self, leaf: int) -> Int64Array:
        """Return the catalogue rows that bear the SID of a leaf, in row order."""
        last = self.levels[-1]
        return np.sort(self.sorted_rows[last.child_starts[leaf] : last.child_starts[leaf + 1]])

    def item_counts(self, level: int) -> Int64Array:
        """Return how many items lie below each node of a level [M]."""
        return np.bincount(self.node_of_item[level], minlength=len(self.levels[level]))
