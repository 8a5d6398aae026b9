"""MACRec against two RQ-VAEs that know nothing of each other: same sizes, same settings, three seeds."""

from __future__ import annotations

from typing import Any

from benchmarks.harness import Check, below
from benchmarks.tokenizers.data import Vectors, films, shop
from trialigngr.sids.collisions import compute_collision_rates
from trialigngr.sids.quantizers import macrec
from trialigngr.sids.settings import SidSettings

SEEDS = (0, 1, 2)
SIZES = {"films with posters": (64, 64, 64), "the drawn shop": (32, 32, 32)}
"""So tight that items share SIDs: 41 times as many SIDs as films, 85 times as many as products."""
STEPS: dict[str, dict[str, Any]] = {
    "films with posters": {"epochs": 60},
    "the drawn shop": {"epochs": 500, "patience": 500, "batch_size": 128},
}
"""About 1,500 steps each."""


def measure() -> list[Check]:
    """Return, for films and the shop, MACRec's share of items that share a SID against the independent's."""
    checks = []
    for name, load in {"films with posters": films, "the drawn shop": shop}.items():
        pair = load()
        if pair is None:
            print(f"{name}: the data set is missing; left out.")
            continue
        coupled, alone = compare(pair, SIZES[name], STEPS[name])
        checks.append(below(f"{name}: MACRec, items that share (alone: {alone:.2%})", coupled, alone))
    return checks


def compare(pair: tuple[Vectors, Vectors], sizes: tuple[int, ...], steps: dict[str, Any]) -> tuple[float, float]:
    """Return the mean collision rate over both modalities and all seeds, coupled and alone."""
    settings = SidSettings().macrec.model_copy(update=steps)
    off = settings.model_copy(update={"contrast_weight": 0.0, "alignment_weight": 0.0})
    rates = {"coupled": 0.0, "alone": 0.0}
    for seed in SEEDS:
        for which, chosen in (("coupled", settings), ("alone", off)):
            both = macrec.fit_pair(*pair, sizes, chosen, seed)
            shares = [compute_collision_rates(one.encode(rows))["items"] for one, rows in zip(both, pair, strict=True)]
            print(f"{which}, seed {seed}: text {shares[0]:.2%}, pictures {shares[1]:.2%}")
            rates[which] += sum(shares) / (2 * len(SEEDS))
    return rates["coupled"], rates["alone"]
