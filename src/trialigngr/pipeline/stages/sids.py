"""Stage ``sids``: vectors become Semantic IDs; and stages that make SIDs for one system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trialigngr.foundation.errors import RecipeError
from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep
from trialigngr.sids.settings import SidSettings

NO_PICTURE = "The quantizer macrec pairs text with pictures, and no item has one; use another, or leave MACRec out."


def build_sids(settings: SidSettings, context: StageContext, out: Path) -> Facts:
    """Fit the quantizer and give every item a SID, or read what others gave them."""
    from trialigngr.embed.embeddings import load_embeddings, load_image_mask, load_modalities
    from trialigngr.sequential.network import load_item_vectors
    from trialigngr.sids.assign import assign_sids
    from trialigngr.sids.published import write_published_sids

    if settings.quantizer == "published":
        return write_published_sids(settings.published, context.artifacts.catalog.table, out)
    embeddings, ids, second, has_second = (
        context.run_folder / "embeddings",
        context.artifacts.catalog.item_ids,
        None,
        None,
    )
    if settings.quantizer == "macrec":
        vectors_ND, second = load_modalities(embeddings)
        has_second = load_image_mask(embeddings)
        if not second.any():
            raise RecipeError(NO_PICTURE)
    else:
        vectors_ND = load_embeddings(embeddings)
    if settings.quantizer == "letter":
        second = load_item_vectors(context.run_folder / "sasrec")
    return assign_sids(settings, vectors_ND, ids, out, second, context.recipe.ray, has_second)


def list_sid_needs(settings: SidSettings) -> tuple[str, ...]:
    """Return the stages that SIDs are made from."""
    if settings.quantizer == "published":
        return ("catalog",)
    return ("embeddings", "sasrec") if settings.quantizer == "letter" else ("embeddings",)


def check_sid_data(settings: SidSettings, context: StageContext) -> None:
    """Raise a sentence where the items lack what their SIDs are made from."""
    from trialigngr.sids.published import check_sid_column

    items, published = context.artifacts.catalog.table, settings.published
    if settings.quantizer == "macrec" and not items["image_path"].count():
        raise RecipeError(NO_PICTURE)
    if settings.quantizer == "published":
        for column in published.columns:
            check_sid_column(items, column)


def describe_sid_stage(name: str, choose: Callable[[Recipe], SidSettings]) -> StageSpec:
    """Return a stage that makes SIDs as ``choose`` says of a recipe."""
    return StageSpec(
        name=name,
        settings=lambda context: choose(context.recipe).keep_used(),
        needs=lambda context: list_sid_needs(choose(context.recipe)),
        is_wanted=lambda context: context.recipe.has_generator,
        build=lambda context, out: build_sids(choose(context.recipe), context, out),
        check_data=lambda context: check_sid_data(choose(context.recipe), context),
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
