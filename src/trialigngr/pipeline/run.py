"""`run`: a recipe and a data folder become a run folder."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.evaluate.figures import impossible, rounded, test_figures
from trialigngr.evaluate.targets import ITEM, TargetRanks
from trialigngr.foundation.artifact import read_manifest, write_text_atomically
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError, RecipeError, TriAlignError, did_you_mean
from trialigngr.pipeline.loaded import Run
from trialigngr.pipeline.page import write_report
from trialigngr.pipeline.parts import Parts
from trialigngr.pipeline.stages import Stage, stages
from trialigngr.recipes.recipe import Recipe, read_recipe


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep a second process out of a run folder while this one writes to it."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(f"Another process is writing to {out}; wait for it, or use another folder.") from None
        yield


def run(
    recipe: str | Recipe,
    data: str | Path | None,
    out: str | Path,
    *,
    changes: tuple[str, ...] = (),
    seeds: int = 1,
    until: str | None = None,
) -> Run:
    """Run a recipe on a data folder (None: the drawn shop) into ``out`` and return the run.

    ``changes`` are ``a.b=value`` settings; ``seeds`` trains that many models; ``until`` stops after the stage of that
    name. Stages that are done with the same settings and inputs are kept. Raises `TriAlignError` for what can be mended.
    """
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, changes)
    folder, source = Path(out), None if data is None else Path(data)
    if seeds < 1:
        raise RecipeError(f"seeds = {seeds}: train at least one model.")
    plans = [stages(chosen, source, folder, seed) for seed in range(seeds)]
    names = [stage.name for stage in plans[0]]
    if until is not None and until not in names:
        raise RecipeError(
            f"There is no stage {until!r}; the stages are {', '.join(names)}.{did_you_mean(until, names)}"
        )
    with _alone(folder):
        _write_recipe(chosen, source, folder)
        _make(plans, until)
        if until is None or until == names[-1]:
            _finish(chosen, folder, seeds)
    return Run(folder)


def _make(plans: list[list[Stage]], until: str | None) -> None:
    made: set[Path] = set()
    for plan in plans:
        for stage in plan:
            if stage.folder not in made:
                stage.make()
                made.add(stage.folder)
            if stage.name == until:
                break


def _write_recipe(recipe: Recipe, data: Path | None, out: Path) -> None:
    source = f" --data {data}" if data is not None else ""
    head = f"# Repeats this run: trialigngr run {out.name}/recipe.toml{source} --out ANOTHER_FOLDER\n"
    write_text_atomically(out / "recipe.toml", head.replace("\r", " ") + recipe.to_toml())


def protocol(recipe: Recipe, test: TargetRanks, valid: TargetRanks, seeds: int) -> dict[str, Any]:
    """Return what the figures mean: everything that must be equal for two tables to be comparable."""
    catalog = recipe.catalog
    return {
        "split": f"{catalog.split}-{catalog.last}" if catalog.split == "leave-last" else catalog.split,
        "k_core": catalog.k_core,
        "history_cap": recipe.prompt.history_cap,
        "seen_items": "not masked (masked beside)",
        "level": "item; items that share a SID take its places in random order (SID level beside)",
        "candidates": "the whole catalogue",
        "test_history": "contains the validation items",
        "beams": recipe.decode.beams,
        "normalisation": recipe.decode.normalisation,
        "interval": "95 %, bootstrap over users",
        "test_users": len(set(test.user_ids)),
        "test_targets": len(test.user_ids),
        "valid_users": len(set(valid.user_ids)),
        "selection": "validation NDCG@10",
        "seeds": [recipe.seed + seed for seed in range(seeds)],
    }


def _finish(recipe: Recipe, out: Path, seeds: int) -> None:
    ks = tuple(sorted({5, 10, *recipe.evaluate.ks}))
    tests = [TargetRanks.load(Parts(recipe, out, seed).own / "evaluation" / "test.parquet") for seed in range(seeds)]
    valid = TargetRanks.load(out / "evaluation" / "valid.parquet")
    body: dict[str, Any] = {
        "protocol": protocol(recipe, tests[0], valid, seeds),
        **test_figures(tests[0], ks),
        "valid": rounded(valid.figures("model", ITEM, ks)),
        "sids": read_manifest(out / "sids").facts,
    }
    if fault := impossible(body["test"]):
        raise TriAlignError(f"{out}/metrics.json was not written: {fault}")
    if seeds > 1:
        body["over_seeds"] = _over_seeds(tests, ks)
    for name in ("recommendations.parquet",):
        shutil.copyfile(out / "evaluation" / name, out / name)
    shutil.copyfile(out / "sids" / "sids.parquet", out / "sids.parquet")
    write_text_atomically(out / "metrics.json", json.dumps(body, indent=2) + "\n")
    write_report(Run(out))
    figures = body["test"]["HR@10"]
    log(f"test HR@10 {figures['value']:.4f} [{figures['low']:.4f}, {figures['high']:.4f}]; look at {out}/report.html")


def _over_seeds(tests: list[TargetRanks], ks: tuple[int, ...]) -> dict[str, Any]:
    by_seed = [{name: figure.value for name, figure in test.figures("model", ITEM, ks).items()} for test in tests]
    return {
        name: {
            "mean": round(float(np.mean([figures[name] for figures in by_seed])), 6),
            "spread": round(float(np.std([figures[name] for figures in by_seed], ddof=1)), 6),
            "values": [round(figures[name], 6) for figures in by_seed],
        }
        for name in by_seed[0]
    }
