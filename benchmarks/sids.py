"""Semantic IDs: quality on Beauty, other libraries on the same embeddings, a million items, MACRec's effect.

``make bench NAME=sids`` takes about a quarter of an hour on two cores. ``semantic-id`` and ``rectokens`` are measured
where they are installed. Beauty and the films are read from ``../shared/data`` or ``$TRIALIGNGR_SHARED_DATA``.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import Check, at_least, below, side_by_side
from benchmarks.tokenizers import coupled, large
from benchmarks.tokenizers.data import Vectors, beauty
from benchmarks.tokenizers.others import CODES, LEVELS, Fit, Fitted, fit_faiss_kmeans, others
from trialigngr.foundation.config import Settings
from trialigngr.sids.collisions import compute_collision_rates, resolve_collisions
from trialigngr.sids.fidelity import compute_fidelity
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.registry import load_fit_function
from trialigngr.sids.quantizers.settings import BalancedSettings, KMeansSettings
from trialigngr.sids.settings import CollisionPolicy, SidSettings

PAPER_SIZES = (4096, 2048, 1024)
SEEDS = (0, 1, 2)
SLOW = ("semantic-id",)
"""Fitted once."""
FAST, BEST = "rqkmeans", "rqkmeans_balanced with beams"
BEST_ERROR = BalancedSettings(
    num_beams=5, refinement_rounds=1, price_rounds=1, capacity_factor=1.35, refinement_step=0.5
)


def measure() -> list[Check]:
    """Return all checks."""
    vectors_ND = beauty()
    checks: list[Check] = []
    if vectors_ND is None:
        print("amazon_beauty is missing: quality on Beauty and the other libraries are left out.")
    else:
        checks += _quality(vectors_ND) + _side_by_side(vectors_ND)
    checks += coupled.measure()
    with tempfile.TemporaryDirectory() as folder:
        return checks + large.measure(Path(folder))


def _split(vectors_ND: Vectors) -> tuple[Vectors, Vectors]:
    """Return nine tenths and the rest."""
    order_N = np.random.default_rng(0).permutation(len(vectors_ND))
    held = len(vectors_ND) // 10
    return vectors_ND[np.sort(order_N[held:])], vectors_ND[np.sort(order_N[:held])]


def _fit(method: str, vectors_ND: Vectors, sizes: tuple[int, ...], settings: Settings | None = None) -> Quantizer:
    return load_fit_function(method)(vectors_ND, sizes, settings or getattr(SidSettings(), method), 0)


def _quality(vectors_ND: Vectors) -> list[Check]:
    """Return collisions, use and fidelity at the paper's sizes."""
    seen_ND, held_out_ND = _split(vectors_ND)
    raw, held_out_fidelity = {}, {}
    for method in ("rqkmeans", "rqkmeans_balanced", "rqvae"):
        start = time.perf_counter()
        quantizer = _fit(method, vectors_ND, PAPER_SIZES)
        seconds = time.perf_counter() - start
        codes_NL = quantizer.encode(vectors_ND)
        raw[method] = (quantizer, codes_NL)
        held_out = _fit(method, seen_ND, PAPER_SIZES)
        held_out_fidelity[method] = compute_fidelity(held_out, held_out_ND, held_out.encode(held_out_ND))
        print(
            f"{method}: {seconds:.1f} s, {compute_collision_rates(codes_NL)['items']:.2%} of items share, "
            f"fidelity {compute_fidelity(quantizer, vectors_ND, codes_NL):.4f} fitted, "
            f"{held_out_fidelity[method]:.4f} held out"
        )
    shares = {method: compute_collision_rates(codes_NL)["items"] for method, (_, codes_NL) in raw.items()}
    used = [len(np.unique(codes_N)) / size for codes_N, size in zip(raw["rqvae"][1].T, PAPER_SIZES, strict=True)]
    again_NL = _fit("rqkmeans", vectors_ND, PAPER_SIZES).encode(vectors_ND)
    same = again_NL.tobytes() == raw["rqkmeans"][1].tobytes()
    return [
        below("Beauty, best quantizer: items that share, raw", min(shares.values()), 0.012),
        below("Beauty, rqvae: items that share, raw", shares["rqvae"], 0.025),
        at_least("Beauty, rqvae: codes used at the level that uses fewest", min(used), 0.95),
        *(_resolved(policy, *raw["rqvae"], vectors_ND) for policy in ("nearest_free", "extra_level")),
        at_least("Beauty, best fidelity on held-out items", max(held_out_fidelity.values()), 0.865),
        at_least("Beauty, rqkmeans twice with one seed: byte-identical codes", float(same), 1),
    ]


def _resolved(policy: CollisionPolicy, quantizer: Quantizer, codes_NL: np.ndarray, vectors_ND: Vectors) -> Check:
    codes_NL, _ = resolve_collisions(
        policy, codes_NL, lambda rows: quantizer.compute_latents(vectors_ND[rows]), quantizer.codebooks
    )
    share = compute_collision_rates(codes_NL)["items"]
    return Check(f"Beauty, rqvae after {policy}: items that share", share, "0", share == 0)


def _side_by_side(vectors_ND: Vectors) -> list[Check]:
    """Return held-out error, collisions and seconds to fit 3 × 256 beside the other libraries, means over seeds."""
    seen_ND, held_out_ND = _split(vectors_ND)

    def ours(method: str, settings: Settings) -> Fit:
        def fit(rows_ND: Vectors, seed: int) -> Fitted:
            quantizer = load_fit_function(method)(rows_ND, (CODES,) * LEVELS, settings, seed)
            return Fitted(quantizer.encode, quantizer.decode)

        return fit

    fast = ours("rqkmeans", KMeansSettings())
    contestants = {FAST: fast, BEST: ours("rqkmeans_balanced", BEST_ERROR), "faiss k-means": fit_faiss_kmeans}
    figures = {name: _figures(name, fit, seen_ND, held_out_ND) for name, fit in (contestants | others()).items()}
    took = side_by_side({"ours": lambda: fast(seen_ND, 0), "faiss": lambda: fit_faiss_kmeans(seen_ND, 0)}, rounds=5)
    return [
        *_against(figures),
        below("3 × 256, held-out error, of faiss k-means'", figures[FAST].error / figures["faiss k-means"].error, 1.01),
        below("3 × 256, seconds to fit, of faiss k-means'", took["ours"] / took["faiss"], 1.2),
    ]


@dataclass(frozen=True)
class Figures:
    """Means over seeds: squared error of held-out items, share of the fitted items that share a SID, seconds to fit."""

    error: float
    share: float
    seconds: float


def _figures(name: str, fit: Fit, seen_ND: Vectors, held_out_ND: Vectors) -> Figures:
    rows = []
    for seed in SEEDS[: 1 if name in SLOW else None]:
        start = time.perf_counter()
        fitted = fit(seen_ND, seed)
        seconds = time.perf_counter() - start
        error = float(np.square(held_out_ND - fitted.decode(fitted.encode(held_out_ND))).sum(1).mean())
        rows.append(
            (error, compute_collision_rates(np.asarray(fitted.encode(seen_ND), dtype=np.int32))["items"], seconds)
        )
    found = Figures(*np.mean(rows, axis=0).tolist())
    print(
        f"3 × 256, {name}, {len(rows)} seeds: held-out error {found.error:.4f} (from {min(rows)[0]:.4f} to "
        f"{max(rows)[0]:.4f}), {found.share:.2%} of items share, {found.seconds:.1f} s to fit"
    )
    return found


def _against(figures: dict[str, Figures]) -> list[Check]:
    """Return ours against the best of the others, and the time against the Python libraries with an error like ours."""
    best, fast = figures[BEST], figures[FAST]
    theirs = {name: one for name, one in figures.items() if name not in (BEST, FAST, "faiss k-means")}
    rival = min(theirs.values(), key=lambda one: one.error)
    checks = [
        below("3 × 256, held-out error, against the best other", best.error, rival.error * (1 + 1e-6)),
        below("3 × 256, items that share, against that other", best.share, rival.share + 1e-9),
    ]
    alike = [one.seconds for name, one in theirs.items() if "faiss" not in name and one.error <= 1.02 * fast.error]
    if alike:
        what = "3 × 256, times faster than the faster library of like error"
        checks.append(at_least(what, min(alike) / fast.seconds, 3))
    return checks
