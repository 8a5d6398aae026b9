"""`TrieSoftmax`: which tokens the softmax of a SID's token is over, where it is what beam search scores it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trialigngr.sids.trie import Trie


@dataclass(frozen=True)
class TrieSoftmax:
    """The tokens that follow each prefix of the SIDs that exist.

    ``nodes_LN`` are the nodes of the N items at each depth of the trie, ``tokens[d]`` the last token of each node at
    depth d (−1 where a SID has ended), ``child_starts[d]`` where the children of each begin among the nodes below.
    """

    nodes_LN: Tensor
    tokens: list[Tensor]
    child_starts: list[Tensor]

    @classmethod
    def from_trie(cls, trie: Trie, tokens_LK: Sequence[Sequence[int]], device: torch.device) -> TrieSoftmax:
        """``tokens_LK`` are the tokens of each level's codes."""
        tokens = []
        for level, own_K in zip(trie.levels, tokens_LK, strict=True):
            codes_M = torch.from_numpy(level.codes_M).long()
            tokens.append(torch.tensor(own_K)[codes_M.clamp(min=0)].masked_fill(codes_M < 0, -1).to(device))
        starts = [torch.from_numpy(level.child_starts).to(device) for level in trie.levels]
        return cls(torch.from_numpy(trie.node_of_item).to(device), tokens, starts)

    def find_allowed(self, depth: int, item_P: Tensor, tokens_K: Tensor) -> Tensor:
        """Return [P, K] which of a level's tokens, in their order, may stand at a depth of items' SIDs, behind the
        tokens that they have before."""
        if depth:
            parent_P = self.nodes_LN[depth - 1, item_P]
            start_P = self.child_starts[depth - 1][parent_P]
            count_P = self.child_starts[depth - 1][parent_P + 1] - start_P
        else:
            start_P, count_P = torch.zeros_like(item_P), torch.full_like(item_P, len(self.tokens[0]))
        line = torch.arange(len(item_P), device=item_P.device).repeat_interleave(count_P)
        before_P = count_P.cumsum(0) - count_P
        node = torch.arange(len(line), device=line.device) + (start_P - before_P)[line]
        token = self.tokens[depth][node]
        allowed_PK = torch.zeros(len(item_P), len(tokens_K), dtype=torch.bool, device=item_P.device)
        allowed_PK[line[token >= 0], torch.searchsorted(tokens_K, token[token >= 0])] = True
        return allowed_PK
