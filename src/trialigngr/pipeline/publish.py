"""What stands at the top of a run folder: for people and tools, made from the stages below it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.datasets.remote import DataSource
from trialigngr.evaluate.metrics_json import build_test_figures, find_broken_law, round_figures
from trialigngr.evaluate.seen_items import find_head_counting
from trialigngr.evaluate.target_lists import TargetLists
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, TargetRanks
from trialigngr.evaluate.target_slices import TargetSlice, build_slices, compute_slice_figures
from trialigngr.foundation.artifact import check_file, is_finished, read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import TriAlignError
from trialigngr.foundation.files import copy_atomically
from trialigngr.foundation.sealed import write_json
from trialigngr.pipeline.stage_graph import StageContext, sort_wanted_specs
from trialigngr.pipeline.stages import list_stage_specs
from trialigngr.recipes.recipe import Recipe
from trialigngr.recipes.written import write_recipe_file
from trialigngr.report.from_run.page import write_report
from trialigngr.report.page import PipelineStep
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.run import Run
from trialigngr.runs.snapshot import TOLD, CatalogSnapshot
from trialigngr.sids.collisions import mark_shared_sids
from trialigngr.systems.registry import GENERATORS

PUBLISHED_FILES = ("metrics.json", "report.html", "recommendations.parquet", "sids.parquet")
"""What a finished run has at its top beside recipe.toml and model/."""


def remove_published_files(out: Path) -> None:
    """Remove what stands at the top: the stages below are about to change, and it would tell of others."""
    for name in (*PUBLISHED_FILES, "diagnostics.json", "diagnostics.txt"):
        (out / name).unlink(missing_ok=True)


def write_recipe(recipe: Recipe, data: DataSource | None, out: Path, seeds: int) -> None:
    """Write ``recipe.toml``, whose first line says how to repeat the run."""
    options = ["--data", str(data)] if data is not None else []
    options += ["--seeds", str(seeds)] if seeds > 1 else []
    words = ["trialigngr", "run", f"{out.name}/recipe.toml", *options, "--out", "ANOTHER_FOLDER"]
    command = "".join(letter if letter.isprintable() else " " for letter in shlex.join(words))
    write_recipe_file(out / "recipe.toml", f"Repeats this run: {command}", recipe.to_toml())


def publish_file(stage: str, name: str, out: Path) -> None:
    """Put a copy of a stage's file at the top."""
    copy_atomically(check_file(out / stage / name), out / name)


def publish_sids(recipe: Recipe, out: Path) -> None:
    """Put the SIDs of what can be recommended at the top: the run's own, those appended, without those withdrawn."""
    live = CatalogSnapshot(RunArtifacts(recipe, out))
    live.available_sids.save(out, **({TOLD: str(len(live.withdrawn_items))} if live.withdrawn_items else {}))


def publish_run(recipe: Recipe, out: Path, seeds: int) -> None:
    """Write ``metrics.json``, ``recommendations.parquet`` and ``report.html``; say the headline."""
    body = build_metrics(recipe, out, seeds)
    for where, figures in _iterate_figure_rows(body):
        if fault := find_broken_law(figures):
            raise TriAlignError(f"{out}/metrics.json was not written: {where}: {fault}")
    publish_file("evaluation", "recommendations.parquet", out)
    write_json(out / "metrics.json", body)
    write_run_report(Run(out))
    masked = find_head_counting(body["protocol"]["seen_items"]) == SEEN_MASKED
    headline = body["test_seen_masked" if masked else "test"]["HR@10"]
    log(
        f"test HR@10{', seen items masked,' if masked else ''} {headline['value']:.4f} "
        f"[{headline['low']:.4f}, {headline['high']:.4f}]; look at {out}/report.html"
    )


def write_run_report(run: Run) -> Path:
    """Write ``report.html`` at the top of a run and return its path."""
    return write_report(run, describe_steps(run))


def describe_steps(run: Run) -> tuple[PipelineStep, ...]:
    """Return the boxes of the picture of the stages: what each stage of the run says of itself."""
    context = StageContext(run.recipe, None, run.artifacts)
    made = [spec for spec in sort_wanted_specs(list_stage_specs(), context) if is_finished(run.folder / spec.name)]
    return tuple(box for spec in made for box in spec.fact_lines(run.recipe, run.read_stage_manifest(spec.name).facts))


def _iterate_figure_rows(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row of figures that is about to be published, and what it is called."""
    for name in ("test", "test_seen_masked", "test_sid", "valid"):
        yield name, body[name]
    for name in ("baselines", "baselines_seen_masked"):
        yield from ((f"{name}, {system}", figures) for system, figures in body[name].items())
    for part in body["slices"]:
        yield from ((f"{part['name']}, {system}", figures) for system, figures in part["figures"].items())


def build_metrics(recipe: Recipe, out: Path, seeds: int) -> dict[str, Any]:
    """Return ``metrics.json``: protocol, test, valid, baselines, sids; and beside them other ways of counting, what the
    lists are like, and the figures of slices."""
    ks = recipe.evaluate.list_lengths
    every = [RunArtifacts(recipe, out, seed) for seed in range(seeds)]
    tests = [TargetRanks.load(parts.seed_folder / "evaluation" / "test.parquet") for parts in every]
    valid = TargetRanks.load(out / "evaluation" / "valid.parquet")
    listed = compute_list_figures(every[0], ks)
    counting = find_head_counting(every[0].seen_items.description)
    body = {
        "protocol": build_protocol(every[0], tests[0], valid, seeds)
        | {"invalid_rate": listed["lists"][tests[0].head]["invalid"]},
        **build_test_figures(tests[0], ks, counting),
        **listed,
        "slices": compute_slice_figures(tests[0], _build_test_slices(every[0], tests[0]), ks, counting),
        "valid": round_figures(valid.compute_figures(valid.head, ITEM, ks)),
        "sids": _summarize_sids(every[0]),
    }
    return body if seeds == 1 else body | {"over_seeds": summarize_seeds(tests, ks, counting)}


def compute_list_figures(artifacts: RunArtifacts, ks: tuple[int, ...]) -> dict[str, Any]:
    """Return what the lists of every system are like, with nothing masked and with seen items masked."""
    histories, counts_N = artifacts.histories, artifacts.histories.count_train_items(len(artifacts.catalog))
    taken = histories.train_rows
    lists = TargetLists.load(artifacts.seed_folder / "evaluation" / "lists.parquet")
    return {
        "lists": lists.compute_list_metrics(ITEM, ks, counts_N, taken),
        "lists_seen_masked": lists.compute_list_metrics(SEEN_MASKED, ks, counts_N, taken),
    }


def _build_test_slices(artifacts: RunArtifacts, test: TargetRanks) -> list[TargetSlice]:
    counts_N = artifacts.histories.count_train_items(len(artifacts.catalog))
    wanted_M = np.array([artifacts.catalog.find_row(item_id) for item_id in test.item_ids], dtype=np.int64)
    return build_slices(counts_N, wanted_M, test.positions_M)


def build_protocol(artifacts: RunArtifacts, test: TargetRanks, valid: TargetRanks, seeds: int) -> dict[str, Any]:
    """Return what the figures mean: everything that must be equal for two tables to be comparable."""
    recipe, catalog = artifacts.recipe, artifacts.recipe.catalog
    facts = read_manifest(artifacts.seed_folder / "evaluation").facts
    return {
        "data": read_manifest(artifacts.run_folder / "catalog").facts["kept"],
        "split": f"{catalog.split}-{catalog.leave_last_n}" if catalog.split == "leave-last" else catalog.split,
        "k_core": catalog.k_core,
        "max_history": facts["max_history"][test.head] or "all",
        "max_history_beside": ", ".join(
            f"{name} {shown or 'all'}"
            for name, shown in facts["max_history"].items()
            if name not in (*GENERATORS, test.head)
        ),
        "test_history": "contains the validation items",
        "seen_items": artifacts.seen_items.description,
        "level": "item; items that share a SID take its places in random order (SID level beside)",
        "candidates": f"the whole catalogue, {len(artifacts.catalog):,} items",
        "task": recipe.tasks.find_recommendation_task().name if test.head in GENERATORS else f"next item, {test.head}",
        "num_beams": facts["num_beams"],
        "score_softmax": recipe.decode.score_softmax,
        "prior": recipe.prior.describe(),
        "precision": recipe.decode.precision,
        "test_users": len(set(test.user_ids)),
        "test_targets": len(test.user_ids),
        "valid_users": len(set(valid.user_ids)),
        "selection": "validation NDCG@10",
        "seeds": [recipe.seed + seed for seed in range(seeds)],
        "interval": "95 %, bootstrap over users",
    }


def _summarize_sids(artifacts: RunArtifacts) -> dict[str, Any]:
    """Return what their stage says of the SIDs, and the share of test targets whose SID names another item too; nothing
    where there are none."""
    stage = artifacts.recipe.shown_sids_stage
    if stage is None:
        return {}
    facts = read_manifest(artifacts.run_folder / stage).facts
    wanted = artifacts.histories.target_items(artifacts.histories.list_targets("test"))
    shared = float(mark_shared_sids(artifacts.load_sids(stage).codes_NL)[wanted].mean())
    kept_facts = {name: value for name, value in facts.items() if name != "seconds"}
    return kept_facts | {"collisions": {**facts["collisions"], "test_targets": shared}}


def summarize_seeds(tests: list[TargetRanks], ks: tuple[int, ...], counting: str) -> dict[str, Any]:
    """Return each metric's mean, spread (standard deviation, n − 1) and values over models of different seeds."""
    by_seed = [
        {name: figure.value for name, figure in test.compute_figures(test.head, counting, ks).items()} for test in tests
    ]
    return {
        name: {
            "mean": round(float(np.mean([figures[name] for figures in by_seed])), 6),
            "spread": round(float(np.std([figures[name] for figures in by_seed], ddof=1)), 6),
            "values": [round(figures[name], 6) for figures in by_seed],
        }
        for name in by_seed[0]
    }
