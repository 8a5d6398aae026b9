"""Stage ``catalog``: a data folder becomes a catalogue and histories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trialigngr.pipeline.stage_graph import NOTHING, Facts, StageContext, StageSpec
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep


def build_catalog(context: StageContext, out: Path) -> Facts:
    """Read, filter and split the data."""
    from trialigngr.catalog.prepare import prepare_catalog

    recipe, root = context.recipe, context.data or context.run_folder / "shop"
    return prepare_catalog(
        recipe.catalog, root, out, recipe.calls.download_settings(context.run_folder), for_model=True
    )


def hash_data(context: StageContext) -> Mapping[str, str]:
    """Return the hash of the data folder; that of a drawn shop is its stage's."""
    from trialigngr.catalog.fingerprint import fingerprint_data

    if context.data is None:
        return NOTHING
    return {"data": fingerprint_data(context.data, context.recipe.catalog.column_map)}


def describe_catalog(recipe: Recipe, facts: Facts) -> tuple[PipelineStep, ...]:
    """Return the box of the picture."""
    kept = facts["kept"]
    summary = f"{kept['items']:,} items, {kept['users']:,} users"
    return (PipelineStep("catalog", "Photo and title", summary, facts["seconds"]),)


SPEC = StageSpec(
    name="catalog",
    settings=lambda context: context.recipe.catalog,
    needs=lambda context: () if context.data else ("shop",),
    build=build_catalog,
    hash_inputs=hash_data,
    is_shareable=False,  # its pictures lie in the run's own store
    fact_lines=describe_catalog,
)
