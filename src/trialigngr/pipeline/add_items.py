"""Growth of a finished run: new items go through the run's own stages, frozen, and its model can recommend them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from trialigngr.catalog.data_folder import find_items_file, read_items
from trialigngr.catalog.dataset import load_catalog
from trialigngr.catalog.fingerprint import fingerprint_items
from trialigngr.catalog.prepare import prepare_items
from trialigngr.embed.embeddings import FUSION_FILE, write_embeddings
from trialigngr.embed.fusion import Fusion
from trialigngr.enrich.captions import write_captions
from trialigngr.enrich.mining import sample_texts, write_interests
from trialigngr.foundation.artifact import APPENDED, check_stage, read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import CatalogError, RecipeError
from trialigngr.foundation.sealed import write_json
from trialigngr.llm.costs import CostEstimate
from trialigngr.pipeline.execute import lock_run_folder
from trialigngr.pipeline.llm_costs import check_stages, estimate_costs, may_cost
from trialigngr.pipeline.publish import publish_sids
from trialigngr.pipeline.stage_graph import Facts, Stage, StageContext, build_graph, need
from trialigngr.pipeline.stages import captions, catalog, embeddings, interests, sids
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.run import Run
from trialigngr.runs.sid_quality import load_sid_vectors
from trialigngr.runs.snapshot import BATCH, CatalogSnapshot, WithdrawalState, batch_folders, write_withdrawals
from trialigngr.sids.append_sids import append_sids
from trialigngr.sids.assign import QUANTIZER_FILE
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import SemanticIds


def append_items(folder: Path, source: Path) -> Facts:
    """Give the items of ``source`` (an items file, or a folder with one) captions, interests, vectors and SIDs.

    Everything fitted stays as it is: the miner's sample, the fusion, the codebooks, the model. No SID changes that was
    there. A call that was broken off goes on. Returns the facts of the new SIDs (`sids.append_sids.AppendResult`).
    Raises `CatalogError` for items that the run has already.
    """
    run = Run(folder)
    _check_can_grow(run)
    with lock_run_folder(folder):
        batch, plan = _plan_batch(run, find_items_file(source))
        for stage in plan:
            stage.make_if_stale()
        write_json(batch / BATCH, {"sids": read_manifest(batch / "sids").identity_text})
        publish_sids(run.recipe, folder)
    return dict(read_manifest(batch / "sids").facts)


def estimate_append_costs(folder: Path, source: Path) -> list[CostEstimate]:
    """Return what language models are still to be asked when the items of ``source`` are appended; the new items'
    catalogue is made for it."""
    run = Run(folder)
    _check_can_grow(run)
    if not may_cost(run.recipe):
        return []
    with lock_run_folder(folder):
        batch, plan = _plan_batch(run, find_items_file(source), ask=False)
        for stage in plan[:1]:
            stage.make_if_stale()
        return estimate_costs(run.recipe, batch, plan, run.recipe.calls.cache_path(folder)) if plan else []


def _check_can_grow(run: Run) -> None:
    """Raise a sentence where the run is not finished, or nothing in it knows items that come later."""
    recipe = run.recipe
    if recipe.shown_sids_stage != "sids":
        raise RecipeError(
            f"Nothing in {run.folder} knows items that come later: {recipe.evaluate.head} has SIDs of its own, or "
            "none. Name the generator, or tiger, in evaluate.systems and run the recipe again."
        )
    run.read_stage_manifest("model" if recipe.has_generator else "evaluation")


def _plan_batch(run: Run, path: Path, ask: bool = True) -> tuple[Path, list[Stage]]:
    """Return the folder of a batch of items and its stages, the catalogue first; none when it is appended already.

    Raises `CatalogError` for items that the run has, and what `check_stages` raises.
    """
    fingerprint = fingerprint_items(path, run.recipe.catalog.column_map)
    batch = _batch_folder(run.folder, fingerprint)
    live = CatalogSnapshot(RunArtifacts(run.recipe, run.folder), but=batch)
    _check_items_are_new(read_items(path, run.recipe.catalog.column_map)["item_id"].to_list(), live, path)
    plan = _build_batch_stages(run, live, batch, path, fingerprint)
    if all(stage.read_status() == "done" for stage in plan):
        for stage in plan:
            check_stage(stage.folder)
        log(f"{path}: appended already, as {batch.name}")
        return batch, []
    check_stages(plan, loads_models_here=True, ask=ask)
    return batch, plan


def _batch_folder(folder: Path, fingerprint: str) -> Path:
    """Return the folder of this batch: the one that was begun for it, or the next."""
    batches = batch_folders(folder)
    begun = [path for path in batches if path.name.endswith(f"-{fingerprint}")]
    number = int(batches[-1].name.partition("-")[0]) + 1 if batches else 1
    return begun[0] if begun else folder / APPENDED / f"{number:04d}-{fingerprint}"


def _build_batch_stages(run: Run, snapshot: CatalogSnapshot, batch: Path, path: Path, fingerprint: str) -> list[Stage]:
    """Return the stages of a batch: the run's own, but that nothing fitted is fitted again."""
    recipe, calls, own = run.recipe, run.recipe.calls, snapshot.trained_artifacts
    cache = calls.cache_path(snapshot.run_folder)

    def build_catalog(context: StageContext, out: Path) -> Facts:
        return prepare_items(recipe.catalog, path, out, calls.download_settings(snapshot.run_folder))

    def build_captions(context: StageContext, out: Path) -> Facts:
        return write_captions(recipe.captions, load_catalog(batch / "catalog"), out, calls, cache)

    def build_interests(context: StageContext, out: Path) -> Facts:
        usual = sample_texts(recipe.interests, own.catalog, own.captions)
        items, captions = load_catalog(batch / "catalog"), context.artifacts.captions
        return write_interests(recipe.interests, items, captions, out, usual, calls, cache)

    def build_embeddings(context: StageContext, out: Path) -> Facts:
        fusion, items = Fusion.load(own.run_folder / "embeddings" / FUSION_FILE), load_catalog(batch / "catalog")
        artifacts = context.artifacts
        return write_embeddings(recipe.embeddings, items, artifacts.captions, artifacts.interest_tags, out, fusion)

    grown_from = run.read_stage_manifest("sids").identity_text
    specs = (
        replace(catalog.SPEC, build=build_catalog, needs=need(), hash_inputs=lambda context: {"items": fingerprint}),
        replace(captions.SPEC, build=build_captions),
        replace(interests.SPEC, build=build_interests),
        replace(embeddings.SPEC, build=build_embeddings),
        replace(
            sids.SPEC,
            build=lambda context, out: _append_sids(snapshot, batch, out),
            needs=need("embeddings"),
            hash_inputs=lambda context: {"run": grown_from},
        ),
    )
    wanted = [replace(spec, is_wanted=lambda context: True) for spec in specs]
    return build_graph(wanted, StageContext(recipe, None, RunArtifacts(recipe, batch)))


def _check_items_are_new(new_ids: Sequence[str], snapshot: CatalogSnapshot, path: Path) -> None:
    if known := [item_id for item_id in new_ids if item_id in snapshot.catalog.row_by_id]:
        raise CatalogError(
            f"{path}: {len(known)} items are in {snapshot.run_folder} already; first: {known[:3]}. "
            "Give only new ones (what was withdrawn comes back under a new id)."
        )


def _append_sids(snapshot: CatalogSnapshot, batch: Path, to: Path) -> Facts:
    """Write the SIDs of a batch, none of which anything else bears or had reserved, and return the facts."""
    ids, vectors_MD = load_catalog(batch / "catalog").item_ids, load_sid_vectors(snapshot.recipe, batch / "embeddings")
    quantizer = Quantizer.load(snapshot.run_folder / "sids" / QUANTIZER_FILE)
    grown = append_sids(
        _reserved_sids(snapshot), quantizer, ids, vectors_MD, snapshot.recipe.sids.collision_policy,
        old_ND=load_sid_vectors(snapshot.recipe, snapshot.run_folder / "embeddings"),
    )  # fmt: skip
    SemanticIds(ids, grown.sids.codes_NL[-len(ids) :], grown.sids.codebook_sizes).save(to)
    drift = None if grown.drift is None else asdict(grown.drift)
    return {"num_added": grown.num_added, "num_moved": grown.num_moved, "collisions": grown.collisions, "drift": drift}


def _reserved_sids(snapshot: CatalogSnapshot) -> SemanticIds:
    """Return the SIDs that are not free: those of all items, withdrawn ones too unless they were freed."""
    sids = snapshot.sids
    freed = {item_id for item_id, state in snapshot.withdrawn_items.items() if state == "free"}
    rows = np.array([row for row, item_id in enumerate(sids.item_ids) if item_id not in freed], dtype=np.int64)
    return SemanticIds([sids.item_ids[row] for row in rows], sids.codes_NL[rows], sids.codebook_sizes)


def withdraw_items(folder: Path, item_ids: Sequence[str], free_sids: bool) -> int:
    """Take items off the offer, from now on; return how many are left.

    Their SIDs stay reserved unless ``free_sids``. Histories may go on naming them. Raises `CatalogError` for an item
    that is not known.
    """
    run = Run(folder)
    _check_can_grow(run)
    with lock_run_folder(folder):
        live = CatalogSnapshot(RunArtifacts(run.recipe, folder))
        state: WithdrawalState = "free" if free_sids else "reserved"
        withdrawn = live.withdrawn_items | {
            live.catalog.item_ids[live.catalog.find_row(item_id)]: state for item_id in item_ids
        }
        write_withdrawals(folder, withdrawn)
        publish_sids(run.recipe, folder)
    return len(live.catalog) - len(withdrawn)
