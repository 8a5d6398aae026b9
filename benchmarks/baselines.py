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
from trialigngr.evaluate.system import System
from trialigngr.evaluate.target_ranks import ITEM
from trialigngr.metrics.ranks import hit_rate
from trialigngr.pipeline.stages import build_stages
from trialigngr.recipes.recipe import read_recipe
from trialigngr.runs.artifacts import RunArtifacts

GOAL_HR, GOAL_MINUTES = 0.068, 45.0


def measure() -> list[Check]:
    """Return test HR@10 of the baselines, and what SASRec took."""
    epochs = os.environ.get("TRIALIGNGR_BENCH_EPOCHS")
    changes = [
        'evaluate.systems=["popularity", "co_occurrence", "sasrec"]',
        *([f"sasrec.epochs={epochs}"] if epochs else []),
    ]
    recipe = read_recipe(os.environ.get("TRIALIGNGR_BENCH_RECIPE", "trialigngr-small"), changes)
    with tempfile.TemporaryDirectory() as folder:
        plan = {stage.name: stage for stage in build_stages(recipe, SHARED / "amazon_beauty", Path(folder), 0)}
        plan["catalog"].make_if_stale()
        parts, started = RunArtifacts(recipe, Path(folder)), time.process_time()
        facts = plan["sasrec"].make_if_stale().facts
        minutes = (time.process_time() - started) / 60
        goals = {"popularity": 0.0, "co_occurrence": 0.0, "sasrec": GOAL_HR}
        for name in goals:
            plan[name].make_if_stale()
        checks = [
            at_least(f"{name}: HR@10", _hits(parts.load_system(name), parts), goal) for name, goal in goals.items()
        ]
    checks.append(below("SASRec: CPU minutes", minutes, GOAL_MINUTES))
    checks.append(at_least("SASRec: validation NDCG@10", facts["valid_ndcg_10"], 0.0))
    return checks


def _hits(system: System, parts: RunArtifacts) -> float:
    targets = parts.histories.list_targets("test")
    found = system.rank_targets(parts.histories.build_queries(targets), parts.histories.target_items(targets), 10)
    return float(hit_rate(found.ranks[ITEM], 10).mean())
