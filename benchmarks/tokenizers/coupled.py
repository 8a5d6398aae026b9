"""MACRec against two RQ-VAEs that know nothing of each other: same sizes, same settings, three seeds."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.harness import Check, below
from benchmarks.tokenizers.data import Vectors, films, shop
from trialigngr.sids.assign import SidSettings
from trialigngr.sids.collisions import collisions
from trialigngr.sids.quantizers import macrec

SEEDS = (0, 1, 2)


def measure() -> list[Check]:
    """Return, for films and the shop, MACRec's share of items that share a SID against the independent's."""
    checks = []
    sources: dict[str, tuple[Callable[[], tuple[Vectors, Vectors] | None], tuple[int, ...]]] = {
        "films with posters": (films, (256, 256, 256)),
        "the drawn shop": (shop, (32, 32, 32)),
    }
    for name, (load, sizes) in sources.items():
        pair = load()
        if pair is None:
            print(f"{name}: the data set is missing; left out.")
            continue
        coupled, alone = compare(pair, sizes)
        checks.append(below(f"{name}: MACRec, items that share (alone: {alone:.2%})", coupled, alone))
    return checks


def compare(pair: tuple[Vectors, Vectors], sizes: tuple[int, ...]) -> tuple[float, float]:
    """Return the mean collision rate over both modalities and all seeds, coupled and alone."""
    settings = SidSettings().macrec
    off = settings.model_copy(update={"contrast": 0.0, "alignment": 0.0})
    rates = {"coupled": 0.0, "alone": 0.0}
    for seed in SEEDS:
        for which, chosen in (("coupled", settings), ("alone", off)):
            both = macrec.fit_pair(*pair, sizes, chosen, seed)
            shares = [collisions(one.encode(rows))["items"] for one, rows in zip(both, pair, strict=True)]
            print(f"{which}, seed {seed}: text {shares[0]:.2%}, pictures {shares[1]:.2%}")
            rates[which] += sum(shares) / (2 * len(SEEDS))
    return rates["coupled"], rates["alone"]
