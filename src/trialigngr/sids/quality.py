"""The truth about a set of SIDs, as plain numbers: from codes alone, and from what else is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.collisions import compute_collision_rates, mark_shared_sids, number_sid_groups
from trialigngr.sids.fidelity import compute_fidelity_by_depth
from trialigngr.sids.quantizers.codebooks import Codes, Float32Array
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import END_CODE, SemanticIds

NUM_NEIGHBORS = 10
SAMPLE_SIZE = 2000
"""Items whose neighbours are compared."""


@dataclass(frozen=True)
class CodebookUsage:
    """How one codebook is used; ``perplexity`` = exp(entropy), ``gini`` from 0 (all equally often) to 1 (one code)."""

    num_codes: int
    used_codes: int
    dead_codes: int
    utilization: float
    perplexity: float
    gini: float


@dataclass(frozen=True)
class SidQuality:
    """What can be said of a set of SIDs. ``None`` where it cannot; ``not_computed`` says what it would take."""

    num_items: int
    num_distinct_sids: int
    codebook_sizes: tuple[int, ...]
    collisions_items: float
    collisions_sids: float
    unique_share: float
    largest_bucket: int
    largest_sid: str
    codebook_usage: tuple[CodebookUsage, ...]
    prefix_entropy: tuple[float, ...]
    collisions_targets: float | None = None
    fidelity: tuple[float, ...] | None = None
    fidelity_held_out: tuple[float, ...] | None = None
    neighbor_recall: float | None = None
    category_purity: tuple[float, ...] | None = None
    chance_purity: float | None = None
    not_computed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class QualityInputs:
    """What may be known besides the codes, a row an item in the order of the SIDs; ``targets`` are rows, once each."""

    quantizer: Quantizer | None = None
    embeddings_ND: Float32Array | None = None
    categories: Sequence[str | None] | None = None
    targets: npt.NDArray[np.int64] | None = None
    fidelity_held_out: Sequence[float] | None = None


def measure_quality(sids: SemanticIds, inputs: QualityInputs | None = None) -> SidQuality:
    """Return all that can be computed from the SIDs and what is known beside them."""
    inputs, codes_NL = inputs or QualityInputs(), sids.codes_NL
    group_N = number_sid_groups(codes_NL)
    counts_G = np.bincount(group_N, minlength=1)
    largest = int((group_N == counts_G.argmax()).argmax())
    rates = compute_collision_rates(codes_NL)
    extra, missing = _measure_from_inputs(sids, inputs)
    return SidQuality(
        num_items=len(sids),
        num_distinct_sids=int(group_N.max(initial=-1)) + 1,
        codebook_sizes=sids.codebook_sizes,
        collisions_items=rates["items"],
        collisions_sids=rates["sids"],
        unique_share=1 - rates["items"],
        largest_bucket=int(counts_G.max()),
        largest_sid=sids.sid_text(largest) if len(sids) else "",
        codebook_usage=tuple(
            measure_codebook_usage(codes_N, size) for codes_N, size in zip(codes_NL.T, sids.codebook_sizes, strict=True)
        ),
        prefix_entropy=compute_prefix_entropy(codes_NL),
        not_computed=missing,
        **extra,
    )


def measure_codebook_usage(codes_N: npt.NDArray[np.int32], size: int) -> CodebookUsage:
    """Return how a codebook of ``size`` is used by the codes [N]; absent codes (`END_CODE`) do not count."""
    counts_K = np.sort(np.bincount(codes_N[codes_N != END_CODE], minlength=size)).astype(float)
    total, used = counts_K.sum(), int((counts_K > 0).sum())
    # Gini of a sorted list: Σ (2k − K − 1) x_k / (K Σ x)
    gini = float(((2 * np.arange(1, size + 1) - size - 1) * counts_K).sum() / (size * total)) if total else 0.0
    return CodebookUsage(size, used, size - used, used / size, float(np.exp(_compute_entropy(counts_K))), gini)


def compute_prefix_entropy(codes_NL: Codes) -> tuple[float, ...]:
    """Return the entropy (nats) of the prefixes of each depth, 1 … L."""
    return tuple(
        _compute_entropy(np.bincount(number_sid_groups(codes_NL[:, :depth])))
        for depth in range(1, codes_NL.shape[1] + 1)
    )


def _compute_entropy(counts: npt.NDArray[Any]) -> float:
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum())


def compute_purity(codes_NL: Codes, categories: Sequence[str | None]) -> tuple[tuple[float, ...], float]:
    """Return, for each depth, how likely two different items of one prefix are of one category, and how likely any two
    items are. Pairs, not majorities: a prefix with a single item says nothing and counts nothing. Depths where all
    prefixes are single have NaN."""
    known = np.array([category is not None for category in categories])
    labels_N = np.unique([category for category in categories if category is not None], return_inverse=True)[1]
    codes_NL = codes_NL[known]
    depths = range(1, codes_NL.shape[1] + 1)
    return tuple(
        _same_label_share(number_sid_groups(codes_NL[:, :depth]), labels_N) for depth in depths
    ), _same_label_share(np.zeros_like(labels_N), labels_N)


def _same_label_share(group_N: npt.NDArray[np.int64], label_N: npt.NDArray[np.int64]) -> float:
    """Return the share of pairs within groups that have one label."""

    def count_pairs(numbers_N: npt.NDArray[np.int64]) -> float:
        counts = np.unique(numbers_N, return_counts=True)[1].astype(float)
        return float((counts * (counts - 1)).sum())

    all_pairs = count_pairs(group_N)
    return count_pairs(group_N * (label_N.max(initial=0) + 1) + label_N) / all_pairs if all_pairs else float("nan")


def compute_neighbor_recall(embeddings_ND: Float32Array, decoded_ND: Float32Array, k: int = NUM_NEIGHBORS) -> float:
    """Return recall@k: the share of an item's k nearest (cosine) among embeddings that are also among its k nearest
    among decoded SIDs, on average over `SAMPLE_SIZE` items. Items that share a SID stand in random (seeded) order."""
    k = min(k, len(embeddings_ND) - 1)
    if k < 1:
        return float("nan")
    rng = np.random.default_rng(derive_seed(0, "neighbours"))
    order_N = rng.permutation(len(embeddings_ND))  # ties among decoded vectors must not follow catalogue order
    asked_M = np.arange(min(SAMPLE_SIZE, len(order_N)))
    true_MK, found_MK = (_nearest_neighbors(rows_ND[order_N], asked_M, k) for rows_ND in (embeddings_ND, decoded_ND))
    kept = [len(set(true) & set(found)) for true, found in zip(true_MK.tolist(), found_MK.tolist(), strict=True)]
    return float(np.mean(kept) / k)


def _nearest_neighbors(rows_ND: Float32Array, asked_M: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """Return the k rows nearest to each asked row by cosine, itself left out [M, k]."""
    import faiss

    unit_ND = np.ascontiguousarray(rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12))
    _, near_MK = faiss.knn(unit_ND[asked_M], unit_ND, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    others = [
        [row for row in near if row != own][:k] for own, near in zip(asked_M.tolist(), near_MK.tolist(), strict=True)
    ]
    return np.array(others)


def pick_categories(categories: Sequence[Sequence[str]]) -> list[str | None]:
    """Return one category an item: that of the coarsest depth at which items differ; None where a path is shorter."""
    depth = next((d for d in range(20) if len({path[d] for path in categories if len(path) > d}) > 1), 0)
    return [path[depth] if len(path) > depth else None for path in categories]


def _measure_from_inputs(sids: SemanticIds, inputs: QualityInputs) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the things beside the codes allow, and what is missing for the rest."""
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    if inputs.targets is None:
        missing["collisions_targets"] = "needs the test targets"
    else:
        found["collisions_targets"] = float(mark_shared_sids(sids.codes_NL)[inputs.targets].mean())
    if inputs.categories is None:
        missing["category_purity"] = "needs the items' categories"
    else:
        found["category_purity"], found["chance_purity"] = compute_purity(sids.codes_NL, inputs.categories)
    if inputs.fidelity_held_out is None:
        missing["fidelity_held_out"] = "needs a fit that left items out (sids.held_out_ratio > 0)"
    else:
        found["fidelity_held_out"] = tuple(inputs.fidelity_held_out)
    if inputs.quantizer is None or inputs.embeddings_ND is None:
        missing |= dict.fromkeys(("fidelity", "neighbor_recall"), "needs the embeddings and the quantizer")
    else:
        codes_NL = sids.codes_NL[:, : len(inputs.quantizer.codebooks)]
        found["fidelity"] = tuple(compute_fidelity_by_depth(inputs.quantizer, inputs.embeddings_ND, codes_NL))
        found["neighbor_recall"] = compute_neighbor_recall(inputs.embeddings_ND, inputs.quantizer.decode(codes_NL))
    return found, missing
