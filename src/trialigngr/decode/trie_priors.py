"""`TriePriors`: priors as shares of the nodes of a trie, exact on every prefix."""

from __future__ import annotations

from dataclasses import dataclass
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
_Float32Array: TypeAlias = npt.NDArray[np.float32]
_NO_ROWS: Rows = np.empty(0, dtype=np.int64)
_NO_SHARES: _Float32Array = np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class _NodeShares:
    """The share of one prior's weights below the nodes of each depth: of those ``nodes`` that hold one, in order, or,
    where ``nodes`` is None, of all."""

    nodes: list[Rows] | None
    shares: list[_Float32Array]


class TriePriors:
    """The priors of B requests over one trie: which share of a prior's weights lies below a node.

    A prior of some rows keeps the nodes above them alone, and so costs what its weights cost; one of all items keeps a
    table. Items that a filter does not let are left out before anything is summed.
    """

    def __init__(self, priors: Priors, filters: Filters, trie: Trie, device: torch.device) -> None:
        asked = [] if priors is None else priors
        given = [None] * len(asked) if filters is None else filters
        found = [_sum_shares(prior, as_filter(own), trie) for prior, own in zip(asked, given, strict=True)]
        self._sizes = [len(level) for level in trie.levels]
        self._lay_out_lists(found, device)
        self._lay_out_tables(found, device)
        # A prior of which the filter leaves nothing has no say.
        mixing = [prior.mixing_weight if prior and own else 0.0 for prior, own in zip(asked, found, strict=True)]
        floors = [np.log((prior.floor if prior else 1) / len(trie.sorted_rows)) for prior in asked]
        geometric = [prior is not None and prior.form == "geometric" for prior in asked]
        self._mixing_B, self._log_generator_B, self._log_floor_B = (
            torch.tensor(values, dtype=torch.float32, device=device)
            for values in (mixing, np.log1p(-np.array(mixing)), floors)
        )
        self._log_prior_B = self._mixing_B.log()
        self._is_geometric_B = torch.tensor(geometric, device=device) if any(geometric) else None

    def _lay_out_lists(self, found: list[_NodeShares | None], device: torch.device) -> None:
        self._keys, self._shares = [], []
        for depth, size in enumerate(self._sizes):
            listed = [
                (own.nodes[depth] + b * size, own.shares[depth])
                for b, own in enumerate(found)
                if own is not None and own.nodes is not None
            ]
            keys, shares = zip(*listed, strict=True) if listed else ([_NO_ROWS], [_NO_SHARES])
            self._keys.append(torch.from_numpy(np.concatenate(keys)).to(device))
            self._shares.append(torch.from_numpy(np.concatenate(shares)).to(device))

    def _lay_out_tables(self, found: list[_NodeShares | None], device: torch.device) -> None:
        dense = [own for own in found if own is not None and own.nodes is None]
        has_table = np.array([own is not None and own.nodes is None for own in found])
        self._has_table_B = torch.from_numpy(has_table).to(device)
        self._table_of_B = torch.from_numpy(np.maximum(np.cumsum(has_table) - 1, 0)).to(device)
        self._tables = [
            torch.from_numpy(np.stack([own.shares[depth] for own in dense])).to(device)
            for depth in range(len(self._sizes) if dense else 0)
        ]

    def find_shares(self, nodes: Tensor, depth: int) -> Tensor:
        """Return Q of nodes [B, …] of a depth."""
        keys, shares = self._keys[depth], torch.zeros(nodes.shape, device=nodes.device)
        if len(keys):
            key = _align(torch.arange(len(nodes), device=nodes.device), nodes) * self._sizes[depth] + nodes
            place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
            shares = self._shares[depth][place].masked_fill(keys[place] != key, 0)
        if self._tables:
            dense = self._tables[depth][_align(self._table_of_B, nodes), nodes]
            shares = torch.where(_align(self._has_table_B, nodes), dense, shares)
        return shares

    def mix_scores(self, scores: Tensor, nodes: Tensor, depth: int) -> Tensor:
        """Return the scores of nodes [B, …] under the mixture, from the generator's; −inf stays −inf."""
        log_shares = self.find_shares(nodes, depth).log()
        mixed = torch.logaddexp(
            scores + _align(self._log_generator_B, scores), log_shares + _align(self._log_prior_B, scores)
        )
        if self._is_geometric_B is not None:
            mixing = _align(self._mixing_B, scores)
            floored = torch.maximum(log_shares, _align(self._log_floor_B, scores))
            geometric = (1 - mixing) * scores + mixing * floored
            mixed = torch.where(_align(self._is_geometric_B, scores), geometric, mixed)
        return mixed.masked_fill(scores == _NEG_INF, _NEG_INF)


def _align(values_B: Tensor, nodes: Tensor) -> Tensor:
    """Return one value a request in a shape that goes with nodes [B, …]."""
    return values_B.view(-1, *[1] * (nodes.dim() - 1))


def _sum_shares(prior: Prior | None, given: Filter, trie: Trie) -> _NodeShares | None:
    """Return the shares of a prior; None where it has no say, because λ is 0 or the filter leaves nothing."""
    if prior is None or not prior.mixing_weight:
        return None
    n = len(trie.sorted_rows)
    _check_size(prior, n)
    if prior.rows is not None:
        return _sum_list(prior.rows, np.where(given.is_allowed(prior.rows), prior.weights, 0), trie)
    allowed = given.list_allowed_rows(n)
    if allowed is not None:
        allowed = np.unique(allowed)
        return _sum_list(allowed, prior.weights[allowed], trie)
    return _sum_table(prior.weights, given.denied_rows, trie)


def _check_size(prior: Prior, n: int) -> None:
    if prior.rows is None and len(prior.weights) != n:
        raise ArgumentError(f"A prior has {len(prior.weights)} weights for the {n} items of the catalogue.")
    if prior.rows is not None and len(prior.rows) and not 0 <= prior.rows.min() <= prior.rows.max() < n:
        raise ArgumentError(f"A prior names rows outside of the {n} items of the catalogue.")


def _sum_list(rows_R: Rows, weights_R: npt.NDArray[np.generic], trie: Trie) -> _NodeShares | None:
    """Sum the weights of some rows, which may come more than once."""
    held = np.flatnonzero(weights_R)
    nodes = trie.node_of_item[-1][rows_R[held]]
    # Nodes stand in lexicographic order, so that sorted leaves have sorted ancestors: one sort serves all depths.
    order = np.argsort(nodes, kind="stable")
    nodes, sums = nodes[order], weights_R[held[order]].astype(np.float64)
    if not len(held):
        return None
    total, listed, shares = sums.sum(), [], []
    for level in reversed(trie.levels):
        starts = np.flatnonzero(np.diff(nodes, prepend=-1))
        nodes, sums = nodes[starts], np.add.reduceat(sums, starts)
        listed.append(nodes)
        shares.append((sums / total).astype(np.float32))
        nodes = level.parent_M[nodes]
    return _NodeShares(listed[::-1], shares[::-1])


def _sum_table(weights_N: npt.NDArray[np.generic], denied_rows: Rows, trie: Trie) -> _NodeShares | None:
    """Sum the weights of all rows but a few."""
    weights_N = weights_N.astype(np.float64)
    weights_N[denied_rows] = 0
    if not (total := weights_N.sum()):
        return None
    sums = np.bincount(trie.node_of_item[-1], weights_N)
    shares = [(sums / total).astype(np.float32)]
    for level in reversed(trie.levels[:-1]):
        sums = np.add.reduceat(sums, level.child_starts[:-1])
        shares.append((sums / total).astype(np.float32))
    return _NodeShares(None, shares[::-1])
