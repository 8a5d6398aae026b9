"""SASRec on Amazon Beauty beside popularity and co-occurrence: item level, nothing masked, the whole catalogue.

``TRIALIGNGR_BENCH_RECIPE`` names the recipe whose SASRec is trained (such as the ``best.toml`` of ``trialigngr tune``),
``TRIALIGNGR_BENCH_EPOCHS`` cuts its epochs for a trial.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Check, at_least, below
from benchmarks.tokenizers.data import SHARED
from trialigngr.evaluate.scorer import Scorer, compute_ranks
from trialigngr.metrics.ranks import hit_rate
from trialigngr.pipeline.stages import build_stages
from trialigngr.recipes.recipe import read_recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.systems.co_occurrence import CoOccurrence
from trialigngr.systems.popularity import Popularity

GOAL_HR, GOAL_MINUTES = 0.068, 45.0


def measure() -> list[Check]:
    """Return test HR@10 of the baselines, and what SASRec took."""
    epochs = os.environ.get("TRIALIGNGR_BENCH_EPOCHS")
    changes = ['evaluate.baselines=["sasrec"]', *([f"sasrec.epochs={epochs}"] if epochs else [])]
    recipe = read_recipe(os.environ.get("TRIALIGNGR_BENCH_RECIPE", "trialigngr-small"), changes)
    with tempfile.TemporaryDirectory() as folder:
        plan = {stage.name: stage for stage in build_stages(recipe, SHARED / "amazon_beauty", Path(folder), 0)}
        plan["catalog"].make_if_stale()
        parts, started = RunArtifacts(recipe, Path(folder)), time.process_time()
        facts = plan["sasrec"].make_if_stale().facts
        minutes = (time.process_time() - started) / 60
        n_items = len(parts.catalog)
        baselines: list[Scorer] = [
            Popularity(parts.histories, n_items),
            CoOccurrence(parts.recipe.co_occurrence, parts.histories, n_items),
        ]
        checks = [at_least(f"{own.name}: HR@10", _hits(own, parts), 0.0) for own in baselines]
        checks.append(at_least("SASRec: HR@10", _hits(parts.sasrec, parts), GOAL_HR))
    checks.append(below("SASRec: CPU minutes", minutes, GOAL_MINUTES))
    checks.append(at_least("SASRec: validation NDCG@10", facts["valid_ndcg_10"], 0.0))
    return checks


def _hits(ranker: Scorer, parts: RunArtifacts) -> float:
    histories = parts.histories
    return float(hit_rate(compute_ranks(ranker, histories, histories.list_targets("test"), mask_seen=False), 10).mean())
