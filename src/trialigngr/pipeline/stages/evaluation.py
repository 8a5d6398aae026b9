"""Stage ``evaluation``: where every test target stands, for the model and for what it is compared with."""

from __future__ import annotations

from pathlib import Path

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec
from trialigngr.recipes.model_settings import EvaluationStageSettings
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep


def list_needs(recipe: Recipe) -> tuple[str, ...]:
    """Return the stages of all systems of the table, each once."""
    systems = recipe.evaluate.list_systems()
    return tuple(dict.fromkeys(stage for name in systems for stage in recipe.list_system_stages(name)))


def build_evaluation(context: StageContext, out: Path) -> Facts:
    """Rank the targets by every system."""
    from trialigngr.pipeline.evaluation import rank_targets

    return rank_targets(context.artifacts, out)


def describe_evaluation(recipe: Recipe, facts: Facts) -> tuple[PipelineStep, ...]:
    """Return the boxes of the picture."""
    return (
        PipelineStep("decode", "Beam search", f"{recipe.decode.num_beams} beams"),
        PipelineStep("evaluation", "Ranked items", f"{facts['test_targets']:,} test targets", facts["seconds"]),
    )


SPEC = StageSpec(
    name="evaluation",
    settings=lambda context: EvaluationStageSettings.from_recipe(context.recipe),
    needs=lambda context: list_needs(context.recipe),
    build=build_evaluation,
    one_per_seed=True,
    runs_last=True,
    cost_line=lambda recipe: f"{recipe.decode.num_beams} beams, twice over all test targets",
    fact_lines=describe_evaluation,
)
