"""Stage ``embeddings``: text and pixels as one vector."""

from __future__ import annotations

from pathlib import Path

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec, need
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep


def build_embeddings(context: StageContext, out: Path) -> Facts:
    """Embed the items, and where the recipe wants it, who took what."""
    from trialigngr.embed.collaborative import compute_collaborative_vectors
    from trialigngr.embed.embeddings import write_embeddings

    recipe, artifacts, log = context.recipe, context.artifacts, None
    if recipe.embeddings.collaborative_weight:
        log = compute_collaborative_vectors(list(artifacts.histories.train_sequences()), len(artifacts.catalog))
    return write_embeddings(
        recipe.embeddings, artifacts.catalog, artifacts.captions, artifacts.interest_tags, out, None, recipe.ray, log
    )


def check_embeddings(recipe: Recipe, *, loads_models_here: bool, ask: bool) -> None:
    """Raise a sentence when an encoder cannot work here."""
    from trialigngr.embed.encoders import check_encoders

    if loads_models_here:
        check_encoders(recipe.embeddings)


def describe_embeddings(recipe: Recipe, facts: Facts) -> tuple[PipelineStep, ...]:
    """Return the box of the picture."""
    summary, encoders = f"{facts['dimensions']} numbers an item", ", ".join(facts["encoders"])
    return (PipelineStep("embeddings", "Embedding", summary, facts["seconds"], encoders),)


SPEC = StageSpec(
    name="embeddings",
    settings=lambda context: context.recipe.embeddings,
    needs=need("catalog", "captions", "interests"),
    is_wanted=lambda context: context.recipe.has_generator,
    build=build_embeddings,
    check=check_embeddings,
    cost_line=lambda recipe: f"by {recipe.embeddings.encoder}",
    fact_lines=describe_embeddings,
)
