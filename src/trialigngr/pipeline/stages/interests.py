"""Stage ``interests`` (MDIM): the interests behind the items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trialigngr.enrich.interests import INTERESTS_FILE
from trialigngr.pipeline.llm_stage import LlmStage, hash_rows
from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec, need
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep

if TYPE_CHECKING:
    from trialigngr.catalog.items import Catalog
    from trialigngr.enrich.mining import InterestJob

PLACEHOLDER_CAPTION = "…" * 300
"""Stands for a caption that is not written yet."""


def build_interests(context: StageContext, out: Path) -> Facts:
    """Mine the interests."""
    from trialigngr.enrich.mining import write_interests

    recipe, artifacts, calls = context.recipe, context.artifacts, context.recipe.calls
    cache = calls.cache_path(context.run_folder)
    return write_interests(recipe.interests, artifacts.catalog, artifacts.captions, out, None, calls, cache, recipe.ray)


def check_interests(recipe: Recipe, *, loads_models_here: bool, ask: bool) -> None:
    """Raise a sentence when the miner cannot work."""
    from trialigngr.enrich.miners import check_miner

    check_miner(recipe.interests, recipe.calls.interests, loads_models_here, ask)


def build_job(recipe: Recipe, run: Path, model: str) -> InterestJob:
    """Return what a language model is asked about the items of a run's catalogue."""
    from trialigngr.catalog.dataset import load_catalog
    from trialigngr.enrich.mining import InterestJob

    catalog = load_catalog(run / "catalog")
    return InterestJob(recipe.interests, catalog, _load_captions_or_placeholders(recipe, run, catalog), model)


def describe_llm(recipe: Recipe) -> LlmStage:
    """Return what a recipe asks a language model."""
    calls = recipe.calls
    return LlmStage(recipe.interests, calls.interests.openai, calls.max_runs, INTERESTS_FILE, build_job)


def _load_captions_or_placeholders(recipe: Recipe, run: Path, catalog: Catalog) -> list[str | None]:
    from trialigngr.enrich.caption_table import load_captions
    from trialigngr.foundation.artifact import is_finished

    if is_finished(run / "captions"):
        return load_captions(run / "captions")
    written = recipe.captions.generator != "none"
    return [PLACEHOLDER_CAPTION if written and catalog.image_file(row) else None for row in range(len(catalog))]


def hash_interests(folder: Path) -> str:
    """Return the hash of what later stages read: not why an item has no interests."""
    from trialigngr.enrich.interests import load_interests

    return hash_rows(load_interests(folder))


def describe_interests(recipe: Recipe, facts: Facts) -> tuple[PipelineStep, ...]:
    """Return the box of the picture."""
    summary = f"{facts['tags']:,} tags, {facts['distinct_tags']:,} distinct"
    return (PipelineStep("interests", "Interests", summary, facts["seconds"], facts["generator"]),)


SPEC = StageSpec(
    name="interests",
    settings=lambda context: context.recipe.interests,
    needs=need("catalog", "captions"),
    is_wanted=lambda context: context.recipe.has_generator,
    build=build_interests,
    hash_inputs=lambda context: describe_llm(context.recipe).hash_inputs(
        choosing=context.recipe.interests.tag_vocabulary != "open"
    ),
    hash_output=hash_interests,
    check=check_interests,
    llm=describe_llm,
    cost_line=lambda recipe: f"by {recipe.interests.generator}, once an item",
    fact_lines=describe_interests,
)
