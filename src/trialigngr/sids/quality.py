"""The truth about a set of SIDs, as plain numbers: from codes alone, and from what else is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.collisions import (
    compute_collision_rates,
    mark_shared_sids,
    number_prefixes,
    number_sid_groups,
)
from trialigngr.sids.fidelity import HeldOutFidelity, compute_fidelity_by_depth
from trialigngr.sids.prefix_agreement import (
    TakenItems,
    compute_busiest_share,
    compute_cooccurrence,
    compute_purity,
)
from trialigngr.sids.quantizers.codebooks import Codes, Float32Array
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import END_CODE, SemanticIds

NUM_NEIGHBORS = 10
SAMPLE_SIZE = 2000
"""Items whose neighbours are compared."""
ROUNDING = 1e-5
"""Vectors are the same at so small a squared distance, of their squared length."""
NEEDS = {
    "collision_floor": "needs the embeddings",
    "collisions_targets": "needs the test targets",
    "fidelity": "needs the embeddings and the quantizer",
    "fidelity_held_out": "needs a fit that left items out (sids.held_out_ratio > 0)",
    "neighbor_recall": "needs the embeddings and the quantizer",
    "category_purity": "needs the items' categories",
    "cooccurrence": "needs the log; a run has it",
    "busiest_tenth": "needs the log; a run has it",
}
"""What figures take beside codes."""


@dataclass(frozen=True)
class CodebookUsage:
    """How one codebook is used; ``perplexity`` = exp(entropy), ``gini`` from 0 (all equally often) to 1 (one code)."""

    num_codes: int
    used_codes: int
    dead_codes: int
    utilization: float
    perplexity: float
    gini: float


@dataclass(frozen=True, kw_only=True)
class SidFigures:
    """The figures that SIDs have and SIDs by chance have too. ``None`` where something is missing; tuples are by level
    or by depth."""

    num_distinct_sids: int
    collisions_items: float
    collisions_sids: float
    unique_share: float
    largest_bucket: int
    codebook_usage: tuple[CodebookUsage, ...]
    prefix_entropy: tuple[float, ...]
    collisions_targets: float | None = None
    fidelity: tuple[float, ...] | None = None
    neighbor_recall: float | None = None
    category_purity: tuple[float, ...] | None = None
    cooccurrence: tuple[float, ...] | None = None
    busiest_tenth: tuple[float, ...] | None = None
    fidelity_held_out: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class SidQuality(SidFigures):
    """What can be said of a set of SIDs, and beside it the same ``by_chance``; ``not_computed`` says what the rest
    would take."""

    num_items: int
    codebook_sizes: tuple[int, ...]
    largest_sid: str
    by_chance: SidFigures
    collision_floor: float | None = None
    not_computed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class QualityInputs:
    """What may be known besides the codes, a row an item in the order of the SIDs; ``targets`` are rows, once each;
    ``texts`` are as they were embedded."""

    quantizer: Quantizer | None = None
    embeddings_ND: Float32Array | None = None
    categories: Sequence[str | None] | None = None
    targets: npt.NDArray[np.int64] | None = None
    held_out: HeldOutFidelity | None = None
    texts: Sequence[str] | None = None
    log: TakenItems | None = None


def measure_quality(sids: SemanticIds, inputs: QualityInputs | None = None) -> SidQuality:
    """Return all that can be computed from the SIDs and what is known beside them."""
    inputs, codes_NL = inputs or QualityInputs(), sids.codes_NL
    group_N = number_sid_groups(codes_NL)
    largest = int((group_N == np.bincount(group_N, minlength=1).argmax()).argmax())
    known = _measure_from_inputs(codes_NL, inputs)
    if inputs.embeddings_ND is not None:
        known["collision_floor"] = _compute_floor(inputs.embeddings_ND, inputs.texts)
    if inputs.held_out is not None:
        known["fidelity_held_out"] = tuple(inputs.held_out.by_depth)
    return SidQuality(
        num_items=len(sids),
        codebook_sizes=sids.codebook_sizes,
        largest_sid=sids.sid_text(largest) if len(sids) else "",
        by_chance=_measure_by_chance(sids, inputs),
        not_computed={name: needs for name, needs in NEEDS.items() if name not in known},
        codebook_usage=_measure_usage(codes_NL, sids.codebook_sizes),
        **_measure_codes(codes_NL),
        **known,
    )


def _measure_by_chance(sids: SemanticIds, inputs: QualityInputs) -> SidFigures:
    """Return the figures of shuffled SIDs: where an item counts, SIDs dealt to the items anew; where prefixes do, the
    codes of each level dealt anew by themselves. A shuffle leaves a codebook's use as it is, so its codes are drawn
    evenly."""
    rng, n = np.random.default_rng(derive_seed(0, "SIDs by chance")), len(sids)
    drawn_NL = rng.integers(0, sids.codebook_sizes, (n, sids.num_levels), dtype=np.int32)
    mixed_NL = np.column_stack([rng.permutation(codes_N) for codes_N in sids.codes_NL.T])
    return SidFigures(
        codebook_usage=_measure_usage(drawn_NL, sids.codebook_sizes),
        **_measure_codes(mixed_NL),
        **_measure_from_inputs(sids.codes_NL[rng.permutation(n)], inputs),
        fidelity_held_out=None if inputs.held_out is None else tuple(inputs.held_out.by_chance) or None,
    )


def _measure_usage(codes_NL: Codes, sizes: Sequence[int]) -> tuple[CodebookUsage, ...]:
    return tuple(measure_codebook_usage(codes_N, size) for codes_N, size in zip(codes_NL.T, sizes, strict=True))


def _measure_codes(codes_NL: Codes) -> dict[str, Any]:
    """Return what codes alone tell of how items spread over prefixes."""
    counts_G, rates = np.bincount(number_sid_groups(codes_NL), minlength=1), compute_collision_rates(codes_NL)
    return {
        "num_distinct_sids": int((counts_G > 0).sum()),
        "collisions_items": rates["items"],
        "collisions_sids": rates["sids"],
        "unique_share": 1 - rates["items"],
        "largest_bucket": int(counts_G.max()),
        "prefix_entropy": compute_prefix_entropy(codes_NL),
    }


def measure_codebook_usage(codes_N: npt.NDArray[np.int32], size: int) -> CodebookUsage:
    """Return how a codebook of ``size`` is used by the codes [N]; absent codes (`END_CODE`) do not count."""
    counts_K = np.sort(np.bincount(codes_N[codes_N != END_CODE], minlength=size)).astype(float)
    total, used = counts_K.sum(), int((counts_K > 0).sum())
    # Gini of a sorted list: Σ (2k − K − 1) x_k / (K Σ x)
    gini = float(((2 * np.arange(1, size + 1) - size - 1) * counts_K).sum() / (size * total)) if total else 0.0
    return CodebookUsage(size, used, size - used, used / size, float(np.exp(_compute_entropy(counts_K))), gini)


def compute_prefix_entropy(codes_NL: Codes) -> tuple[float, ...]:
    """Return the entropy (nats) of the prefixes of each depth, 1 … L."""
    return tuple(_compute_entropy(np.bincount(group_N)) for group_N in number_prefixes(codes_NL))


def _compute_entropy(counts: npt.NDArray[Any]) -> float:
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum())


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


def _measure_from_inputs(codes_NL: Codes, inputs: QualityInputs) -> dict[str, Any]:
    """Return what the inputs tell of items that bear these codes."""
    quantizer, embeddings_ND, log = inputs.quantizer, inputs.embeddings_ND, inputs.log
    found: dict[str, Any] = {}
    if inputs.targets is not None:
        found["collisions_targets"] = float(mark_shared_sids(codes_NL)[inputs.targets].mean())
    if inputs.categories is not None:
        found["category_purity"] = compute_purity(codes_NL, inputs.categories)
    if log is not None:
        found["cooccurrence"] = compute_cooccurrence(codes_NL, log)
        found["busiest_tenth"] = compute_busiest_share(codes_NL, log)
    if quantizer is not None and embeddings_ND is not None:
        own_NL = codes_NL[:, : len(quantizer.codebooks)]
        found["fidelity"] = tuple(compute_fidelity_by_depth(quantizer, embeddings_ND, own_NL))
        found["neighbor_recall"] = compute_neighbor_recall(embeddings_ND, quantizer.decode(own_NL))
    return found


def _compute_floor(embeddings_ND: Float32Array, texts: Sequence[str] | None) -> float:
    """Return the share of items that no quantizer could tell from another: of one vector, and of one text where texts
    are known, whose vectors may differ by what else was in their batch, which is rounding."""
    keys = [vector.tobytes() for vector in embeddings_ND] if texts is None else texts
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    alike = sum(_count_twins(embeddings_ND[members]) for members in rows.values() if len(members) > 1)
    return alike / max(len(embeddings_ND), 1)


def _count_twins(rows_MD: Float32Array) -> int:
    """Return how many rows have another that is the same but for rounding."""
    import faiss

    squares_M2, _ = faiss.knn(rows_MD, rows_MD, 2)
    return int((squares_M2[:, 1] <= ROUNDING * np.square(rows_MD).sum(1).mean()).sum())
