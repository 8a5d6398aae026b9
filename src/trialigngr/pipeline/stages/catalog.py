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

    recipe, root = context.recipe, context.data
    if not isinstance(root, Path):
        root = context.run_folder / _find_source_stage(context)[0]
    return prepare_catalog(
        recipe.catalog, root, out, recipe.calls.download_settings(context.run_folder), for_model=True
    )


def _find_source_stage(context: StageContext) -> tuple[str, ...]:
    """Return the stage that makes the data folder, where it is not given: drawn, or read from an address."""
    if isinstance(context.data, Path):
        return ()
    return ("shop",) if context.data is None else ("data",)


def hash_data(context: StageContext) -> Mapping[str, str]:
    """Return the hash of the data folder; where a stage makes it, that stage's is it."""
    from trialigngr.catalog.fingerprint import fingerprint_data

    if not isinstance(context.data, Path):
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
    needs=_find_source_stage,
    build=build_catalog,
    hash_inputs=hash_data,
    is_shareable=False,  # its pictures lie in the run's own store
    fact_lines=describe_catalog,
)
