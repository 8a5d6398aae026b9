"""What a run knows beside its SIDs, so that everything that can be said of them is said."""

from __future__ import annotations

from trialigngr.embed.items import load_embeddings
from trialigngr.foundation.artifact import read_manifest
from trialigngr.pipeline.parts import Parts
from trialigngr.sids.assign import QUANTIZER
from trialigngr.sids.quality import Beside, categories_of
from trialigngr.sids.quantizers.quantizer import Quantizer


def beside(parts: Parts) -> Beside:
    """Return quantizer, embeddings, categories, test targets and held-out fidelity of a run."""
    test = parts.histories.targets("test")
    return Beside(
        Quantizer.load(parts.out / "sids" / QUANTIZER),
        load_embeddings(parts.out / "embeddings"),
        categories_of([item.categories for item in parts.catalog]),
        parts.histories.target_items(test) if len(test) else None,
        read_manifest(parts.out / "sids").facts.get("fidelity_held_out_by_depth") or None,
    )
