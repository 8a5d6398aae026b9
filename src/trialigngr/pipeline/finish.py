"""What stands at the top of a run folder: for people and tools, made from the stages below it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.evaluate.figures import impossible, rounded, test_figures
from trialigngr.evaluate.lists import TargetLists
from trialigngr.evaluate.slices import Slice, slice_figures, slices
from trialigngr.evaluate.targets import ITEM, UNSEEN, TargetRanks
from trialigngr.foundation.artifact import check_file, read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import TriAlignError
from trialigngr.foundation.files import copy_atomically
from trialigngr.foundation.sealed import write_json
from trialigngr.recipes.recipe import Recipe
from trialigngr.recipes.written import write_recipe_file
from trialigngr.report.from_run.page import write_report
from trialigngr.runs.artifacts import Parts, recommending_task
from trialigngr.runs.run import Run
from trialigngr.runs.snapshot import TOLD, LiveParts
from trialigngr.sids.collisions import sharing

MADE = ("metrics.json", "report.html", "recommendations.parquet", "sids.parquet")
"""What a finished run has at its top beside recipe.toml and model/."""


def withdraw(out: Path) -> None:
    """Remove what stands at the top: the stages below are about to change, and it would tell of others."""
    for name in (*MADE, "diagnostics.json", "diagnostics.txt"):
        (out / name).unlink(missing_ok=True)


def write_recipe(recipe: Recipe, data: Path | None, out: Path, seeds: int) -> None:
    """Write ``recipe.toml``, whose first line says how to repeat the run."""
    options = ["--data", str(data)] if data is not None else []
    options += ["--seeds", str(seeds)] if seeds > 1 else []
    words = ["trialigngr", "run", f"{out.name}/recipe.toml", *options, "--out", "ANOTHER_FOLDER"]
    command = "".join(letter if letter.isprintable() else " " for letter in shlex.join(words))
    write_recipe_file(out / "recipe.toml", f"Repeats this run: {command}", recipe.to_toml())


def publish(stage: str, name: str, out: Path) -> None:
    """Put a copy of a stage's file at the top."""
    copy_atomically(check_file(out / stage / name), out / name)


def publish_sids(recipe: Recipe, out: Path) -> None:
    """Put the SIDs of what can be recommended at the top: the run's own, those appended, without those withdrawn."""
    live = LiveParts(Parts(recipe, out))
    live.offered.save(out, **({TOLD: str(len(live.withdrawn))} if live.withdrawn else {}))


def finish(recipe: Recipe, out: Path, seeds: int) -> None:
    """Write ``metrics.json``, ``recommendations.parquet`` and ``report.html``; say the headline."""
    body = metrics(recipe, out, seeds)
    for where, figures in _tables(body):
        if fault := impossible(figures):
            raise TriAlignError(f"{out}/metrics.json was not written: {where}: {fault}")
    publish("evaluation", "recommendations.parquet", out)
    write_json(out / "metrics.json", body)
    write_report(Run(out))
    headline = body["test"]["HR@10"]
    log(
        f"test HR@10 {headline['value']:.4f} [{headline['low']:.4f}, {headline['high']:.4f}]; look at {out}/report.html"
    )


def _tables(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row of figures that is about to be published, and what it is called."""
    for name in ("test", "test_unseen", "test_sid", "valid"):
        yield name, body[name]
    for name in ("baselines", "baselines_unseen"):
        yield from ((f"{name}, {system}", figures) for system, figures in body[name].items())
    for part in body["slices"]:
        yield from ((f"{part['name']}, {system}", figures) for system, figures in part["figures"].items())


def metrics(recipe: Recipe, out: Path, seeds: int) -> dict[str, Any]:
    """Return ``metrics.json``: protocol, test, valid, baselines, sids; and beside them other ways of counting, what the
    lists are like, and the figures of slices."""
    ks = recipe.evaluate.lengths
    every = [Parts(recipe, out, seed) for seed in range(seeds)]
    tests = [TargetRanks.load(parts.own / "evaluation" / "test.parquet") for parts in every]
    valid = TargetRanks.load(out / "evaluation" / "valid.parquet")
    listed = list_figures(every[0], ks)
    body = {
        "protocol": protocol(every[0], tests[0], valid, seeds) | {"invalid_rate": listed["lists"]["model"]["invalid"]},
        **test_figures(tests[0], ks),
        **listed,
        "slices": slice_figures(tests[0], _slices(every[0], tests[0]), ks),
        "valid": rounded(valid.figures("model", ITEM, ks)),
        "sids": _sids(every[0]),
    }
    return body if seeds == 1 else body | {"over_seeds": over_seeds(tests, ks)}


def list_figures(parts: Parts, ks: tuple[int, ...]) -> dict[str, Any]:
    """Return what the lists of every system are like, with nothing masked and with seen items masked."""
    histories, counts_N = parts.histories, parts.histories.popularity(len(parts.catalog))
    taken = histories.trained
    lists = TargetLists.load(parts.own / "evaluation" / "lists.parquet")
    return {
        "lists": lists.figures(ITEM, ks, counts_N, taken),
        "lists_unseen": lists.figures(UNSEEN, ks, counts_N, taken),
    }


def _slices(parts: Parts, test: TargetRanks) -> list[Slice]:
    counts_N = parts.histories.popularity(len(parts.catalog))
    wanted_M = np.array([parts.catalog.row(item_id) for item_id in test.item_ids], dtype=np.int64)
    return slices(counts_N, wanted_M, test.positions_M)


def protocol(parts: Parts, test: TargetRanks, valid: TargetRanks, seeds: int) -> dict[str, Any]:
    """Return what the figures mean: everything that must be equal for two tables to be comparable."""
    recipe, catalog = parts.recipe, parts.recipe.catalog
    return {
        "data": read_manifest(parts.out / "catalog").facts["kept"],
        "split": f"{catalog.split}-{catalog.last}" if catalog.split == "leave-last" else catalog.split,
        "k_core": catalog.k_core,
        "history_cap": recipe.prompt.history_cap,
        "test_history": "contains the validation items",
        "seen_items": "not masked (masked beside)",
        "level": "item; items that share a SID take its places in random order (SID level beside)",
        "candidates": f"the whole catalogue, {len(parts.catalog):,} items",
        "task": recommending_task(recipe).name,
        "beams": read_manifest(parts.own / "evaluation").facts["beams"],
        "normalisation": recipe.decode.normalisation,
        "precision": recipe.decode.precision,
        "test_users": len(set(test.user_ids)),
        "test_targets": len(test.user_ids),
        "valid_users": len(set(valid.user_ids)),
        "selection": "validation NDCG@10",
        "seeds": [recipe.seed + seed for seed in range(seeds)],
        "interval": "95 %, bootstrap over users",
    }


def _sids(parts: Parts) -> dict[str, Any]:
    """Return what the stage says of its SIDs, and the share of test targets whose SID names another item too."""
    facts = read_manifest(parts.out / "sids").facts
    wanted = parts.histories.target_items(parts.histories.targets("test"))
    shared = float(sharing(parts.sids.codes_NL)[wanted].mean())
    told = {name: value for name, value in facts.items() if name != "seconds"}
    return told | {"collisions": {**facts["collisions"], "test_targets": shared}}


def over_seeds(tests: list[TargetRanks], ks: tuple[int, ...]) -> dict[str, Any]:
    """Return each metric's mean, spread (standard deviation, n − 1) and values over models of different seeds."""
    by_seed = [{name: figure.value for name, figure in test.figures("model", ITEM, ks).items()} for test in tests]
    return {
        name: {
            "mean": round(float(np.mean([figures[name] for figures in by_seed])), 6),
            "spread": round(float(np.std([figures[name] for figures in by_seed], ddof=1)), 6),
            "values": [round(figures[name], 6) for figures in by_seed],
        }
        for name in by_seed[0]
    }
