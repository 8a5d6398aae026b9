"""Stage ``captions`` (CMSA): what the pictures show, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trialigngr.enrich.caption_table import CAPTIONS_FILE
from trialigngr.pipeline.llm_stage import LlmStage, hash_rows
from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec, need
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep

if TYPE_CHECKING:
    from trialigngr.enrich.captions import CaptionJob


def build_captions(context: StageContext, out: Path) -> Facts:
    """Describe the pictures."""
    from trialigngr.enrich.captions import write_captions

    recipe, calls = context.recipe, context.recipe.calls
    cache = calls.cache_path(context.run_folder)
    return write_captions(recipe.captions, context.artifacts.catalog, out, calls, cache, recipe.ray)


def check_captions(recipe: Recipe, *, loads_models_here: bool, ask: bool) -> None:
    """Raise a sentence when the captioner cannot work."""
    from trialigngr.enrich.captions import check_captioner

    check_captioner(recipe.captions, recipe.calls.captions, loads_models_here, ask)


def build_job(recipe: Recipe, run: Path, model: str) -> CaptionJob:
    """Return what a language model is asked about the pictures of a run's catalogue."""
    from trialigngr.catalog.dataset import load_catalog
    from trialigngr.enrich.captions import CaptionJob

    return CaptionJob(recipe.captions, load_catalog(run / "catalog"), model)


def describe_llm(recipe: Recipe) -> LlmStage:
    """Return what a recipe asks a language model."""
    calls = recipe.calls
    return LlmStage(recipe.captions, calls.captions.openai, calls.max_runs, CAPTIONS_FILE, build_job)


def hash_captions(folder: Path) -> str:
    """Return the hash of what later stages read: not why a picture has no caption."""
    from trialigngr.enrich.caption_table import load_captions

    return hash_rows(load_captions(folder))


def describe_captions(recipe: Recipe, facts: Facts) -> tuple[PipelineStep, ...]:
    """Return the box of the picture."""
    summary = f"{facts['captions']:,} captions"
    return (PipelineStep("captions", "Caption", summary, facts["seconds"], facts["generator"]),)


SPEC = StageSpec(
    name="captions",
    settings=lambda context: context.recipe.captions,
    needs=need("catalog"),
    is_wanted=lambda context: context.recipe.has_generator,
    build=build_captions,
    hash_inputs=lambda context: describe_llm(context.recipe).hash_inputs(),
    hash_output=hash_captions,
    check=check_captions,
    llm=describe_llm,
    cost_line=lambda recipe: f"by {recipe.captions.generator}, once a picture",
    fact_lines=describe_captions,
)
