"""Stage ``embeddings``: text and pixels as one vector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep

if TYPE_CHECKING:
    from trialigngr.images.colors import Float32Array


def build_embeddings(context: StageContext, out: Path) -> Facts:
    """Embed the items, and where the recipe wants it, who took what."""
    from trialigngr.embed.embeddings import write_embeddings

    recipe, artifacts = context.recipe, context.artifacts
    log = _make_collaborative_vectors(context) if recipe.embeddings.collaborative_weight else None
    return write_embeddings(
        recipe.embeddings, artifacts.catalog, artifacts.captions, artifacts.interest_tags, out, None, recipe.ray, log
    )


def _make_collaborative_vectors(context: StageContext) -> Float32Array:
    """Return unit vectors of the items by what the training part of the log says; zeros where it says nothing."""
    from trialigngr.embed.collaborative import compute_collaborative_vectors
    from trialigngr.embed.fusion import l2_normalize
    from trialigngr.sequential.network import load_item_vectors

    histories, num_items = context.artifacts.histories, len(context.artifacts.catalog)
    if not context.recipe.embeddings.needs_sasrec:
        return compute_collaborative_vectors(list(histories.train_sequences()), num_items)
    vectors_ND = l2_normalize(load_item_vectors(context.run_folder / "sasrec"))
    vectors_ND[histories.count_train_items(num_items) == 0] = 0
    return vectors_ND


def list_embedding_needs(context: StageContext) -> tuple[str, ...]:
    """Return the stages that embeddings are made from."""
    usual = ("catalog", "captions", "interests")
    return (*usual, "sasrec") if context.recipe.embeddings.needs_sasrec else usual


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
    needs=list_embedding_needs,
    is_wanted=lambda context: context.recipe.has_generator,
    build=build_embeddings,
    check=check_embeddings,
    cost_line=lambda recipe: f"by {recipe.embeddings.encoder}",
    fact_lines=describe_embeddings,
)
