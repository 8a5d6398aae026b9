"""The other ways to decode the same SIDs with the same model: a callback, a vectorised mask, `rectokens`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from benchmarks.decoding.data import END_TOKEN, PROMPT, TOKENS_LK, VOCABULARY, codes
from trialigngr.sids.trie import Trie

Decode = Callable[[], object]


def written(n: int) -> Tensor:
    """Return the SIDs of the catalogue as tokens [N, L], in lexicographic order."""
    codes_NL = codes(n)
    sorted_NL = codes_NL[np.lexsort(codes_NL.T[::-1])]
    return torch.from_numpy(
        np.stack([tokens[column] for tokens, column in zip(TOKENS_LK, sorted_NL.T, strict=True)], 1)
    )


def generated(model: Any, asked: list[list[int]], beams: int, **constraint: Any) -> Any:
    """Return what Hugging Face's beam search writes, with its scores."""
    tokens_BT = torch.tensor(asked, device=model.device)
    with torch.inference_mode():
        return model.generate(
            tokens_BT,
            attention_mask=torch.ones_like(tokens_BT),
            num_beams=beams,
            num_return_sequences=beams,
            max_new_tokens=len(TOKENS_LK),
            length_penalty=0.0,
            do_sample=False,
            eos_token_id=END_TOKEN,
            pad_token_id=END_TOKEN,
            return_dict_in_generate=True,
            output_scores=True,
            **constraint,
        )


def callback(n: int) -> Callable[[int, Tensor], list[int]]:
    """Return a ``prefix_allowed_tokens_fn`` over a dictionary of prefixes, as LETTER and MACRec have it."""
    follow: dict[tuple[int, ...], set[int]] = {}
    for sid in written(n).tolist():
        for depth, token in enumerate(sid):
            follow.setdefault(tuple(sid[:depth]), set()).add(token)
    allowed = {prefix: sorted(tokens) for prefix, tokens in follow.items()}
    return lambda _batch, ids: allowed[tuple(ids[PROMPT:].tolist())]


class VectorisedMask(LogitsProcessor):  # type: ignore[misc]  # transformers' classes are untyped
    """A mask over the vocabulary from arrays, with no Python per beam; prompts are expanded by `generate`."""

    def __init__(self, n: int, width: int = PROMPT, device: str = "cpu") -> None:
        levels, self.width = Trie.from_codes(codes(n)).levels, width
        self.widest = [int(np.diff(level.child_starts).max()) for level in levels]
        self.children = [torch.from_numpy(level.child_starts).to(device) for level in levels]
        self.tokens = [
            torch.from_numpy(tokens_K[level.codes_M]).to(device)
            for tokens_K, level in zip(TOKENS_LK, levels, strict=True)
        ]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores with −inf for every token that may not follow."""
        mask_XV = torch.zeros_like(scores, dtype=torch.bool)
        nodes_XC = torch.arange(len(self.tokens[0]), device=scores.device).expand(len(scores), -1)
        real_XC = torch.ones_like(nodes_XC, dtype=torch.bool)
        for depth, token_X in enumerate(input_ids[:, self.width :].T):
            place_X = (self.tokens[depth][nodes_XC] == token_X[:, None]).logical_and(real_XC).int().argmax(1)
            children = self.children[depth]
            node_X = nodes_XC.gather(1, place_X[:, None])[:, 0]
            nodes_XC = children[node_X][:, None] + torch.arange(self.widest[depth], device=scores.device)
            real_XC = nodes_XC < children[node_X + 1][:, None]
            nodes_XC = torch.where(real_XC, nodes_XC, children[node_X][:, None])
        mask_XV.scatter_(1, self.tokens[input_ids.shape[1] - self.width][nodes_XC], True)
        return scores.masked_fill(~mask_XV, float("-inf"))


def vectorised(model: Any, asked: list[list[int]], beams: int, n: int) -> Decode:
    """Return a call that decodes with `generate` and the vectorised mask."""
    mask = LogitsProcessorList([VectorisedMask(n, len(asked[0]), model.device.type)])
    return lambda: generated(model, asked, beams, logits_processor=mask)


def rectokens(model: Any, asked: list[list[int]], beams: int, n: int) -> Decode | None:
    """Return a call that decodes with `rectokens`, or None where it is not installed.

    Its fused kernels run on CUDA alone; on a CPU its own PyTorch function for the same step stands in. Its sparse
    output layer takes no hidden states in batches, as transformers' models have them (0.2.2), so it is left out.
    """
    if find_spec("rectokens") is None:
        print("rectokens is not installed (pip install --no-deps rectokens==0.2.2); its side is left out.")
        return None
    if not torch.cuda.is_available():
        sys.modules.setdefault("rectokens.kernels.constrained_node_transition", _on_cpu())
    from rectokens.decoding.constrained_decoding import autoregressive_generate
    from rectokens.schemas.compact_csr_trie import CompactCSRTrie
    from rectokens.schemas.config import GenerationConfig

    trie = CompactCSRTrie.from_sorted_batch(written(n).to(model.device), VOCABULARY, dense_lookup_layers=1)
    config = GenerationConfig(steps=len(TOKENS_LK), k=beams, beam_size=beams, temperature=0.0)
    tokens_BT = torch.tensor(asked, device=model.device)
    return lambda: autoregressive_generate(model, trie, tokens_BT, config, use_sparse_linear=False)


def _on_cpu() -> ModuleType:
    from rectokens.decoding.vntk import vtnk_pytorch

    def step(logits: Tensor, node: Tensor, row_ptrs: Tensor, stacked: Tensor, widest: int) -> tuple[Tensor, ...]:
        trie = SimpleNamespace(row_ptrs=row_ptrs, stacked_cols_vals=stacked, layer_max_branches=[widest])
        found: tuple[Tensor, ...] = vtnk_pytorch(logits, node, trie, 0)
        return found

    module: Any = ModuleType("constrained_node_transition")
    module._constrained_node_transition_op = step
    for kind in ("", "_sampling", "_topk"):
        setattr(module, f"_fused_linear_constrained_node_transition{kind}_op", None)
    return module
