"""The systems beside the generator on real data: item level, the whole catalogue, raw and with seen items masked.

``TRIALIGNGR_BENCH_DATA`` names a folder of the shared data (``amazon_beauty``), ``TRIALIGNGR_BENCH_SYSTEMS`` and
``TRIALIGNGR_BENCH_SEEDS`` what is fitted, separated by commas (all systems, seed 0), ``TRIALIGNGR_BENCH_SET`` changes
to the recipe, separated by semicolons. ``TRIALIGNGR_BENCH_RECIPE`` names the recipe itself, such as ``best.toml`` of
``trialigngr tune``. In ``TRIALIGNGR_BENCH_FOLDER`` what is fitted stays, so that a run that was stopped goes on. Each
row is printed as a line of a Markdown table when it is there.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Check, at_least, below
from benchmarks.tokenizers.data import SHARED
from trialigngr.evaluate.target_ranks import ITEM
from trialigngr.metrics.ranks import compute_target_metrics
from trialigngr.pipeline.stages import build_stages
from trialigngr.recipes.recipe import Recipe, read_recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.systems.registry import GENERATORS, SYSTEMS

GOALS = {  # HR@10 on Beauty, raw: the paper's row, or ours where that is higher
    "counts": 0.075, "gru4rec": 0.0518, "caser": 0.0483, "hgn": 0.0549, "sasrec": 0.082, "bert4rec": 0.0682,
    "s3_rec": 0.0718, "fdsa": 0.0698, "hstu": 0.070,
}  # fmt: skip
MAX_MINUTES = {"s3_rec": 120.0}
FIGURES = ("HR@10", "NDCG@10")


def measure() -> list[Check]:
    """Return HR@10 and the minutes of each system, the mean of its seeds."""
    names = read_list("SYSTEMS", [name for name in SYSTEMS if name not in GENERATORS])
    seeds, data = read_list("SEEDS", ["0"]), os.environ.get("TRIALIGNGR_BENCH_DATA", "amazon_beauty")
    print(f"| {data} | seed | HR@10 | NDCG@10 | masked: HR@10 | NDCG@10 | validation NDCG@10 | minutes |")
    print("|" + "---|" * 8)
    checks = []
    with work_folder(data) as folder:
        for name in names:
            rows = [_measure_system(name, seed, data, folder / f"seed-{seed}") for seed in seeds]
            hits, minutes = (sum(row[column] for row in rows) / len(rows) for column in ("HR@10", "minutes"))
            goal = GOALS.get(name, 0.0) if data == "amazon_beauty" else 0.0
            checks.append(at_least(f"{name}: HR@10, {len(rows)} seeds", hits, goal))
            checks.append(below(f"{name}: minutes", minutes, MAX_MINUTES.get(name, 45.0)))
    return checks


def read_list(name: str, default: list[str]) -> list[str]:
    """Return what ``TRIALIGNGR_BENCH_`` and a name give, separated by commas."""
    given = os.environ.get(f"TRIALIGNGR_BENCH_{name}")
    return given.split(",") if given else default


def read_changes() -> list[str]:
    """Return the changes to a recipe in ``TRIALIGNGR_BENCH_SET``."""
    return [change for change in os.environ.get("TRIALIGNGR_BENCH_SET", "").split(";") if change]


@contextmanager
def work_folder(name: str) -> Iterator[Path]:
    """Give the folder of that name in ``TRIALIGNGR_BENCH_FOLDER``, or one that is gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(os.environ.get("TRIALIGNGR_BENCH_FOLDER", scratch)) / name


def _measure_system(name: str, seed: str, data: str, folder: Path) -> dict[str, float]:
    """Fit a system, or take what is there; print and return its figures on test."""
    recipe = read_recipe(
        os.environ.get("TRIALIGNGR_BENCH_RECIPE", "trialigngr-small"),
        [f"seed={seed}", f"evaluate.systems={json.dumps([name])}", *read_changes()],
    )
    folder.mkdir(parents=True, exist_ok=True)
    plan = {stage.name: stage for stage in build_stages(recipe, SHARED / data, folder, 0)}
    plan["catalog"].make_if_stale()
    facts = plan[name].make_if_stale().facts
    figures = {"minutes": facts["seconds"] / 60} | _test_system(name, recipe, folder)
    said = " | ".join(f"{figures[f'{part}{figure}']:.4f}" for part in ("", "masked ") for figure in FIGURES)
    print(f"| {name} | {seed} | {said} | {facts['valid_ndcg_10']:.4f} | {figures['minutes']:.1f} |", flush=True)
    return figures


def _test_system(name: str, recipe: Recipe, folder: Path) -> dict[str, float]:
    artifacts = RunArtifacts(recipe, folder)
    system, histories = artifacts.load_system(name), artifacts.histories
    targets = histories.list_targets("test")
    queries, rows = histories.build_queries(targets), histories.target_items(targets)
    found: dict[str, float] = {}
    for part, filters in (("", None), ("masked ", list(queries.items))):
        metrics = compute_target_metrics(system.rank_targets(queries, rows, 10, filters).ranks[ITEM], (10,))
        found |= {f"{part}{figure}": float(metrics[figure].mean()) for figure in FIGURES}
    return found
