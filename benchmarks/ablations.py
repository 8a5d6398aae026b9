"""The drawn shop without CMSA, without MDIM, without either, and with fewer tasks: three seeds, paired on users.

All train as the first measurements did, in steps of one task each (`BASE`), and for the same number of steps; with
fewer tasks, one more run sees as many next-item examples (T3) as the whole does, and no more. Fewer tasks are tried on
a young shop, too: a third of the shoppers, the last four items of each held out, six examples of T3 an item, finer
codes, and tasks about single items first.

A seed is that of SIDs and model; the shop stays the same. In the control, looks and interests were shuffled among the
items after the log was made, so that captions and interests are true of nothing. ``TRIALIGNGR_BENCH_RUNS`` names a
folder to work in; what is finished there is kept. ``TRIALIGNGR_BENCH_STEPS`` cuts training for a trial.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import Check
from trialigngr.evaluate.target_ranks import ITEM, TargetRanks
from trialigngr.metrics.intervals import Estimate, Float64Array, bootstrap_differences
from trialigngr.pipeline.execute import run
from trialigngr.recipes.recipe import read_recipe

SEEDS = (0, 1, 2)
BASE = "trialigngr-demo+one-task-a-step"
TRAINING = ("train.max_steps=1800", "train.validate_every=300", "train.loss_softmax=full")
METRIC = "HR@10"
WHOLE, NEITHER = "CMSA and MDIM", "neither"
VARIANTS = {
    WHOLE: "",
    "CMSA alone": "+no-mdim",
    "MDIM alone": "+no-cmsa",
    NEITHER: "+text-only",
    "T1 to T6": "+no-visual-tasks",
    "T3": "+t3-only",
}
"""What is run → the layers that are laid over the demonstration's recipe."""
YOUNG = {WHOLE: "+items-first", "T1 to T6": "+items-first+no-visual-tasks", "T3": "+t3-only"}
"""The same on the young shop."""
YOUNGER = (
    "shop.num_shoppers=1000",
    "catalog.leave_last_n=4",
    "sids.codebook_sizes=[128, 128, 128]",
    "train.max_steps=1200",
    "train.validate_every=150",
    "train.validate_users=1000",
)
INPUTS = (WHOLE, "CMSA alone", "MDIM alone")
GAINS = (*((name, NEITHER) for name in INPUTS), (WHOLE, "T1 to T6"), (WHOLE, "T3"))
FEWER = ("T1 to T6", "T3")
SHUFFLED = ("shop.shuffle_visuals=true", "shop.shuffle_interests=true")


def measure() -> list[Check]:
    """Return each gain in HR@10 with its interval, on the shop and in the control."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ.get("TRIALIGNGR_BENCH_RUNS", scratch))
        true = {name: _tested(folder / "shop", name, layers) for name, layers in VARIANTS.items()}
        alike = {name: _tested(folder / "alike", name, VARIANTS[name], _alike(name), SEEDS[:1]) for name in FEWER}
        shuffled = (*INPUTS, NEITHER)
        control = {name: _tested(folder / "shuffled", name, VARIANTS[name], SHUFFLED) for name in shuffled}
        young = {name: _tested(folder / "young", name, layers, YOUNGER) for name, layers in YOUNG.items()}
        untrue = {
            name: _tested(folder / "young, shuffled", name, YOUNG[name], (*YOUNGER, *SHUFFLED), SEEDS[:1])
            for name in (WHOLE, "T1 to T6")
        }
    checks = []
    for name, without in GAINS:
        gain = _gain(true[name], true[without])
        checks.append(
            Check(f"{name} − {without}: {METRIC} {_told(gain)}", gain.value, "interval above 0", gain.low > 0)
        )
    for name, tested in alike.items():
        gain = _gain(true[WHOLE][:1], tested)
        words = f"{WHOLE} − {name}, as many T3 examples, one seed: {METRIC} {_told(gain)}"
        checks.append(Check(words, gain.value, "interval above 0", gain.low > 0))
    for name in FEWER:
        gain = _gain(young[WHOLE], young[name])
        words = f"young shop: {WHOLE} − {name}: {METRIC} {_told(gain)}"
        checks.append(Check(words, gain.value, "interval above 0", gain.low > 0))
    for name in INPUTS:
        gain = _gain(control[name], control[NEITHER])
        checks.append(Check(f"shuffled: {name} − {NEITHER}: {_told(gain)}", gain.value, "not above 0", gain.low <= 0))
    gain = _gain(untrue[WHOLE], untrue["T1 to T6"])
    words = f"young shop, shuffled: {WHOLE} − T1 to T6, one seed: {_told(gain)}"
    return [*checks, Check(words, gain.value, "not above 0", gain.low <= 0)]


def _alike(name: str) -> tuple[str, ...]:
    """Return the change that gives a variant as many examples of T3 as the whole recipe has."""
    (steps, share), (_, own) = (_t3(f"{BASE}{VARIANTS[one]}") for one in (WHOLE, name))
    return (f"train.max_steps={round(steps * share / own)}",)


def _t3(recipe: str) -> tuple[int, float]:
    """Return a recipe's steps, and the share of them that are of T3."""
    read = read_recipe(recipe, TRAINING)
    assert read.train.max_steps is not None
    weights = read.tasks.task_weights()
    return read.train.max_steps, weights["sids_to_sid"] / sum(weights.values())


def _tested(
    folder: Path, name: str, layers: str, changes: tuple[str, ...] = (), seeds: Sequence[int] = SEEDS
) -> list[TargetRanks]:
    """Return the test ranks of a variant, one a seed."""
    steps = os.environ.get("TRIALIGNGR_BENCH_STEPS")
    cut = (f"train.max_steps={steps}", f"train.validate_every={steps}") if steps else ()
    kept = [folder / f"{name}-{seed}.parquet" for seed in seeds]
    for seed, path in zip(seeds, kept, strict=True):
        if not path.exists():
            out = folder / name
            own = (*TRAINING, *changes, *cut, f"seed={seed}", f"sids.seed={seed}")
            run(f"{BASE}{layers}", None, out, changes=own)
            shutil.copyfile(out / "evaluation" / "test.parquet", path)
    found = [TargetRanks.load(path) for path in kept]
    means = [values.mean() for values in _values(found)]
    print(f"{folder.name}, {name}: {METRIC} {np.mean(means):.4f} (seeds: {', '.join(f'{one:.4f}' for one in means)})")
    return found


def _values(tested: list[TargetRanks]) -> list[Float64Array]:
    return [one.compute_values("model", ITEM, [10])[METRIC] for one in tested]


def _gain(ours: list[TargetRanks], theirs: list[TargetRanks]) -> Estimate:
    """Return the difference of the means over seeds, paired on the same targets, with its interval over users."""
    ours[0].check_same_targets(theirs[0])
    mine_M, other_M = (np.mean(_values(tested), axis=0) for tested in (ours, theirs))
    return bootstrap_differences({METRIC: mine_M}, {METRIC: other_M}, ours[0].users_M)[METRIC]


def _told(found: Estimate) -> str:
    return f"[{found.low:+.4f}, {found.high:+.4f}]"
