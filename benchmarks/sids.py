"""Semantic IDs: quality on Beauty, other libraries on the same embeddings, a million items, MACRec's effect.

``make bench NAME=sids`` takes about a quarter of an hour on two cores. ``semantic-id`` and ``rectokens`` are measured
where they are installed. Beauty and the films are read from ``../shared/data`` or ``$TRIALIGNGR_SHARED_DATA``.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Check, at_least, below, side_by_side
from benchmarks.tokenizers import coupled, large
from benchmarks.tokenizers.data import Vectors, beauty
from benchmarks.tokenizers.others import CODES, LEVELS, Fitted, fit_faiss_kmeans, others
from trialigngr.foundation.config import Settings
from trialigngr.sids.assign import SidSettings
from trialigngr.sids.collisions import Policy, collisions, resolve
from trialigngr.sids.fidelity import fidelity
from trialigngr.sids.quantizers.kmeans import KMeansSettings
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.registry import fit_method

PAPER_SIZES = (4096, 2048, 1024)
BEST_ERROR = KMeansSettings(beam=5, refinements=4)


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
    return fit_method(method)(vectors_ND, sizes, settings or getattr(SidSettings(), method), 0)


def _quality(vectors_ND: Vectors) -> list[Check]:
    """Return collisions, use and fidelity at the paper's sizes."""
    seen_ND, unseen_ND = _split(vectors_ND)
    raw, unseen = {}, {}
    for method in ("rqkmeans", "rqkmeans_balanced", "rqvae"):
        start = time.perf_counter()
        quantizer = _fit(method, vectors_ND, PAPER_SIZES)
        seconds = time.perf_counter() - start
        codes_NL = quantizer.encode(vectors_ND)
        raw[method] = (quantizer, codes_NL)
        held_out = _fit(method, seen_ND, PAPER_SIZES)
        unseen[method] = fidelity(held_out, unseen_ND, held_out.encode(unseen_ND))
        print(
            f"{method}: {seconds:.1f} s, {collisions(codes_NL)['items']:.2%} of items share, "
            f"fidelity {fidelity(quantizer, vectors_ND, codes_NL):.4f} fitted, {unseen[method]:.4f} held out"
        )
    shares = {method: collisions(codes_NL)["items"] for method, (_, codes_NL) in raw.items()}
    used = [len(np.unique(codes_N)) / size for codes_N, size in zip(raw["rqvae"][1].T, PAPER_SIZES, strict=True)]
    again_NL = _fit("rqkmeans", vectors_ND, PAPER_SIZES).encode(vectors_ND)
    same = again_NL.tobytes() == raw["rqkmeans"][1].tobytes()
    return [
        below("Beauty, best quantizer: items that share, raw", min(shares.values()), 0.012),
        below("Beauty, rqvae: items that share, raw", shares["rqvae"], 0.025),
        at_least("Beauty, rqvae: codes used at the level that uses fewest", min(used), 0.95),
        *(_resolved(policy, *raw["rqvae"], vectors_ND) for policy in ("nearest_free", "extra_level")),
        at_least("Beauty, best fidelity on held-out items", max(unseen.values()), 0.865),
        at_least("Beauty, rqkmeans twice with one seed: byte-identical codes", float(same), 1),
    ]


def _resolved(policy: Policy, quantizer: Quantizer, codes_NL: np.ndarray, vectors_ND: Vectors) -> Check:
    codes_NL, _ = resolve(policy, codes_NL, lambda rows: quantizer.latents(vectors_ND[rows]), quantizer.levels)
    share = collisions(codes_NL)["items"]
    return Check(f"Beauty, rqvae after {policy}: items that share", share, "0", share == 0)


def _side_by_side(vectors_ND: Vectors) -> list[Check]:
    """Return held-out error, collisions and seconds to fit 3 × 256 beside the other libraries."""
    seen_ND, unseen_ND = _split(vectors_ND)
    figures: dict[str, tuple[float, float, float]] = {}

    def look(name: str, fitted: Fitted, seconds: float) -> None:
        error = float(np.square(unseen_ND - fitted.decode(fitted.encode(unseen_ND))).sum(1).mean())
        share = collisions(np.asarray(fitted.encode(seen_ND), dtype=np.int32))["items"]
        figures[name] = (error, share, seconds)
        print(f"3 × 256, {name}: held-out error {error:.4f}, {share:.2%} of items share, {seconds:.1f} s to fit")

    ours = {"rqkmeans": KMeansSettings(), "rqkmeans, beam": BEST_ERROR}
    for name, settings in ours.items():
        start = time.perf_counter()
        quantizer = _fit("rqkmeans", seen_ND, (CODES,) * LEVELS, settings)
        look(name, Fitted(quantizer.encode, quantizer.decode), time.perf_counter() - start)
    for name, fit in others().items():
        start = time.perf_counter()
        fitted = fit(seen_ND)
        look(name, fitted, time.perf_counter() - start)
    took = side_by_side(
        {
            "ours": lambda: _fit("rqkmeans", seen_ND, (CODES,) * LEVELS),
            "faiss": lambda: fit_faiss_kmeans(seen_ND),
        },
        rounds=5,
    )
    look("faiss k-means", fit_faiss_kmeans(seen_ND), took["faiss"])
    return [
        *_against(figures),
        below("seconds to fit, of faiss k-means' (whose error is larger)", took["ours"] / took["faiss"], 1.2),
    ]


def _against(figures: dict[str, tuple[float, float, float]]) -> list[Check]:
    """Return ours against the best of the others, and the time against the Python libraries with an error like ours."""
    error, share, _ = figures["rqkmeans, beam"]
    theirs = {name: row for name, row in figures.items() if not name.startswith("rqkmeans") and name != "faiss k-means"}
    best_error = min(row[0] for row in theirs.values())
    of_the_best = next(row[1] for row in theirs.values() if row[0] == best_error)
    checks = [
        below("3 × 256, held-out error with beam, against the best other", error, best_error * (1 + 1e-6)),
        below("3 × 256, items that share with beam, against that other", share, of_the_best + 1e-9),
    ]
    own_error, _, own_seconds = figures["rqkmeans"]
    alike = [row[2] for name, row in theirs.items() if "faiss" not in name and row[0] <= 1.02 * own_error]
    if alike:
        checks.append(
            at_least("3 × 256, times faster than the faster library of like error", min(alike) / own_seconds, 3)
        )
    return checks
