"""Stage ``prior``: the generator and what is mixed in, on validation targets. `tune` makes it; a run has none."""

from __future__ import annotations

from pathlib import Path

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec
from trialigngr.recipes.model_settings import PriorStageSettings
from trialigngr.systems.registry import GENERATOR

PRIOR_STAGE = "prior"


def validate_prior(context: StageContext, _out: Path) -> Facts:
    """Return the validation NDCG@10 of the mixture."""
    from trialigngr.evaluate.target_ranks import ITEM
    from trialigngr.metrics.ranks import ndcg

    artifacts = context.artifacts
    targets = artifacts.sample_targets("valid", context.recipe.prior.validate_users)
    queries, wanted = artifacts.histories.build_queries(targets), artifacts.histories.target_items(targets)
    ranking = artifacts.load_system(GENERATOR).rank_targets(queries, wanted, 0, description="prior, valid")
    return {"valid_ndcg_10": round(float(ndcg(ranking.ranks[ITEM], 10).mean()), 6)}


SPEC = StageSpec(
    name=PRIOR_STAGE,
    settings=lambda context: PriorStageSettings(decode=context.recipe.decode, prior=context.recipe.prior),
    needs=lambda context: context.recipe.list_system_stages(GENERATOR),
    build=validate_prior,
    one_per_seed=True,
    runs_last=True,
)
