"""An encoder–decoder of TIGER's shape beside `generate` with a callback: the same T5, catalogue, users and batch size.

Ours takes the users by the length of their histories, as it always does; theirs as they come, as the systems that
decode with a callback do. In fp32, so that the lists of both are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.decoding.data import ITEMS, SIZES, SMALL, codes
from benchmarks.harness import Check, at_least, side_by_side
from trialigngr.decode.settings import DecodeSettings
from trialigngr.seq2seq.batches import pad_sources
from trialigngr.seq2seq.model import Seq2SeqGenerator
from trialigngr.seq2seq.settings import TigerSettings
from trialigngr.seq2seq.vocabulary import END_TOKEN, PAD_TOKEN

USERS, LONGEST, ROUNDS = (5 if SMALL else 256), 20, 1
BATCH = 2 if SMALL else DecodeSettings().batch_size


def measure(beams: int) -> list[Check]:
    """Return the checks: users/s beside the callback's, and the lists of both."""
    torch.manual_seed(0)
    generator = Seq2SeqGenerator("tiger", TigerSettings(), SIZES, "cpu")
    generator.model.eval()
    codes_NL, random = codes(ITEMS), np.random.default_rng(2)
    settings = DecodeSettings(num_beams=beams, batch_size=BATCH, score_softmax="full", precision="fp32")
    recommender = generator.build_recommender(codes_NL, settings)
    # Beauty's lengths: mostly few items.
    counts_U = np.minimum(3 + random.exponential(4, USERS).astype(np.int64), LONGEST)
    encode = generator.build_sequences(codes_NL).encode_histories
    tokens, lengths_U = encode(random.integers(0, ITEMS, counts_U.sum()), counts_U, np.full(USERS, -1))
    asked = [part.tolist() for part in np.split(tokens, np.cumsum(lengths_U)[:-1])]
    written_NL = generator.vocabulary.encode_codes(codes_NL)
    theirs = _Generate(generator.model, asked, written_NL, beams)
    taken = side_by_side({"ours": lambda: recommender.decode_prompts(asked), "callback": theirs}, ROUNDS)
    print({f"encoder–decoder, {name}": f"{USERS / seconds:.1f} users/s" for name, seconds in taken.items()})
    trie, leaves_UW = recommender.search.trie, recommender.decode_prompts(asked).leaves_BW
    rows_UW = trie.sorted_rows[trie.levels[-1].child_starts[leaves_UW]]
    same_U = (written_NL[rows_UW] == theirs.found.reshape(USERS, beams, -1)).all((1, 2))
    return [
        at_least(f"encoder–decoder, {beams} beams: times faster than callback", taken["callback"] / taken["ours"], 10),
        at_least("encoder–decoder: share of lists that are the callback's", float(same_U.mean()), 1),
    ]


class _Generate:
    """Beam search of transformers, with a dictionary of prefixes that says what may follow."""

    def __init__(self, model: Any, asked: list[list[int]], written_NL: Any, beams: int) -> None:
        self.model, self.asked, self.beams, self.levels = model, asked, beams, written_NL.shape[1]
        follow: dict[tuple[int, ...], set[int]] = {}
        for sid in written_NL.tolist():
            for depth, token in enumerate(sid):
                follow.setdefault(tuple(sid[:depth]), set()).add(token)
        self.allowed = {prefix: sorted(tokens) for prefix, tokens in follow.items()}
        self.found: Any = None

    def __call__(self) -> None:
        """Write the SIDs of all users, as tokens [U × W, L]."""
        self.found = np.concatenate(
            [self._write(self.asked[start : start + BATCH]) for start in range(0, len(self.asked), BATCH)]
        )

    @torch.inference_mode()
    def _write(self, asked: list[list[int]]) -> Any:
        tokens_BT = torch.from_numpy(pad_sources(asked))
        found = self.model.generate(
            tokens_BT, attention_mask=(tokens_BT != PAD_TOKEN).long(), num_beams=self.beams,
            num_return_sequences=self.beams, max_new_tokens=self.levels, length_penalty=0.0, do_sample=False,
            eos_token_id=END_TOKEN, pad_token_id=PAD_TOKEN,
            prefix_allowed_tokens_fn=lambda _batch, ids: self.allowed[tuple(ids[1:].tolist())],
        )  # fmt: skip
        return found[:, 1:].numpy()
