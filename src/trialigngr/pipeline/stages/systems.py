"""A stage for each system of the registry that is fitted by itself: SASRec, counts, popularity; and for the SIDs that a
system has for itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec, need
from trialigngr.pipeline.stages.sids import describe_sid_stage
from trialigngr.recipes.model_settings import SystemStageSettings
from trialigngr.systems.registry import SYSTEMS
from trialigngr.systems.spec import DescribeSids, FitSystem, SystemSpec

MAX_VALIDATED_USERS = 50_000
"""Users whose validation targets say how good a system is; networks choose their epoch by fewer."""


def list_specs() -> tuple[StageSpec, ...]:
    """Return the stages, in the registry's order."""
    systems = [_describe_stage(system, system.fit) for system in SYSTEMS.values() if system.fit is not None]
    own_sids = [_describe_own_sids(system, system.describe_sids) for system in SYSTEMS.values() if system.describe_sids]
    return (*systems, *own_sids)


def _describe_own_sids(system: SystemSpec, describe_sids: DescribeSids) -> StageSpec:
    """Return the stage of the SIDs that a system has for itself; it is made where the system is."""
    stage = describe_sid_stage(
        system.sids_stage, lambda recipe: describe_sids(recipe.get_system_settings(system.name), recipe.sids)
    )
    return replace(stage, runs_last=True, is_wanted=lambda context: False, fact_lines=lambda recipe, facts: ())


def _describe_stage(system: SystemSpec, fit: FitSystem) -> StageSpec:
    return StageSpec(
        name=system.name,
        settings=lambda context: SystemStageSettings.from_recipe(context.recipe, system.name),
        needs=need(*system.needs),
        build=lambda context, out: _fit_and_validate(system, fit, context, out),
        runs_last=True,
        is_wanted=lambda context: system.name in context.recipe.evaluate.list_systems(),
        check_data=lambda context: system.check_data(context.artifacts),
        cost_line=lambda recipe: system.describe_cost(recipe.get_system_settings(system.name)),
    )


def _fit_and_validate(system: SystemSpec, fit: FitSystem, context: StageContext, out: Path) -> Facts:
    """Fit a system; return its facts, its validation NDCG@10 among them."""
    from trialigngr.evaluate.target_ranks import ITEM
    from trialigngr.metrics.ranks import ndcg

    artifacts, settings = context.artifacts, context.recipe.get_system_settings(system.name)
    facts = fit(artifacts, settings, out)
    targets = artifacts.sample_targets("valid", MAX_VALIDATED_USERS)
    queries, wanted = artifacts.histories.build_queries(targets), artifacts.histories.target_items(targets)
    ranking = system.load(artifacts, out).rank_targets(queries, wanted, 0, description=f"{system.name}, valid")
    return facts | {"valid_ndcg_10": round(float(ndcg(ranking.ranks[ITEM], 10).mean()), 6)}
