"""How far a SID must be written until it can be no other."""

from __future__ import annotations

import numpy as np

from trialigngr.tasks.token_lists import TokenLists, UnsignedArray, shrink_unsigned


def count_unique_prefix_tokens(sids: TokenLists) -> UnsignedArray:
    """Return the length of the shortest beginning of each SID that no other SID has, its end counted as a token [N]."""
    sids_NL = sids.pad(-1)
    order_N = np.lexsort(sids_NL.T[::-1])
    # In order, the SID that shares most with another stands beside it.
    equal_NL = sids_NL[order_N][1:] == sids_NL[order_N][:-1]
    shared_N = np.logical_and.accumulate(equal_NL, axis=1).sum(1)
    is_new_N = np.concatenate([[True], ~equal_NL.all(1)])
    edges_U = np.concatenate([[0], shared_N[is_new_N[1:]], [0]])
    lengths_U = np.maximum(edges_U[:-1], edges_U[1:]) + 1
    lengths_N = np.empty(len(sids), dtype=np.int64)
    lengths_N[order_N] = lengths_U[np.cumsum(is_new_N) - 1]
    return shrink_unsigned(lengths_N)
