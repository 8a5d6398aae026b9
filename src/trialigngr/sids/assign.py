"""The SIDs stage: embeddings in, distinct Semantic IDs and the quantizer that made them out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log
from trialigngr.foundation.seeds import child
from trialigngr.sids.collisions import Policy, collisions, resolve
from trialigngr.sids.errors import SidError
from trialigngr.sids.fidelity import fidelity
from trialigngr.sids.quantizers.kmeans import KMeansSettings
from trialigngr.sids.quantizers.levels import Codes, Vectors
from trialigngr.sids.quantizers.quantizer import Quantizer, check_vectors, fitting_sizes, shrinkage
from trialigngr.sids.quantizers.registry import fit_method
from trialigngr.sids.quantizers.rqvae import RqVaeSettings
from trialigngr.sids.semantic_ids import SemanticIds

QUANTIZER = "quantizer.safetensors"
CodebookSize = Annotated[int, Field(ge=1, le=1 << 20)]


class SidSettings(Settings):
    """How embeddings become SIDs."""

    quantizer: Literal["rqvae", "rqkmeans"] = "rqvae"
    """Which quantizer; its own settings stand in the table of the same name."""
    sizes: tuple[CodebookSize, ...] = Field((4096, 2048, 1024), min_length=1, max_length=8)
    """Codebook sizes, coarse to fine (the paper's); a catalogue of fewer items makes them smaller."""
    collisions: Policy = "nearest_free"
    """What happens to items that share a SID."""
    held_out: float = Field(0.1, ge=0, lt=1)
    """Share of items that a second fit leaves out, to say how well items it has not seen are kept; 0 fits once."""
    seed: int = 0
    """Root of every random choice of this stage."""
    rqvae: RqVaeSettings = RqVaeSettings()
    """Settings of `rqvae`."""
    rqkmeans: KMeansSettings = KMeansSettings()
    """Settings of `rqkmeans`."""


def assign_sids(settings: SidSettings, embeddings_ND: Vectors, item_ids: Sequence[str], out: Path) -> dict[str, Any]:
    """Write ``sids.parquet`` and ``quantizer.safetensors`` for all items and return what came out, for the manifest.

    Raises `SidError` when ids and rows do not fit, or embeddings hold NaN.
    """
    if len(item_ids) != len(embeddings_ND):
        raise SidError(f"{len(item_ids)} item ids but {len(embeddings_ND)} embeddings; both must name the same items in the same order.")
    vectors_ND = check_vectors(embeddings_ND, lambda row: f"item {item_ids[row]!r}")
    quantizer = fit(settings, vectors_ND)
    if shrunk := shrinkage(settings.sizes, quantizer.sizes):
        log(f"sids: {len(item_ids)} items are too few for codebooks of {settings.sizes}; {shrunk}")
    raw_NL = quantizer.encode(vectors_ND)
    codes_NL = resolve(settings.collisions, raw_NL, quantizer.latents(vectors_ND), quantizer.levels)
    SemanticIds(list(item_ids), codes_NL, quantizer.sizes).save(out)
    quantizer.save(out / QUANTIZER)
    facts = _facts(quantizer, vectors_ND, raw_NL, codes_NL) | {"fidelity_held_out": held_out_fidelity(settings, vectors_ND)}
    log(
        f"sids: {len(item_ids)} items, {facts['collisions_raw']['items']:.2%} shared a SID, {facts['moved']} moved, "
        f"{facts['collisions']['items']:.2%} share one now; fidelity {facts['fidelity']:.3f}"
    )
    return facts


def fit(settings: SidSettings, vectors_ND: Vectors) -> Quantizer:
    """Return the quantizer that the settings name, fitted on the vectors; levels larger than N shrink."""
    sizes = fitting_sizes(settings.sizes, len(vectors_ND))
    return fit_method(settings.quantizer)(vectors_ND, sizes, getattr(settings, settings.quantizer), settings.seed)


def held_out_fidelity(settings: SidSettings, vectors_ND: Vectors) -> float | None:
    """Return the fidelity on items that a second fit did not see; None if the settings or too few items forbid it."""
    held = int(settings.held_out * len(vectors_ND))
    if not held:
        return None
    order_N = np.random.default_rng(child(settings.seed, "held-out items")).permutation(len(vectors_ND))
    quantizer = fit(settings, vectors_ND[order_N[held:]])
    unseen_ND = vectors_ND[order_N[:held]]
    return fidelity(quantizer, unseen_ND, quantizer.encode(unseen_ND))


def _facts(quantizer: Quantizer, vectors_ND: Vectors, raw_NL: Codes, codes_NL: Codes) -> dict[str, Any]:
    """Return sizes, collisions before and after the policy, use of the codebooks, fidelity and what the policy cost."""
    sizes = quantizer.sizes
    return {
        "quantizer": quantizer.method,
        "sizes": list(sizes),
        "items": len(codes_NL),
        "collisions_raw": collisions(raw_NL),
        "collisions": collisions(codes_NL),
        "moved": int((raw_NL != codes_NL).any(1).sum()),
        "utilisation": [len(np.unique(codes_N)) / size for codes_N, size in zip(raw_NL.T, sizes, strict=True)],
        "fidelity_raw": fidelity(quantizer, vectors_ND, raw_NL),
        "fidelity": fidelity(quantizer, vectors_ND, codes_NL),
    }
