"""A run as others may have it: what recommending takes, and nothing that is private to the log or to the machine.

Fingerprints and contents stay those of the run, so that what belongs together is still seen to; the files are listed
anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trialigngr.catalog.items import ITEM_COLUMNS
from trialigngr.enrich.caption_table import CAPTIONS_FILE
from trialigngr.foundation.artifact import check_stage, read_manifest, record_files, write_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.images.records import IMAGES_FILE, IMAGES_SCHEMA
from trialigngr.pipeline.model_card import format_front_matter, format_model_card, make_public_recipe
from trialigngr.recipes.model_settings import PhaseStageSettings, SystemStageSettings
from trialigngr.recipes.recipe import Recipe
from trialigngr.recipes.written import write_recipe_file
from trialigngr.runs.hub_runs import SUFFIXES
from trialigngr.runs.run import Run
from trialigngr.runs.snapshot import WITHDRAWN_FILE
from trialigngr.train.phases import find_phases

EVERYBODY = "everybody"
"""The one user of a run without users: what was taken, so often as it was taken, in the order of the catalogue."""
KEPT_FACTS = frozenset({"examples"})
UNUSED_FILES = ("metrics.jsonl", "README.md")


def write_public_run(run: Run, out: Path, *, name: str, license_name: str = "", with_users: bool = False) -> None:
    """Write what others need of a finished run into ``out``, with a model card at its top.

    ``with_users`` leaves who took what in it. Raises `ArtifactError` for a run whose parts do not belong together, and
    for a file of a kind that is not published.
    """
    run.check_metrics()
    if run.catalog_snapshot.batch_folders:
        log(f"{run.folder}: items that were appended are left out; a run is pushed as it was trained")
    recipe = _resolve_seen_items(make_public_recipe(run.recipe), run)
    for stage, names in _list_published_files(run).items():
        _copy_stage(run.folder / stage, out / stage, names, _read_public_settings(recipe, stage))
    _strip_catalog(out / "catalog", run, with_users)
    _strip_captions(out / "captions")
    if (run.folder / WITHDRAWN_FILE).is_file():
        shutil.copyfile(run.folder / WITHDRAWN_FILE, out / WITHDRAWN_FILE)
    write_recipe_file(out / "recipe.toml", f"The recipe of {name}", recipe.to_toml())
    write_text_atomically(out / "README.md", _format_card(run, name, license_name))


def _resolve_seen_items(recipe: Recipe, run: Run) -> Recipe:
    """Return the recipe with what its rule for seen items came to: without the log nobody could tell any more."""
    masks = run.artifacts.seen_items.masks_recommendations
    evaluate = recipe.evaluate.model_copy(update={"seen_items": "mask" if masks else "keep"})
    return recipe if recipe.evaluate.seen_items is None else recipe.model_copy(update={"evaluate": evaluate})


def _list_published_files(run: Run) -> dict[str, tuple[str, ...] | None]:
    """Return stage → the files of it that are published; None for all. Some are there for their manifest alone."""
    recipe = run.recipe
    stages: dict[str, tuple[str, ...] | None] = dict.fromkeys(run.read_stage_manifest("model").contents, ())
    stages |= dict.fromkeys((phase.stage for phase in find_phases(recipe.phases)), ())
    stages |= {recipe.model_stage: None, "sids": ("sids.parquet",), "captions": (CAPTIONS_FILE,)}
    stages["catalog"] = ("items.parquet", "histories.parquet", IMAGES_FILE, "source.json")
    if recipe.model.items.hidden_size:
        stages["embeddings"] = ("embeddings.safetensors",)
    if recipe.prior.has_say:
        stages[recipe.prior.system] = None
    return stages


def _read_public_settings(recipe: Recipe, stage: str) -> Mapping[str, Any]:
    """Return what a published stage says of its settings: what is compared with the recipe when it is opened."""
    for phase in find_phases(recipe.phases):
        if phase.stage == stage:
            return PhaseStageSettings.from_phase(recipe, phase, 0).model_dump(mode="json")
    if stage == recipe.prior.system:
        return SystemStageSettings.from_recipe(recipe, stage).model_dump(mode="json")
    return {}


def _copy_stage(source: Path, to: Path, names: tuple[str, ...] | None, settings: Mapping[str, Any]) -> None:
    """Copy files of a stage (None: all but what tells how it went) and its manifest, without facts but those that are
    asked of a model: how many examples of which task it was trained on."""
    manifest = check_stage(source) if names != () else read_manifest(source)
    chosen = [name for name in manifest.files if name not in UNUSED_FILES] if names is None else list(names)
    for name in chosen:
        if not name.endswith(SUFFIXES):
            raise ArtifactError(f"{source / name} is no file that is published; those are {', '.join(SUFFIXES)}.")
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, to / name)
    to.mkdir(parents=True, exist_ok=True)
    files = {name: manifest.files[name] for name in chosen}
    facts = {name: manifest.facts[name] for name in KEPT_FACTS & manifest.facts.keys()}
    write_manifest(to, replace(manifest, settings=dict(settings), facts=facts, files=files))


def _strip_catalog(folder: Path, run: Run, with_users: bool) -> None:
    """Leave of the items their ids and texts, and of the log how often each was taken."""
    items = read_table(run.folder / "catalog" / "items.parquet").select(*ITEM_COLUMNS)
    no_image = pl.lit(None, pl.String)
    write_table(items.with_columns(image_path=no_image, image_url=no_image), folder / "items.parquet")
    write_table(pl.DataFrame(schema=IMAGES_SCHEMA), folder / IMAGES_FILE)
    write_text_atomically(folder / "source.json", json.dumps({"root": ".", "images": "images"}) + "\n")
    if not with_users:
        counts_N = run.artifacts.histories.count_train_items(len(run.artifacts.catalog))
        taken = np.repeat(np.arange(len(counts_N)), counts_N)
        columns = {
            "user_id": [EVERYBODY],
            "items": [taken.tolist()],
            "valid_from": [len(taken)],
            "test_from": [len(taken)],
        }
        write_table(pl.DataFrame(columns, strict=False), folder / "histories.parquet")
    _record_changed_files(folder)


def _strip_captions(folder: Path) -> None:
    """Leave the captions, and not what wrote them: that may be the name of a folder."""
    table = read_table(folder / CAPTIONS_FILE)
    write_table(table.with_columns(generator=pl.lit(""), problem=pl.lit(None, pl.String)), folder / CAPTIONS_FILE)
    _record_changed_files(folder)


def _record_changed_files(folder: Path) -> None:
    """List the files of a stage as they are now; what it holds for those made from it stays what it was."""
    content = read_manifest(folder).content
    record_files(folder)
    write_manifest(folder, replace(read_manifest(folder), content=content))


def _format_card(run: Run, name: str, license_name: str) -> str:
    """Return the model card with the figures of the test in the form that the hub reads."""
    phase = find_phases(run.recipe.phases)[-1]
    facts = run.read_stage_manifest(phase.stage).facts
    front_matter = format_front_matter(run.recipe, license_name, name, run.metrics)
    return format_model_card(run.artifacts, facts, phase, front_matter)
