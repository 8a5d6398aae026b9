"""Stage ``sids``: vectors become Semantic IDs."""

from __future__ import annotations

from pathlib import Path

from trialigngr.foundation.errors import RecipeError
from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep


def build_sids(context: StageContext, out: Path) -> Facts:
    """Fit the quantizer and give every item a SID."""
    from trialigngr.embed.embeddings import load_embeddings, load_modalities
    from trialigngr.sequential.network import load_item_vectors
    from trialigngr.sids.assign import assign_sids

    recipe, artifacts = context.recipe, context.artifacts
    embeddings, ids, second = context.run_folder / "embeddings", artifacts.catalog.item_ids, None
    if recipe.sids.quantizer == "macrec":
        vectors_ND, second = load_modalities(embeddings)
        if not second.any():
            raise RecipeError("sids.quantizer = macrec pairs text with pictures, and no item has one; use another.")
    else:
        vectors_ND = load_embeddings(embeddings)
    if recipe.sids.quantizer == "letter":
        second = load_item_vectors(context.run_folder / "sasrec")
    return assign_sids(recipe.sids, vectors_ND, ids, out, second, recipe.ray)


def describe_sids(recipe: Recipe, facts: Facts) -> tuple[PipelineStep, ...]:
    """Return the box of the picture."""
    summary = f"{' × '.join(map(str, facts['codebook_sizes']))} codes"
    return (PipelineStep("sids", "Semantic ID", summary, facts["seconds"], recipe.sids.quantizer),)


SPEC = StageSpec(
    name="sids",
    settings=lambda context: context.recipe.sids,
    needs=lambda context: ("embeddings", *(["sasrec"] if context.recipe.sids.quantizer == "letter" else ())),
    build=build_sids,
    cost_line=lambda recipe: f"{recipe.sids.quantizer} {' × '.join(map(str, recipe.sids.codebook_sizes))}",
    fact_lines=describe_sids,
)
