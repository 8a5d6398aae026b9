"""Finished runs side by side, on the same targets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.evaluate.comparison import (
    DEFAULT_METRICS,
    LIST_METRICS,
    TRAINING_COSTS,
    Comparison,
    PairedComparison,
    SliceRows,
    SystemRow,
)
from trialigngr.evaluate.paper_results import find_paper_rows
from trialigngr.evaluate.seen_items import find_head_counting
from trialigngr.evaluate.target_lists import TargetLists
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, SID, TargetRanks
from trialigngr.foundation.artifact import is_finished
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.metrics.intervals import (
    Estimate,
    Float64Array,
    adjust_p_values,
    bootstrap_differences,
    bootstrap_p_values,
)
from trialigngr.pipeline.publish import compute_list_figures
from trialigngr.runs.run import Run, load
from trialigngr.systems.registry import GENERATORS, SYSTEMS

MetricValues = dict[str, Float64Array]

RANKING_METRICS, LIST_METRIC_NAMES = ("HR", "NDCG", "MRR"), ("Coverage", "Novelty", "PopularityBias")
"""Metrics with a value a target, which have intervals and are compared; and those of all lists together."""
COUNTING_LABELS = {ITEM: "nothing masked", SEEN_MASKED: "seen masked", SID: "SID level"}
"""Ways of counting, and what they are called beside the one that heads a table."""

_METRIC = re.compile(rf"({'|'.join((*RANKING_METRICS, *LIST_METRIC_NAMES))})@[1-9]\d{{0,4}}")


def compare_runs(
    folders: Sequence[Path], metrics: Sequence[str] = DEFAULT_METRICS, *, with_slices: bool = False
) -> Comparison:
    """Return the runs, the first one's baselines, and the first against all of them; ``with_slices`` adds the slices.

    Metrics of lists among ``metrics`` become columns of the table of lists, in the place of its own.

    Raises `ArtifactError` when the runs were tested on different targets or with lists too short for a metric, for a
    folder of stages of different runs, and for a run given twice; `RecipeError` for a metric that is none.
    """
    ranked, of_lists = _split_metrics(metrics)
    runs, names, ks = (
        [load(folder) for folder in folders],
        unique_run_names(folders),
        _list_lengths((*ranked, "MRR@10")),
    )
    tests = [TargetRanks.load(run.folder / "evaluation" / "test.parquet") for run in runs]
    for run in runs:
        _check_list_length(run, max(ks))
        run.check_metrics()
    first, said = tests[0], runs[0].metrics
    counting = find_head_counting(said["protocol"]["seen_items"])
    baselines = [system for system in first.ranks if system != first.head]
    lists = [_load_list_figures(run, of_lists) for run in runs]
    lines = [
        _describe_run(name, run, test, own[test.head], ks, counting)
        for name, run, test, own in zip(names, runs, tests, lists, strict=True)
    ]
    lines += [
        SystemRow(
            system,
            first.compute_figures(system, counting, ks),
            None,
            lists[0][system],
            read_training_cost(runs[0], system),
        )
        for system in baselines
    ]
    others = {}
    for name, test in zip(names[1:], tests[1:], strict=True):
        first.check_same_targets(test)
        others[name] = test.compute_values(test.head, counting, ks)
    others |= {system: first.compute_values(system, counting, ks) for system in baselines}
    return Comparison(
        said["protocol"],
        tuple(lines),
        _compare_with_first(first.compute_values(first.head, counting, ks), others, ranked, first.users_M),
        ranked,
        {
            name: own
            for name, run in zip(names[1:], runs[1:], strict=True)
            if (own := _protocol_difference(said["protocol"], run))
        },
        find_paper_rows(said["protocol"]["data"], [SYSTEMS[name].label for name in baselines if name in SYSTEMS]),
        _merge_slices(names, runs) if with_slices else (),
        ("MRR@10", *of_lists, "invalid") if of_lists else LIST_METRICS,
        _build_alternative_rows([*zip(names, tests, strict=True)], baselines, ks, counting),
    )


def _describe_run(
    name: str, run: Run, test: TargetRanks, list_figures: Mapping[str, float], ks: Sequence[int], counting: str
) -> SystemRow:
    """Return the figures of the system that heads a run."""
    figures, metrics = test.compute_figures(test.head, counting, ks), run.metrics
    return SystemRow(name, figures, metrics.get("over_seeds"), list_figures, read_training_cost(run, test.head))


def read_training_cost(run: Run, system: str) -> dict[str, float]:
    """Return the seconds that fitting a system took, and its parameters where it has some; they are of one machine and
    hour, so they stand in its manifest and not among the figures. Nothing where its stage is gone."""
    stage = run.recipe.model_stage if system in GENERATORS else system
    if not is_finished(run.folder / stage):
        return {}
    facts = run.read_stage_manifest(stage).facts
    return {name: facts[name] for name in TRAINING_COSTS if name in facts}


def _split_metrics(metrics: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the metrics with a value a target, or else `DEFAULT_METRICS`; and those of lists."""
    if wrong := [metric for metric in metrics if not _METRIC.fullmatch(metric)]:
        *first, last = (f"{name}@K" for name in (*RANKING_METRICS, *LIST_METRIC_NAMES))
        raise RecipeError(f"There is no metric {wrong[0]!r}; give {', '.join(first)} or {last}, such as HR@20.")
    ranked = tuple(metric for metric in metrics if metric.startswith(RANKING_METRICS))
    return ranked or DEFAULT_METRICS, tuple(metric for metric in metrics if metric.startswith(LIST_METRIC_NAMES))


def _list_lengths(metrics: Sequence[str]) -> list[int]:
    """Return every K that is asked for."""
    return sorted({int(metric.partition("@")[2]) for metric in metrics})


def _check_list_length(run: Run, max_k: int) -> None:
    if max_k > (beams := run.metrics["protocol"]["num_beams"]):
        raise ArtifactError(
            f"{run.folder} was tested with {beams} beams, too few for lists of {max_k}; "
            f"run it again with --set evaluate.ks=[{max_k}]."
        )


def _load_list_figures(run: Run, metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return what the lists of each system of a run are like; what ``metrics.json`` does not tell is counted now."""
    stored: dict[str, dict[str, float]] = run.metrics["lists"]
    head = run.recipe.evaluate.head
    if not (ks := _list_lengths([metric for metric in metrics if metric not in stored[head]])):
        return stored
    kept = TargetLists.load(run.folder / "evaluation" / "lists.parquet").lists[head][ITEM].shape[1]
    if max(ks) > kept:
        raise ArtifactError(
            f"{run.folder} kept lists of {kept}, too short for metrics of {max(ks)}; "
            f"run it again with --set evaluate.ks=[{max(ks)}]."
        )
    counted = compute_list_figures(run.artifacts, tuple(ks))["lists"]
    return {system: counted[system] | figures for system, figures in stored.items()}


def _build_alternative_rows(
    tests: Sequence[tuple[str, TargetRanks]], baselines: Sequence[str], ks: Sequence[int], head_counting: str
) -> tuple[SystemRow, ...]:
    """Return the runs and the first one's baselines in the other ways that each was counted, way by way."""
    systems = [*((name, test.head, test) for name, test in tests), *((name, name, tests[0][1]) for name in baselines)]
    return tuple(
        SystemRow(f"{name}, {words}", test.compute_figures(system, way, ks))
        for way, words in COUNTING_LABELS.items()
        for name, system, test in systems
        if way != head_counting and way in test.ranks[system]
    )


def _compare_with_first(
    first: MetricValues, others: dict[str, MetricValues], metrics: Sequence[str], users_M: npt.NDArray[np.int64]
) -> tuple[PairedComparison, ...]:
    """Return the first line against every other; all are tested on the same resampled users, which is also quicker."""
    if not others:
        return ()
    pairs = [(name, metric) for name in others for metric in metrics]
    mine, theirs = {(name, m): first[m] for name, m in pairs}, {(name, m): others[name][m] for name, m in pairs}
    differences, p = (
        bootstrap_differences(mine, theirs, users_M),
        adjust_p_values(bootstrap_p_values(mine, theirs, users_M)),
    )
    return tuple(
        PairedComparison(name, {m: differences[name, m] for m in metrics}, {m: p[name, m] for m in metrics})
        for name in others
    )


def _protocol_difference(first_protocol: dict[str, Any], run: Run) -> dict[str, Any]:
    """Return the entries of a run's protocol that are not the first run's."""
    own = run.metrics["protocol"]
    return {name: own.get(name) for name in first_protocol if own.get(name) != first_protocol[name]}


def _merge_slices(names: Sequence[str], runs: Sequence[Run]) -> tuple[SliceRows, ...]:
    """Return the slices of all runs; a run has no figures for one that it has not got, by name, rule and size."""
    every = [
        {(part["name"], part["rule"], part["targets"]): part["figures"] for part in run.metrics["slices"]}
        for run in runs
    ]
    found, heads = [], [run.recipe.evaluate.head for run in runs]
    for part in dict.fromkeys(key for own in every for key in own):
        systems = {name: own.get(part, {}).get(head, {}) for name, own, head in zip(names, every, heads, strict=True)}
        systems |= {system: figures for system, figures in every[0].get(part, {}).items() if system != heads[0]}
        found.append(SliceRows(*part, {system: _parse_estimates(figures) for system, figures in systems.items()}))
    return tuple(found)


def _parse_estimates(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
    return {metric: Estimate(**figure) for metric, figure in figures.items()}


def unique_run_names(folders: Sequence[Path]) -> list[str]:
    """Return what each run is called in a table: its folder's name, or the whole path where two have the same.

    Raises `ArtifactError` for a run given twice.
    """
    paths = [folder.resolve() for folder in folders]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ArtifactError(f"{min(twice)} is given twice; compare each run once.")
    names = [path.name for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
