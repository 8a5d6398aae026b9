"""A catalogue that grows: new items get SIDs under frozen codebooks, and a published SID never moves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from trialigngr.sids.collisions import Rows, compute_collision_rates, move_to_free_codes
from trialigngr.sids.errors import SidError
from trialigngr.sids.fidelity import cosine_similarity
from trialigngr.sids.quantizers.codebooks import Codes, Float32Array
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.sids.settings import CollisionPolicy


@dataclass(frozen=True)
class Drift:
    """Whether new items lie further from their codes than old ones: mean fidelity of both, and the share of new items
    below the 5 % point of the old (5 % when nothing has changed)."""

    new_fidelity: float
    old_fidelity: float
    share_below_old_5_percent: float


@dataclass(frozen=True)
class AppendResult:
    """The SIDs after growth, old rows first and unchanged; ``num_moved`` new items did not get their nearest SID."""

    sids: SemanticIds
    num_added: int
    num_moved: int
    collisions: dict[str, float]
    drift: Drift | None


def append_sids(
    sids: SemanticIds,
    quantizer: Quantizer,
    new_ids: Sequence[str],
    vectors_MD: Float32Array,
    policy: CollisionPolicy = "nearest_free",
    reserved_RL: Codes | None = None,
    old_ND: Float32Array | None = None,
) -> AppendResult:
    """Return the SIDs of old and new items.

    New items take the nearest codes; those whose SID is taken (by an old item, a new one that is closer, or a
    ``reserved_RL`` SID of a removed item) take free ones, unless the policy is ``keep``. With the old embeddings,
    ``old_ND``, drift is measured. Raises `SidError` for ids that exist, and when free codes run out.
    """
    twice = sorted(set(new_ids) & set(sids.item_ids)) or sorted(
        {name for name in new_ids if list(new_ids).count(name) > 1}
    )
    if twice:
        raise SidError(f"{len(twice)} new items have SIDs already, or stand there twice; first: {twice[:3]}.")
    if len(new_ids) != len(vectors_MD):
        raise SidError(f"{len(new_ids)} new items but {len(vectors_MD)} embeddings.")
    raw_ML = quantizer.encode(vectors_MD)
    taken_TL = sids.codes_NL if reserved_RL is None else np.concatenate([sids.codes_NL, reserved_RL])
    codes_ML = _assign_free_codes(policy, taken_TL, raw_ML, vectors_MD, quantizer, sids.codebook_sizes)
    codes_NL = np.concatenate([sids.codes_NL, codes_ML])
    depth = raw_ML.shape[1]
    grown = SemanticIds([*sids.item_ids, *new_ids], codes_NL, sids.codebook_sizes)
    return AppendResult(
        grown,
        num_added=len(new_ids),
        num_moved=int((codes_ML[:, :depth] != raw_ML).any(1).sum()),
        collisions=compute_collision_rates(codes_NL),
        drift=None if old_ND is None else measure_drift(quantizer, vectors_MD, old_ND),
    )


def remove_sids(sids: SemanticIds, item_ids: Collection[str]) -> tuple[SemanticIds, SemanticIds]:
    """Return the SIDs that stay and those removed (to be handed to `append` as reserved until freed)."""
    unknown = sorted(set(item_ids) - set(sids.item_ids))
    if unknown:
        raise SidError(f"{len(unknown)} items to remove have no SID; first: {unknown[:3]}.")
    goes = np.isin(sids.item_ids, list(item_ids))
    stays, gone = (
        SemanticIds([sids.item_ids[row] for row in np.flatnonzero(mask)], sids.codes_NL[mask], sids.codebook_sizes)
        for mask in (~goes, goes)
    )
    return stays, gone


def measure_drift(quantizer: Quantizer, new_MD: Float32Array, old_ND: Float32Array) -> Drift:
    """Return how well new and old items are kept by their nearest codes."""
    new_M, old_N = (cosine_similarity(rows, quantizer.decode(quantizer.encode(rows))) for rows in (new_MD, old_ND))
    return Drift(float(new_M.mean()), float(old_N.mean()), float((new_M < np.quantile(old_N, 0.05)).mean()))


def _assign_free_codes(
    policy: CollisionPolicy,
    taken_TL: Codes,
    raw_ML: Codes,
    vectors_MD: Float32Array,
    quantizer: Quantizer,
    sizes: tuple[int, ...],
) -> Codes:
    """Return codes of the new items [M, L of the SIDs] that nothing taken has."""
    if policy == "extra_level":
        return _assign_free_ranks(taken_TL, raw_ML, vectors_MD, quantizer, sizes)
    if policy == "keep":
        return raw_ML
    return _move_to_free_codes(taken_TL, raw_ML, vectors_MD, quantizer)


def _move_to_free_codes(taken_TL: Codes, raw_ML: Codes, vectors_MD: Float32Array, quantizer: Quantizer) -> Codes:
    """Return the codes with those that collide moved to free ones; what is taken stays."""
    first_new = len(taken_TL)

    def latents_of(rows: Rows) -> Float32Array:
        """Return latents of new rows; where taken ones lie matters to nobody, since they never move."""
        places_SZ = np.zeros((len(rows), quantizer.codebooks[0].vectors_KD.shape[1]), dtype=np.float32)
        new_S = rows >= first_new
        places_SZ[new_S] = quantizer.compute_latents(vectors_MD[rows[new_S] - first_new])
        return places_SZ

    movable = np.arange(first_new + len(raw_ML)) >= first_new
    return move_to_free_codes(np.concatenate([taken_TL, raw_ML]), latents_of, quantizer.codebooks, movable)[first_new:]


def _assign_free_ranks(
    taken_TL: Codes, raw_ML: Codes, vectors_MD: Float32Array, quantizer: Quantizer, sizes: tuple[int, ...]
) -> Codes:
    """Return the nearest codes and the lowest free rank; where a model knows no further rank, a SID nobody bears."""
    ranks_used: dict[tuple[int, ...], set[int]] = {}
    for *codes, rank in taken_TL.tolist():
        ranks_used.setdefault(tuple(codes), set()).add(rank)
    codes_ML = np.column_stack([raw_ML, np.zeros(len(raw_ML), dtype=np.int32)])
    full: list[int] = []
    for row, codes in enumerate(raw_ML.tolist()):
        used = ranks_used.setdefault(tuple(codes), set())
        rank = next((rank for rank in range(sizes[-1]) if rank not in used), None)
        if rank is None:
            full.append(row)
        else:
            used.add(rank)
            codes_ML[row, -1] = rank
    if full:
        others_OL = np.array(sorted(ranks_used), dtype=np.int32)
        codes_ML[full, :-1] = _move_to_free_codes(others_OL, raw_ML[full], vectors_MD[full], quantizer)
    return codes_ML
