"""The SIDs stage: embeddings in, distinct Semantic IDs and the quantizer that made them out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.foundation.console import log
from trialigngr.foundation.executor import LOCAL_EXECUTION, RaySettings, make_executor
from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.collisions import BoolArray, Rows, compute_collision_rates, resolve_collisions
from trialigngr.sids.errors import SidError
from trialigngr.sids.fidelity import HeldOutFidelity, compute_fidelity, compute_fidelity_by_depth
from trialigngr.sids.quantizers.codebooks import ROWS_AT_ONCE, Codes, Float32Array, iter_row_slices
from trialigngr.sids.quantizers.macrec import fit_pair
from trialigngr.sids.quantizers.quantizer import Quantizer, check_vectors, clip_codebook_sizes, describe_shrinkage
from trialigngr.sids.quantizers.registry import load_fit_function
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.sids.settings import SidSettings

QUANTIZER_FILE = "quantizer.safetensors"


def assign_sids(
    settings: SidSettings,
    embeddings_ND: Float32Array,
    item_ids: Sequence[str],
    folder: Path,
    auxiliary_NC: Float32Array | None = None,
    ray: RaySettings = LOCAL_EXECUTION,
    has_auxiliary_N: BoolArray | None = None,
) -> dict[str, Any]:
    """Write ``sids.parquet`` and ``quantizer.safetensors`` for all items and return what came out, for the manifest.

    ``auxiliary_NC`` is the second table of vectors that some methods look at (`registry.AUXILIARY_INPUTS`). `macrec`
    writes a second set, of the pictures, into ``images/``, for the items that have one (``has_auxiliary_N``; None: all
    have). All is fitted here; ``ray`` says who encodes.

    Raises `SidError` when ids and rows do not fit, or embeddings hold NaN.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True)
    vectors_ND = _check_embeddings(embeddings_ND, item_ids)
    auxiliary_NC = None if auxiliary_NC is None else _check_embeddings(auxiliary_NC, item_ids)
    quantizers = fit_quantizers(settings, vectors_ND, auxiliary_NC)
    facts = _write_sids(settings, quantizers[0], vectors_ND, item_ids, folder, ray)
    if len(quantizers) > 1 and auxiliary_NC is not None:
        (folder / "images").mkdir(exist_ok=True)
        rows = np.arange(len(item_ids)) if has_auxiliary_N is None else np.flatnonzero(has_auxiliary_N)
        own, ids = np.ascontiguousarray(auxiliary_NC[rows]), [item_ids[row] for row in rows.tolist()]
        facts["images"] = _write_sids(settings, quantizers[1], own, ids, folder / "images", ray)
    held_out = measure_held_out_fidelity(settings, vectors_ND, auxiliary_NC)
    facts["fidelity_held_out"] = held_out.by_depth[-1] if held_out else None
    return facts | (held_out.to_facts() if held_out else {})


def fit_quantizers(
    settings: SidSettings, vectors_ND: Float32Array, auxiliary_NC: Float32Array | None = None
) -> list[Quantizer]:
    """Return the quantizer that the settings name, fitted on the vectors; of `macrec` a second one, of the pictures."""
    sizes = clip_codebook_sizes(settings.codebook_sizes, len(vectors_ND))
    if settings.quantizer == "macrec" and auxiliary_NC is not None:
        return list(fit_pair(vectors_ND, auxiliary_NC, sizes, settings.macrec, settings.seed))
    own = getattr(settings, settings.quantizer)
    return [load_fit_function(settings.quantizer)(vectors_ND, sizes, own, settings.seed, auxiliary_NC)]


def split_held_out(n_items: int, settings: SidSettings) -> tuple[Rows, Rows]:
    """Return the rows that a fit for measurement leaves out, and the others."""
    order_N = np.random.default_rng(derive_seed(settings.seed, "held-out items")).permutation(n_items)
    held = int(settings.held_out_ratio * n_items)
    return np.sort(order_N[:held]), np.sort(order_N[held:])


def measure_held_out_fidelity(
    settings: SidSettings, vectors_ND: Float32Array, auxiliary_NC: Float32Array | None = None
) -> HeldOutFidelity | None:
    """Return the fidelity on items that a second fit did not see, and that of their SIDs dealt among them anew; None if
    none are to be left out."""
    held_out_H, seen_S = split_held_out(len(vectors_ND), settings)
    if not len(held_out_H):
        return None
    quantizer = fit_quantizers(settings, vectors_ND[seen_S], None if auxiliary_NC is None else auxiliary_NC[seen_S])[0]
    vectors_HD = vectors_ND[held_out_H]
    codes_HL = quantizer.encode(vectors_HD)
    dealt_HL = np.random.default_rng(derive_seed(settings.seed, "held-out SIDs by chance")).permutation(codes_HL)
    return HeldOutFidelity(*(compute_fidelity_by_depth(quantizer, vectors_HD, codes) for codes in (codes_HL, dealt_HL)))


def _check_embeddings(embeddings_ND: Float32Array, item_ids: Sequence[str]) -> Float32Array:
    if len(item_ids) != len(embeddings_ND):
        raise SidError(
            f"{len(item_ids)} item ids but {len(embeddings_ND)} embeddings; they must name the same items in one order."
        )
    checked_ND = check_vectors(embeddings_ND, lambda row: f"item {item_ids[row]!r}")
    if zero := sum(int((~checked_ND[rows].any(1)).sum()) for rows in iter_row_slices(len(checked_ND))):
        log(f"sids: {zero} of {len(checked_ND)} embeddings are all zero; before the collision policy they share a SID")
    return checked_ND


def _write_sids(
    settings: SidSettings,
    quantizer: Quantizer,
    vectors_ND: Float32Array,
    item_ids: Sequence[str],
    folder: Path,
    ray: RaySettings,
) -> dict[str, Any]:
    """Encode, part the items that share, write both files and return the facts."""
    if shrunk := describe_shrinkage(settings.codebook_sizes, quantizer.codebook_sizes):
        log(f"sids: codebooks of {settings.codebook_sizes} do not fit {len(item_ids)} items; {shrunk}")
    raw_NL = encode_rows(quantizer, vectors_ND, ray)
    codes_NL, sizes = resolve_collisions(
        settings.collision_policy, raw_NL, lambda rows: quantizer.compute_latents(vectors_ND[rows]), quantizer.codebooks
    )
    SemanticIds(list(item_ids), codes_NL, sizes).save(folder)
    quantizer.save(folder / QUANTIZER_FILE)
    facts = _collect_facts(quantizer, vectors_ND, raw_NL, codes_NL) | {"codebook_sizes": list(sizes)}
    log(
        f"sids: {len(item_ids)} items, {facts['collisions_raw']['items']:.2%} shared a SID, {facts['moved_items']} "
        f"moved, {facts['collisions']['items']:.2%} share one now; fidelity {facts['fidelity']:.3f}"
    )
    return facts


def encode_rows(quantizer: Quantizer, vectors_ND: Float32Array, ray: RaySettings = LOCAL_EXECUTION) -> Codes:
    """Return the codes of all rows [N, L]: a row has the same, whoever encodes it and whatever stands beside it."""
    codes_NL = np.empty((len(vectors_ND), len(quantizer.codebooks)), dtype=np.int32)
    rows = list(iter_row_slices(len(vectors_ND), ROWS_AT_ONCE))
    executor = make_executor(partial(getattr, quantizer, "encode"), ray.model_copy(update={"num_gpus": 0}))
    with closing(executor):
        for place, codes in executor.map(vectors_ND[some] for some in rows):
            codes_NL[rows[place]] = codes
    return codes_NL


def _collect_facts(quantizer: Quantizer, vectors_ND: Float32Array, raw_NL: Codes, codes_NL: Codes) -> dict[str, Any]:
    """Return collisions before and after the policy, use of the codebooks, fidelity, and what the policy cost."""
    depth = raw_NL.shape[1]
    codes_and_sizes = zip(raw_NL.T, quantizer.codebook_sizes, strict=True)
    return {
        "quantizer": quantizer.method,
        "items": len(codes_NL),
        "collisions_raw": compute_collision_rates(raw_NL),
        "collisions": compute_collision_rates(codes_NL),
        "moved_items": int((raw_NL != codes_NL[:, :depth]).any(1).sum()),
        "utilization": [len(np.unique(codes_N)) / size for codes_N, size in codes_and_sizes],
        "fidelity_raw": compute_fidelity(quantizer, vectors_ND, raw_NL),
        "fidelity": compute_fidelity(quantizer, vectors_ND, codes_NL),
        "fidelity_by_depth": compute_fidelity_by_depth(quantizer, vectors_ND, codes_NL[:, :depth]),
    }
