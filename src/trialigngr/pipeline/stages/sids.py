"""Stage ``sids``: vectors become Semantic IDs; and stages that make SIDs for one system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trialigngr.foundation.errors import RecipeError
from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep
from trialigngr.sids.settings import SidSettings


def build_sids(settings: SidSettings, context: StageContext, out: Path) -> Facts:
    """Fit the quantizer and give every item a SID."""
    from trialigngr.embed.embeddings import load_embeddings, load_modalities
    from trialigngr.sequential.network import load_item_vectors
    from trialigngr.sids.assign import assign_sids

    embeddings, ids, second = context.run_folder / "embeddings", context.artifacts.catalog.item_ids, None
    if settings.quantizer == "macrec":
        vectors_ND, second = load_modalities(embeddings)
        if not second.any():
            raise RecipeError("sids.quantizer = macrec pairs text with pictures, and no item has one; use another.")
    else:
        vectors_ND = load_embeddings(embeddings)
    if settings.quantizer == "letter":
        second = load_item_vectors(context.run_folder / "sasrec")
    return assign_sids(settings, vectors_ND, ids, out, second, context.recipe.ray)


def list_sid_needs(settings: SidSettings) -> tuple[str, ...]:
    """Return the stages that SIDs are made from."""
    return ("embeddings", "sasrec") if settings.quantizer == "letter" else ("embeddings",)


def describe_sid_stage(name: str, choose: Callable[[Recipe], SidSettings]) -> StageSpec:
    """Return a stage that makes SIDs as ``choose`` says of a recipe."""
    return StageSpec(
        name=name,
        settings=lambda context: choose(context.recipe).keep_used(),
        needs=lambda context: list_sid_needs(choose(context.recipe)),
        build=lambda context, out: build_sids(choose(context.recipe), context, out),
        cost_line=lambda recipe: describe_cost(choose(recipe)),
        fact_lines=lambda recipe, facts: describe_facts(choose(recipe), facts),
    )


def describe_cost(settings: SidSettings) -> str:
    """Return what the plan says."""
    return f"{settings.quantizer} {' × '.join(map(str, settings.codebook_sizes))}"


def describe_facts(settings: SidSettings, facts: Facts) -> tuple[PipelineStep, ...]:
    """Return the box of the picture."""
    summary = f"{' × '.join(map(str, facts['codebook_sizes']))} codes"
    return (PipelineStep("sids", "Semantic ID", summary, facts["seconds"], settings.quantizer),)


SPEC = describe_sid_stage("sids", lambda recipe: recipe.sids)
