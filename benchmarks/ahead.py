"""The generator, + counts, + counts + items beside counts, SASRec and SASRec + counts: one split, the same masks.

Two recipes are run for each seed, `RECIPES`, from data folder to test figures; stages that they share are made once.
What is printed is the mean over seeds of every target's value, with intervals over users, and the minutes and
parameters of the first seed. ``TRIALIGNGR_BENCH_DATA`` names a folder of the shared data (``amazon_beauty``),
``TRIALIGNGR_BENCH_SEEDS`` the seeds (0), ``TRIALIGNGR_BENCH_SET`` changes to the recipes, separated by semicolons. In
``TRIALIGNGR_BENCH_FOLDER`` the runs stay, and a benchmark that was stopped goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.baselines import read_changes, read_list, work_folder
from benchmarks.harness import Check, at_least, below
from benchmarks.tokenizers.data import SHARED
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, TargetRanks
from trialigngr.foundation.artifact import MANIFEST_FILE
from trialigngr.metrics.intervals import Estimate, bootstrap_differences, bootstrap_intervals
from trialigngr.metrics.ranks import Float64Array
from trialigngr.pipeline.execute import run
from trialigngr.runs.run import Run
from trialigngr.studies.compare import read_training_cost
from trialigngr.systems.registry import GENERATOR, SYSTEMS

RECIPES = {
    "trialigngr-hour+counts": ["popularity", "counts", "sasrec", "sasrec_counts", "generator_alone"],
    "trialigngr-hour+counts+items": ["generator_alone"],
}
ROWS = {
    "popularity": ("trialigngr-hour+counts", "popularity"),
    "counts": ("trialigngr-hour+counts", "counts"),
    "SASRec": ("trialigngr-hour+counts", "sasrec"),
    "SASRec + counts": ("trialigngr-hour+counts", "sasrec_counts"),
    "generator": ("trialigngr-hour+counts", "generator_alone"),
    "generator, trained with items": ("trialigngr-hour+counts+items", "generator_alone"),
    "+ counts": ("trialigngr-hour+counts", GENERATOR),
    "+ counts + items": ("trialigngr-hour+counts+items", GENERATOR),
}
"""What a row is called, and the recipe and system that it is."""
PAIRS = (
    ("+ counts", "counts"),
    ("+ counts", "SASRec"),
    ("+ counts + items", "SASRec"),
    ("+ counts + items", "SASRec + counts"),
)
WAYS, METRICS = {"raw": ITEM, "masked": SEEN_MASKED}, ("HR@10", "NDCG@10")
GOALS = {  # on Beauty: HR@10 and NDCG@10, raw and then masked
    "generator": (0.073, 0.039, 0.081, 0.046),
    "generator, trained with items": (0.079, 0.043, 0.086, 0.050),
    "+ counts": (0.083, 0.047, 0.092, 0.054),
    "+ counts + items": (0.090, 0.051, 0.100, 0.060),
}
MAX_MINUTES = 60.0

Values = dict[str, Float64Array]
Costs = dict[str, dict[str, float]]
Int64Array = npt.NDArray[np.int64]


def measure() -> list[Check]:
    """Return the figures of each row beside its goal, and how far each of `PAIRS` is apart."""
    data, seeds = os.environ.get("TRIALIGNGR_BENCH_DATA", "amazon_beauty"), read_list("SEEDS", ["0"])
    with work_folder(data) as folder:
        runs = {(name, seed): _run_recipe(name, data, folder, seed) for seed in seeds for name in RECIPES}
        tests = {key: TargetRanks.load(one.folder / "evaluation" / "test.parquet") for key, one in runs.items()}
        values = {row: _average_seeds([tests[name, s] for s in seeds], own) for row, (name, own) in ROWS.items()}
        costs = {row: read_training_cost(runs[name, seeds[0]], own) for row, (name, own) in ROWS.items()}
        minutes = max(map(_count_minutes, runs.values()))
    users_M = next(iter(tests.values())).users_M
    return [
        *_print_rows(f"{data}, {len(seeds)} seeds", values, users_M, costs, GOALS if data == "amazon_beauty" else {}),
        *_print_pairs(values, users_M),
        below("minutes of a run without what stands beside it", minutes, MAX_MINUTES),
    ]


def _print_rows(
    title: str, values: dict[str, Values], users_M: Int64Array, costs: Costs, goals: Mapping[str, Sequence[float]]
) -> Iterator[Check]:
    columns = list(values["counts"])
    print(f"| {title} | " + " | ".join(columns) + " | minutes | parameters |")
    print("|" + "---|" * (3 + len(columns)))
    for row, own in values.items():
        found, cost = bootstrap_intervals(own, users_M), costs[row]
        said = [_format_estimate(found[name]) for name in columns]
        said += [f"{cost.get('seconds', 0) / 60:.1f}", f"{cost.get('parameters', 0):,.0f}"]
        print(f"| {row} | " + " | ".join(said) + " |", flush=True)
        for name, goal in zip(columns, goals.get(row, ()), strict=False):
            yield at_least(f"{row}: {name}", found[name].value, goal)


def _print_pairs(values: dict[str, Values], users_M: Int64Array) -> Iterator[Check]:
    for ours, theirs in PAIRS:
        apart = bootstrap_differences(values[ours], values[theirs], users_M)
        print(f"{ours} − {theirs}: " + ", ".join(f"{name} {_format_estimate(own)}" for name, own in apart.items()))
        for name, own in apart.items():
            yield at_least(f"{ours} − {theirs}, lower end: {name}", own.low, 0.0)


def _run_recipe(name: str, data: str, folder: Path, seed: str) -> Run:
    out = folder / f"{name.replace('+', '-')}-seed-{seed}"
    changes = [f"seed={seed}", f"evaluate.systems={json.dumps(RECIPES[name])}", *read_changes()]
    return run(name, SHARED / data, out, changes=changes)


def _average_seeds(tests: Sequence[TargetRanks], system: str) -> Values:
    """Return each metric, a value a target, the mean over seeds, which all test the same targets."""
    for other in tests[1:]:
        tests[0].check_same_targets(other)
    return {
        f"{how}: {metric}": np.mean([test.compute_values(system, way, [10])[metric] for test in tests], axis=0)
        for how, way in WAYS.items()
        for metric in METRICS
    }


def _format_estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def _count_minutes(one: Run) -> float:
    """Return how long the stages of a recipe took, those that are shared included."""
    stages = [path.parent.name for path in one.folder.glob(f"*/{MANIFEST_FILE}")]
    own = [stage for stage in stages if stage not in SYSTEMS or stage == one.recipe.prior.system]
    return sum(one.read_stage_manifest(stage).facts["seconds"] for stage in own) / 60
