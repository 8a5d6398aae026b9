"""What a run knows beside its SIDs, so that everything that can be said of them is said."""

from __future__ import annotations

from pathlib import Path

from trialigngr.embed.items import load_embeddings, load_modalities
from trialigngr.foundation.artifact import read_manifest
from trialigngr.images.colors import Floats
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import Parts
from trialigngr.sids.assign import QUANTIZER
from trialigngr.sids.quality import Beside, categories_of
from trialigngr.sids.quantizers.quantizer import Quantizer


def sid_vectors(recipe: Recipe, folder: Path) -> Floats:
    """Return what a run's quantizer encodes: its embeddings; MACRec's first quantizer sees their text alone."""
    return load_modalities(folder)[0] if recipe.sids.quantizer == "macrec" else load_embeddings(folder)


def beside(parts: Parts) -> Beside:
    """Return quantizer, embeddings, categories, test targets and held-out fidelity of a run."""
    test = parts.histories.targets("test")
    return Beside(
        Quantizer.load(parts.out / "sids" / QUANTIZER),
        sid_vectors(parts.recipe, parts.out / "embeddings"),
        categories_of([item.categories for item in parts.catalog]),
        parts.histories.target_items(test) if len(test) else None,
        read_manifest(parts.out / "sids").facts.get("fidelity_held_out_by_depth") or None,
    )
