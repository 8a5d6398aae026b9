"""Stage ``model``: the language model, trained on the tasks."""

from __future__ import annotations

from pathlib import Path

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec, need
from trialigngr.recipes.model_settings import ModelStageSettings
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep


def build_model(context: StageContext, out: Path) -> Facts:
    """Train the model."""
    from trialigngr.pipeline.model_training import train_model
    from trialigngr.train.process_group import ProcessGroup

    return train_model(context.artifacts, out, context.workers or ProcessGroup())


def check_model(recipe: Recipe, *, loads_models_here: bool, ask: bool) -> None:
    """Raise a sentence when the backbone cannot read the prompts."""
    from trialigngr.pipeline.backbones import check_backbone

    check_backbone(recipe)


def describe_cost(recipe: Recipe) -> str:
    """Return what the plan says."""
    return (
        f"{recipe.model.name_or_path}, up to {len(recipe.tasks.list_tasks())} tasks, "
        f"at most {recipe.train.epochs:g} epochs of {recipe.train.batch_size} a batch"
    )


def describe_model(recipe: Recipe, facts: Facts) -> tuple[PipelineStep, ...]:
    """Return the boxes of the picture."""
    examples = f"{len(facts['examples'])} tasks, {sum(facts['examples'].values()):,} examples"
    summary = f"{facts['parameters'] / 1e6:.1f}M parameters, {facts['step']:,} steps"
    return (
        PipelineStep("tasks", "Eight tasks", examples),
        PipelineStep("model", "Language model", summary, facts["seconds"], recipe.model.name_or_path),
    )


SPEC = StageSpec(
    name="model",
    settings=lambda context: ModelStageSettings.from_recipe(context.recipe, context.artifacts.seed),
    needs=need("catalog", "captions", "sids"),
    build=build_model,
    one_per_seed=True,
    check=check_model,
    cost_line=describe_cost,
    fact_lines=describe_model,
)
