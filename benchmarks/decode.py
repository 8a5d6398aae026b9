"""Decoding: against the others in turn with the same model and dtype, against the bare forward pass, at scale.

Random weights: speed does not depend on what a model has learnt. ``python -m benchmarks.decoding.oracle RUN`` holds the
beams of a trained run against the exact ranking of its whole catalogue.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.decoding import encoder_decoder, large, memory
from benchmarks.decoding.data import ITEMS, PROMPT, SMALL, TEXT, model, prompts, search
from benchmarks.decoding.others import callback, generated, rectokens, vectorised
from benchmarks.harness import Check, at_least, below, seconds_of, side_by_side
from trialigngr.decode.generative_recommender import GenerativeRecommender
from trialigngr.decode.settings import DecodeSettings

BEAMS, WIDE, ROUNDS = 20, 200, 3
BEAUTY_USERS, HEADER = (40 if SMALL else 22_363), 30


def measure() -> list[Check]:
    """Return all checks."""
    own = model()
    checks = _against_others(own) + _against_forward(own) + encoder_decoder.measure(BEAMS)
    checks += large.growth(own) + large.filters(own) + large.priors() + large.trie()
    return checks + memory.measure() + _beauty()


def _against_others(own: Any) -> list[Check]:
    asked, alike, ours = prompts(), prompts(shared=PROMPT // 5), search(own)
    allowed = callback(ITEMS)
    contestants = {
        "ours": lambda: ours(asked, BEAMS),
        "ours, a fifth of the prompts in common": lambda: ours(alike, BEAMS),
        "callback": lambda: generated(own, asked, BEAMS, prefix_allowed_tokens_fn=allowed),
        "vectorised mask": vectorised(own, asked, BEAMS, ITEMS),
    }
    theirs = rectokens(own, asked, BEAMS, ITEMS)
    taken = side_by_side(contestants | ({"rectokens": theirs} if theirs else {}), ROUNDS)
    print({name: f"{seconds:.3f} s" for name, seconds in taken.items()})
    goals = {"callback": 35, "vectorised mask": 5, "rectokens": 5}
    return [
        at_least(f"vocabulary, {BEAMS} beams: times faster than {name}", taken[name] / taken["ours"], goal)
        for name, goal in goals.items()
        if name in taken
    ]


def _against_forward(own: Any) -> list[Check]:
    asked = prompts()
    tokens_BT = torch.tensor(asked)
    ours = {name: search(own, score_softmax=name) for name in ("constrained", "full")}

    def forward() -> object:
        with torch.inference_mode():
            return own.base_model(input_ids=tokens_BT, use_cache=False)

    contestants: dict[str, Any] = {"forward": forward}
    for name, found in ours.items():
        for beams in (BEAMS, WIDE):
            contestants[f"{name}, {beams} beams"] = lambda found=found, beams=beams: found(asked, beams)
    taken = side_by_side(contestants, ROUNDS)
    print({name: f"{seconds:.3f} s" for name, seconds in taken.items()})
    bare = taken["forward"]
    return [
        below(f"{name}: decode over bare forward", taken[name] / bare, goal)
        for name, goal in ((f"catalogue, {BEAMS} beams", 1.4), (f"catalogue, {WIDE} beams", 3.0))
    ]


def _beauty() -> list[Check]:
    """Return the minutes that the test users of Beauty take a model of `trialigngr-small`'s shape.

    Their prompts are as long as Beauty's: a header, then three tokens for each of 4 to 20 items, mostly few.
    """
    small = model(4, 256)
    random = np.random.default_rng(3)
    histories = [random.integers(0, TEXT, 3 * min(4 + int(extra), 20)) for extra in random.exponential(4, BEAUTY_USERS)]
    header = list(range(1, HEADER + 1))
    recommender = GenerativeRecommender(
        search(small, score_softmax="constrained"),
        lambda rows: header + rows.tolist(),
        DecodeSettings(num_beams=BEAMS, precision="fp32"),
    )
    minutes = seconds_of(lambda: recommender.decode_beams(histories)) / 60
    return [below(f"catalogue, {BEAUTY_USERS:,} users of Beauty's lengths, {BEAMS} beams: minutes", minutes, 5)]
