"""`TriePriors`: priors as shares of the nodes of a trie, exact on every prefix."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.decode.filters import Filter, Filters, Rows, as_filter
from trialigngr.decode.prior import Prior, Priors
from trialigngr.foundation.errors import ArgumentError
from trialigngr.sids.trie import Trie

_NEG_INF = float("-inf")
_Float64Array: TypeAlias = npt.NDArray[np.float64]
_NodeShares: TypeAlias = list[tuple[Rows, npt.NDArray[np.float32]]]
"""Of each depth the nodes that hold a share, in order, and its logarithm."""


class TriePriors:
    """The priors of B requests over one trie: which share of a prior's weights lies below a node.

    Only nodes that hold a share are kept, so that a prior costs what its weights cost. Items that a filter does not let
    are left out before anything is summed.
    """

    def __init__(self, priors: Priors, filters: Filters, trie: Trie, device: torch.device) -> None:
        priors = priors or []
        own = [None] * len(priors) if filters is None else filters
        listed = [_sum_shares(prior, as_filter(given), trie) for prior, given in zip(priors, own, strict=True)]
        sizes = [len(level) for level in trie.levels]
        self._sizes = sizes
        self._keys, self._log_shares = [], []
        for depth, size in enumerate(sizes):
            keys = np.concatenate([shares[depth][0] + b * size for b, shares in enumerate(listed)])
            self._keys.append(torch.from_numpy(keys).to(device))
            logs = np.concatenate([shares[depth][1] for shares in listed])
            self._log_shares.append(torch.from_numpy(logs).to(device))
        # A prior of which the filter leaves nothing has no say.
        mixing_B = [
            prior.mixing_weight if prior and len(shares[0][0]) else 0.0
            for prior, shares in zip(priors, listed, strict=True)
        ]
        self._mixing_B = torch.tensor(mixing_B, dtype=torch.float32, device=device)
        self._log_generator_B = torch.tensor(np.log1p(-np.array(mixing_B)), dtype=torch.float32, device=device)
        self._log_prior_B = self._mixing_B.log()
        is_geometric = [prior is not None and prior.form == "geometric" for prior in priors]
        self._is_geometric_B = torch.tensor(is_geometric, device=device) if any(is_geometric) else None
        floors = [np.log((prior.floor if prior else 1) / len(trie.sorted_rows)) for prior in priors]
        self._log_floor_B = torch.tensor(floors, dtype=torch.float32, device=device)

    def log_shares(self, nodes: Tensor, depth: int) -> Tensor:
        """Return log Q of nodes [B, …] of a depth; −inf where nothing below has weight."""
        keys, logs = self._keys[depth], self._log_shares[depth]
        if not len(keys):
            return torch.full(nodes.shape, _NEG_INF, device=nodes.device)
        key = _align(torch.arange(len(nodes), device=nodes.device), nodes) * self._sizes[depth] + nodes
        place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        return logs[place].masked_fill(keys[place] != key, _NEG_INF)

    def mix_scores(self, scores: Tensor, nodes: Tensor, depth: int) -> Tensor:
        """Return the scores of nodes [B, …] under the mixture, from the generator's; −inf stays −inf."""
        log_shares = self.log_shares(nodes, depth)
        mixed = torch.logaddexp(
            scores + _align(self._log_generator_B, scores), log_shares + _align(self._log_prior_B, scores)
        )
        if self._is_geometric_B is not None:
            mixing = _align(self._mixing_B, scores)
            floored = torch.maximum(log_shares, _align(self._log_floor_B, scores))
            geometric = (1 - mixing) * scores + mixing * floored
            mixed = torch.where(_align(self._is_geometric_B, scores), geometric, mixed)
        return mixed.masked_fill(scores == _NEG_INF, _NEG_INF)


def _align(values_B: Tensor, with_: Tensor) -> Tensor:
    """Return one value a request in the shape that goes with [B, …]."""
    return values_B.view(-1, *[1] * (with_.dim() - 1))


def _sum_shares(prior: Prior | None, given: Filter, trie: Trie) -> _NodeShares:
    """Return the nodes that hold a share of a prior, depth by depth."""
    nothing = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    if prior is None or not prior.mixing_weight:
        return [nothing] * len(trie.levels)
    nodes, weights = _list_leaves(prior, given, trie)
    total = weights.sum()
    if not total > 0:
        return [nothing] * len(trie.levels)
    found = []
    for level in reversed(trie.levels):
        starts = np.flatnonzero(np.diff(nodes, prepend=-1))
        nodes, weights = nodes[starts], np.add.reduceat(weights, starts)
        found.append((nodes, np.log(weights / total).astype(np.float32)))
        nodes = level.parent_M[nodes]
    return found[::-1]


def _list_leaves(prior: Prior, given: Filter, trie: Trie) -> tuple[Rows, _Float64Array]:
    """Return leaves, in order, and the weights of items there; a leaf may stand more than once."""
    n, last = len(trie.sorted_rows), trie.levels[-1]
    if prior.rows is None and len(prior.weights) != n:
        raise ArgumentError(f"A prior has {len(prior.weights)} weights for the {n} items of the catalogue.")
    weights = prior.weights.astype(np.float64)
    if prior.rows is None:
        allowed = given.list_allowed_rows(n)
        if allowed is None:
            weights[given.denied_rows] = 0
            weights = np.add.reduceat(weights[trie.sorted_rows], last.child_starts[:-1])
            leaves = np.flatnonzero(weights)
            return leaves, weights[leaves]
        rows, weights = allowed, weights[allowed]
    else:
        rows = prior.rows
        if len(rows) and not 0 <= rows.min() <= rows.max() < n:
            raise ArgumentError(f"A prior names rows outside of the {n} items of the catalogue.")
        weights = np.where(given.is_allowed(rows), weights, 0)
    rows, weights = rows[weights > 0], weights[weights > 0]
    leaves = trie.node_of_item[-1][rows]
    order = np.argsort(leaves, kind="stable")
    return leaves[order], weights[order]
