"""What language models will cost a run, and what they may be asked once more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from trialigngr.foundation.artifact import check_file, is_finished
from trialigngr.foundation.tables import read_table
from trialigngr.llm.costs import CostEstimate, estimate_cost
from trialigngr.llm.jobs import iter_job_rows
from trialigngr.llm.response_cache import ResponseCache
from trialigngr.pipeline.llm_stage import LlmStage
from trialigngr.pipeline.stage_graph import Stage
from trialigngr.pipeline.stages import list_stage_specs
from trialigngr.recipes.recipe import Recipe


def find_llm_stages(recipe: Recipe) -> dict[str, LlmStage]:
    """Return stage → what it asks a language model, of the stages that do."""
    found = {spec.name: spec.llm(recipe) for spec in list_stage_specs() if spec.llm is not None}
    return {name: stage for name, stage in found.items() if stage.asks}


def estimate_costs(
    recipe: Recipe, run: Path, plan: Iterable[Stage] = (), cache_path: Path | None = None
) -> list[CostEstimate]:
    """Return what is left to do of the stages that ask language models, of those in ``plan`` whether they are done;
    none before the catalogue stands. ``cache_path`` is the run's unless given."""
    if not is_finished(run / "catalog"):
        return []
    cache_path = cache_path or recipe.calls.cache_path(run)
    done, found = {stage.name for stage in plan if stage.read_status() == "done"}, list[CostEstimate]()
    for name, stage in find_llm_stages(recipe).items():
        job = stage.build_job(recipe, run, stage.model_name)
        if size := len(job.catalog):
            cost = estimate_cost(job, stage.settings, stage.server, stage.max_runs, cache_path, size)
            found.append(replace(cost, done=name in done))
    return found


def describe_costs(recipe: Recipe, run: Path) -> Iterator[str]:
    """Yield a line for each stage that asks a language model."""
    asking = list(find_llm_stages(recipe))
    if asking and not is_finished(run / "catalog"):
        yield f"{' and '.join(asking)}: what they cost is told when the catalogue stands (run with --until catalog)"
    for cost in estimate_costs(recipe, run):
        yield f"{cost.stage}: {cost}"


def may_cost(recipe: Recipe) -> bool:
    """Return whether a stage asks a language model that costs money or is elsewhere, as far as the recipe tells."""
    return any(stage.may_cost for stage in find_llm_stages(recipe).values())


def count_retryable(stage: Stage) -> int:
    """Return of how many items a finished stage has no answer, though the response cache would let them be asked again
    or has an answer by now."""
    recipe, run = stage.context.recipe, stage.context.run_folder
    cache_path = recipe.calls.cache_path(run)
    asked = find_llm_stages(recipe).get(stage.name)
    if asked is None or not cache_path.exists():
        return 0
    problems = read_table(check_file(stage.folder / asked.file), ["problem"])["problem"]
    failed = problems.is_not_null().arg_true().to_list()
    if not failed:
        return 0
    job = asked.build_job(recipe, run, asked.model_name)
    keys = [row.key for row in iter_job_rows(job, asked.recorded_settings, failed)]
    with ResponseCache(cache_path) as cache:
        attempts = list(cache.read_attempts(keys, asked.max_runs))
    return sum(row is not None and row.state in ("open", "done") for row in attempts)


def check_stages(plan: Iterable[Stage], *, loads_models_here: bool, ask: bool = True) -> None:
    """Raise a sentence when a stage that is not done, or asks again about failures, cannot work.

    So a mistake in a later stage is told before an earlier one is paid for. ``loads_models_here`` is False where
    workers elsewhere load the models, ``ask`` before whoever runs this has agreed that servers are asked anything.
    """
    for stage in plan:
        if stage.spec.check and (stage.read_status() not in ("done", "depends") or count_retryable(stage)):
            stage.spec.check(stage.context.recipe, loads_models_here=loads_models_here, ask=ask)
