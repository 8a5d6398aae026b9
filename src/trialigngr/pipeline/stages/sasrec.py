"""Stage ``sasrec``: SASRec, where its ranks are wanted or LETTER wants its item vectors."""

from __future__ import annotations

from pathlib import Path

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec, need


def build_sasrec(context: StageContext, out: Path) -> Facts:
    """Train SASRec."""
    from trialigngr.sequential.sasrec import train_sasrec

    recipe, artifacts, device = context.recipe, context.artifacts, context.recipe.train.device
    valid = artifacts.sample_targets("valid", recipe.sasrec.validate_users)
    return train_sasrec(recipe.sasrec, artifacts.histories, len(artifacts.catalog), valid, recipe.seed, out, device)


SPEC = StageSpec(
    name="sasrec",
    settings=lambda context: context.recipe.sasrec,
    needs=need("catalog"),
    build=build_sasrec,
    is_wanted=lambda context: (
        context.recipe.sids.quantizer == "letter" or "sasrec" in context.recipe.evaluate.baselines
    ),
    cost_line=lambda recipe: f"at most {recipe.sasrec.epochs} epochs",
)
