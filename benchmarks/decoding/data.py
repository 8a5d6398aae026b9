"""Models with random weights, catalogues of skewed codes, random prompts; small ones under ``BENCH_SMALL=1``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.causal_model import CausalModel
from trialigngr.sids.semantic_ids import Codes
from trialigngr.sids.trie import Trie

if TYPE_CHECKING:
    from trialigngr.decode.settings import ScoreSoftmax

SMALL = bool(os.environ.get("BENCH_SMALL"))
"""Prove that the benchmark runs; its figures mean nothing then."""
USERS, PROMPT, ITEMS = (2, 40, 600) if SMALL else (8, 200, 12_000)
VOCABULARY, SIZES = (2_000, (64, 64, 64)) if SMALL else (27_000, (256, 256, 256))
LAYERS, WIDTH = (2, 64) if SMALL else (8, 512)
CATALOGUES = (1_000, 10_000) if SMALL else (10**4, 10**5, 10**6, 10**7)
FILTERED = 20_000 if SMALL else 10**6
PRIOR_ROWS = 100 if SMALL else 1_000
TEXT = VOCABULARY - sum(SIZES)
TOKENS_LK = np.arange(TEXT, VOCABULARY).reshape(len(SIZES), -1)
END_TOKEN = 0


def model(layers: int = LAYERS, width: int = WIDTH, vocabulary: int = VOCABULARY) -> Any:
    """Return a Qwen2 with random weights in bf16."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config).to(torch.bfloat16).eval()


def codes(n: int) -> Codes:
    """Return n distinct SIDs; some codes are drawn far oftener than others, as in a real catalogue."""
    random = np.random.default_rng(0)
    room = int(np.prod(SIZES))
    if n > room // 8:  # too many to be skewed and distinct
        numbers = random.choice(room, n, replace=False)
        return np.stack(np.unravel_index(numbers, SIZES), 1).astype(np.int32)
    drawn = random.random((4 * n, len(SIZES))) ** 1.5 * np.array(SIZES)
    distinct = np.unique(drawn.astype(np.int32), axis=0)
    return distinct[np.sort(random.choice(len(distinct), n, replace=False))]


def prompts(users: int = USERS, length: int = PROMPT, shared: int = 0) -> list[list[int]]:
    """Return prompts of random tokens, the first ``shared`` of them the same for all users, as an instruction is."""
    drawn = np.random.default_rng(1).integers(1, TEXT, (users, length))
    drawn[:, :shared] = drawn[0, :shared]
    listed: list[list[int]] = drawn.tolist()
    return listed


def search(model: Any, n: int = ITEMS, score_softmax: ScoreSoftmax = "full") -> BeamSearch:
    """Return our beam search over a catalogue of n items, in the model's own dtype."""
    trie = Trie.from_codes(codes(n))
    return BeamSearch(CausalModel(model), trie, TOKENS_LK.tolist(), END_TOKEN, score_softmax, "fp32")
