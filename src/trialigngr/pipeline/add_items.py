"""Growth of a finished run: new items go through the run's own stages, frozen, and its model can recommend them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.catalog.folder import items_file, read_items
from trialigngr.catalog.prepare import items_fingerprint, load_catalog, prepare_items
from trialigngr.embed.fusion import Fusion
from trialigngr.embed.items import FUSION, write_embeddings
from trialigngr.enrich.captions import write_captions
from trialigngr.enrich.mining import sample_texts, write_interests
from trialigngr.foundation.artifact import APPENDED, check_stage, read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.sealed import write_json
from trialigngr.llm.costs import Cost
from trialigngr.pipeline.enrichment import check_generators, costs, may_cost
from trialigngr.pipeline.finish import publish_sids
from trialigngr.pipeline.running import alone
from trialigngr.pipeline.stages import Line, Stage
from trialigngr.runs.artifacts import Parts
from trialigngr.runs.run import Run
from trialigngr.runs.sid_quality import sid_vectors
from trialigngr.runs.snapshot import BATCH, LiveParts, State, batch_folders, write_withdrawals
from trialigngr.sids.assign import QUANTIZER
from trialigngr.sids.growth import append
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import SemanticIds

Facts = dict[str, Any]


def append_items(folder: Path, new: Path) -> Facts:
    """Give the items of ``new`` (an items file, or a folder with one) captions, interests, vectors and SIDs.

    Everything fitted stays as it is: the miner's sample, the fusion, the codebooks, the model. No SID changes that was
    there. A call that was broken off goes on. Returns the facts of the new SIDs (`sids.growth.Grown`). Raises
    `CatalogError` for items that the run has already.
    """
    run = Run(folder)
    run.manifest("model")
    with alone(folder):
        batch, plan = _planned(run, items_file(new))
        for stage in plan:
            stage.make()
        write_json(batch / BATCH, {"sids": read_manifest(batch / "sids").identity})
        publish_sids(run.recipe, folder)
    return dict(read_manifest(batch / "sids").facts)


def append_costs(folder: Path, new: Path) -> list[Cost]:
    """Return what language models are still to be asked when the items of ``new`` are appended; the new items'
    catalogue is made for it."""
    run = Run(folder)
    run.manifest("model")
    if not may_cost(run.recipe):
        return []
    with alone(folder):
        batch, plan = _planned(run, items_file(new), ask=False)
        for stage in plan[:1]:
            stage.make()
        return costs(run.recipe, batch, plan, run.recipe.calls.ledger_of(folder)) if plan else []


def _planned(run: Run, path: Path, ask: bool = True) -> tuple[Path, list[Stage]]:
    """Return the folder of a batch of items and its stages, the catalogue first; none when it is appended already.

    Raises `CatalogError` for items that the run has, and what `check_generators` raises.
    """
    fingerprint = items_fingerprint(path, run.recipe.catalog.columns)
    batch = _batch(run.folder, fingerprint)
    live = LiveParts(Parts(run.recipe, run.folder), but=batch)
    _refuse_known(read_items(path, run.recipe.catalog.columns)["item_id"].to_list(), live, path)
    plan = _stages(run, live, batch, path, fingerprint)
    if all(stage.status() == "done" for stage in plan):
        for stage in plan:
            check_stage(stage.folder)
        log(f"{path}: appended already, as {batch.name}")
        return batch, []
    check_generators(run.recipe, plan, here=True, ask=ask)
    return batch, plan


def _batch(folder: Path, fingerprint: str) -> Path:
    """Return the folder of this batch: the one that was begun for it, or the next."""
    batches = batch_folders(folder)
    begun = [path for path in batches if path.name.endswith(f"-{fingerprint}")]
    number = int(batches[-1].name.partition("-")[0]) + 1 if batches else 1
    return begun[0] if begun else folder / APPENDED / f"{number:04d}-{fingerprint}"


def _stages(run: Run, live: LiveParts, batch: Path, path: Path, fingerprint: str) -> list[Stage]:
    recipe, own = run.recipe, live.as_trained
    parts = Parts(recipe, batch)
    line = Line(batch)
    calls, ledger = recipe.calls, recipe.calls.ledger_of(live.out)

    def captions(to: Path) -> Facts:
        return write_captions(recipe.captions, load_catalog(batch / "catalog"), to, calls.captions, ledger)

    def interests(to: Path) -> Facts:
        usual = sample_texts(recipe.interests, own.catalog, own.captions)
        items = load_catalog(batch / "catalog")
        return write_interests(recipe.interests, items, parts.captions, to, usual, calls.interests, ledger)

    def embeddings(to: Path) -> Facts:
        fusion = Fusion.load(own.out / "embeddings" / FUSION)
        items = load_catalog(batch / "catalog")
        return write_embeddings(recipe.embeddings, items, parts.captions, parts.tags, to, fusion)

    def catalog(to: Path) -> Facts:
        return prepare_items(recipe.catalog, path, to, calls.fetching(live.out))

    line.add("catalog", recipe.catalog, "", catalog, given={"items": fingerprint})
    line.add_asking("captions", recipe, "catalog", captions)
    line.add_asking("interests", recipe, "catalog captions", interests)
    line.add("embeddings", recipe.embeddings, "catalog captions interests", embeddings)
    grown_from = {"run": run.manifest("sids").identity}
    line.add("sids", recipe.sids, "embeddings", lambda to: _append_sids(live, batch, to), given=grown_from)
    return list(line.stages.values())


def _refuse_known(new_ids: Sequence[str], live: LiveParts, path: Path) -> None:
    if known := [item_id for item_id in new_ids if item_id in live.catalog.rows]:
        raise CatalogError(
            f"{path}: {len(known)} items are in {live.out} already; first: {known[:3]}. "
            "Give only new ones (what was withdrawn comes back under a new id)."
        )


def _append_sids(live: LiveParts, batch: Path, to: Path) -> Facts:
    """Write the SIDs of a batch, none of which anything else bears or had reserved, and return the facts."""
    ids, vectors_MD = load_catalog(batch / "catalog").ids, sid_vectors(live.recipe, batch / "embeddings")
    quantizer = Quantizer.load(live.out / "sids" / QUANTIZER)
    grown = append(
        _bearing(live), quantizer, ids, vectors_MD, live.recipe.sids.collisions,
        old_ND=sid_vectors(live.recipe, live.out / "embeddings"),
    )  # fmt: skip
    SemanticIds(ids, grown.sids.codes_NL[-len(ids) :], grown.sids.sizes).save(to)
    drift = None if grown.drift is None else asdict(grown.drift)
    return {"added": grown.added, "moved": grown.moved, "collisions": grown.collisions, "drift": drift}


def _bearing(live: LiveParts) -> SemanticIds:
    """Return the SIDs that are not free: those of all items, withdrawn ones too unless they were freed."""
    sids = live.sids
    freed = {item_id for item_id, state in live.withdrawn.items() if state == "free"}
    rows = np.array([row for row, item_id in enumerate(sids.item_ids) if item_id not in freed], dtype=np.int64)
    return SemanticIds([sids.item_ids[row] for row in rows], sids.codes_NL[rows], sids.sizes)


def withdraw_items(folder: Path, item_ids: Sequence[str], free: bool) -> int:
    """Take items off the offer, from now on; return how many are left.

    Their SIDs stay reserved unless ``free``. Histories may go on naming them. Raises `CatalogError` for an item that is
    not known.
    """
    run = Run(folder)
    run.manifest("model")
    with alone(folder):
        live = LiveParts(Parts(run.recipe, folder))
        state: State = "free" if free else "reserved"
        withdrawn = live.withdrawn | {live.catalog.ids[live.catalog.row(item_id)]: state for item_id in item_ids}
        write_withdrawals(folder, withdrawn)
        publish_sids(run.recipe, folder)
    return len(live.catalog) - len(withdrawn)
