"""Stages of the language model, one a phase: ``model`` trains it on the tasks, later phases go on from there."""

from __future__ import annotations

from pathlib import Path

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec
from trialigngr.recipes.model_settings import PhaseStageSettings
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep
from trialigngr.train.phases import PHASES, PhaseSpec


def list_specs() -> tuple[StageSpec, ...]:
    """Return a stage for each phase of the registry."""
    return tuple(_describe_stage(phase) for phase in PHASES.values())


def _describe_stage(phase: PhaseSpec) -> StageSpec:
    return StageSpec(
        name=phase.stage,
        settings=lambda context: PhaseStageSettings.from_phase(context.recipe, phase, context.artifacts.seed),
        needs=lambda context: (*_list_parents(context.recipe), *_list_stages_before(context.recipe, phase)),
        build=lambda context, out: build_phase(phase, context, out),
        is_wanted=lambda context: context.recipe.has_generator and phase.name in context.recipe.phases,
        one_per_seed=True,
        check=check_model if phase.starts_anew else None,
        cost_line=lambda recipe: describe_cost(recipe, phase),
        fact_lines=lambda recipe, facts: describe_model(recipe, facts, phase),
    )


def _list_parents(recipe: Recipe) -> tuple[str, ...]:
    common = ("catalog", "captions", "sids")
    return (*common, "embeddings") if recipe.model.items.hidden_size else common


def _list_stages_before(recipe: Recipe, phase: PhaseSpec) -> list[str]:
    names = list(recipe.phases)
    return [PHASES[name].stage for name in names[: names.index(phase.name)][-1:]]


def build_phase(phase: PhaseSpec, context: StageContext, out: Path) -> Facts:
    """Train the model through a phase."""
    from trialigngr.pipeline.model_training import train_phase
    from trialigngr.train.process_group import ProcessGroup

    return train_phase(phase, context.artifacts, out, context.workers or ProcessGroup())


def check_model(recipe: Recipe, *, loads_models_here: bool, ask: bool) -> None:
    """Raise a sentence when the backbone cannot read the prompts."""
    from trialigngr.pipeline.backbones import check_backbone

    check_backbone(recipe)


def describe_cost(recipe: Recipe, phase: PhaseSpec) -> str:
    """Return what the plan says."""
    if not phase.starts_anew:
        train = phase.adapt_train(recipe.train, getattr(recipe, phase.name, None))
        steps = f"at most {train.max_steps:,} steps" if train.max_steps else f"{train.epochs:g} epochs"
        return f"phase {phase.name}, {steps} of {train.batch_size} a batch"
    return (
        f"{recipe.model.name_or_path}, up to {len(recipe.tasks.list_tasks())} tasks, "
        f"at most {recipe.train.epochs:g} epochs of {recipe.train.batch_size} a batch"
    )


def describe_model(recipe: Recipe, facts: Facts, phase: PhaseSpec) -> tuple[PipelineStep, ...]:
    """Return the boxes of the picture."""
    summary = f"{facts['parameters'] / 1e6:.1f}M parameters, {facts['step']:,} steps"
    if not phase.starts_anew:
        return (PipelineStep(phase.stage, f"Phase {phase.name}", summary, facts["seconds"]),)
    examples = f"{len(facts['examples'])} tasks, {sum(facts['examples'].values()):,} examples"
    return (
        PipelineStep("tasks", "Eight tasks", examples),
        PipelineStep("model", "Language model", summary, facts["seconds"], recipe.model.name_or_path),
    )
