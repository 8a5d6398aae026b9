"""Versions of a run's catalogue: named by what is on offer, remembered in the run, and taken up again by name."""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from trialigngr.catalog.dataset import load_catalog
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.sealed import read_json, write_json
from trialigngr.pipeline.execute import lock_run_folder
from trialigngr.pipeline.publish import publish_sids
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.run import Run
from trialigngr.runs.snapshot import CatalogSnapshot, WithdrawalState, write_withdrawals
from trialigngr.serve.errors import ServiceError

VERSIONS_FILE = "catalogue_versions.json"
"""In a run whose catalogue was changed through the service: what each version had on offer."""
MAX_VERSIONS = 100
"""Versions that are remembered, the last ones."""


@lru_cache(maxsize=16)
def name_version(snapshot: CatalogSnapshot) -> str:
    """Return the name of what a snapshot has on offer: the number of appended batches, and a digest."""
    return _name_state(_describe_state(snapshot))


def _describe_state(snapshot: CatalogSnapshot) -> dict[str, Any]:
    return {
        "batches": [folder.name for folder in snapshot.batch_folders],
        "withdrawn": dict(sorted(snapshot.withdrawn_items.items())),
    }


def _name_state(state: dict[str, Any]) -> str:
    return f"{len(state['batches']):04d}-{sha256(json.dumps(state).encode()).hexdigest()[:12]}"


def read_versions(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the versions that are remembered, oldest first."""
    path = folder / VERSIONS_FILE
    if not path.exists():
        return {}
    return dict(read_json(path, "delete it, and earlier versions are forgotten.")["versions"])


def remember_version(folder: Path, snapshot: CatalogSnapshot) -> None:
    """Write down what a snapshot has on offer, unless that is known.

    Where it cannot be written, as on a disk that is only read, the log says so, and the catalogue can be changed and
    taken up all the same.
    """
    state = _describe_state(snapshot)
    name = _name_state(state)
    try:
        if name in read_versions(folder):
            return
        with lock_run_folder(folder):
            kept = [*read_versions(folder).items(), (name, state)][-MAX_VERSIONS:]
            write_json(folder / VERSIONS_FILE, {"versions": dict(kept)}, indent=1)
    except (OSError, ArtifactError) as error:
        log(f"version {name} of the catalogue is not remembered: {error}")


def roll_back(folder: Path, name: str) -> None:
    """Offer again what a version had on offer: later batches are withdrawn, items that were withdrawn since come back.

    Raises `ServiceError` for a version that is not remembered, and where an item would come back whose SID was freed:
    another item may bear it by now.
    """
    run = Run(folder)
    with lock_run_folder(folder):
        live, versions = CatalogSnapshot(RunArtifacts(run.recipe, folder)), read_versions(folder)
        if name not in versions:
            raise ServiceError("unknown_version", "This run remembers no such version of its catalogue.", "version")
        wanted = versions[name]
        if not set(wanted["batches"]) <= {batch.name for batch in live.batch_folders}:
            raise ServiceError("conflict", "That version had items that are no longer in the run.", "version")
        later = _withdraw_later_items(live, wanted)
        back = live.withdrawn_items.keys() - wanted["withdrawn"].keys() - later.keys()
        if freed := sum(live.withdrawn_items[item_id] == "free" for item_id in back):
            raise ServiceError("conflict", f"{freed} items of that version gave up their SIDs; append them anew.")
        write_withdrawals(folder, wanted["withdrawn"] | later | _find_freed_items(live))
        publish_sids(run.recipe, folder)


def _find_freed_items(live: CatalogSnapshot) -> dict[str, WithdrawalState]:
    """Return the items that never come back: another may bear their SIDs by now."""
    return {item_id: state for item_id, state in live.withdrawn_items.items() if state == "free"}


def _withdraw_later_items(live: CatalogSnapshot, wanted: dict[str, Any]) -> dict[str, WithdrawalState]:
    """Return the withdrawals of all items that came with batches after a version."""
    later = [batch for batch in live.batch_folders if batch.name not in wanted["batches"]]
    states: dict[str, WithdrawalState] = {}
    for batch in later:
        for item_id in load_catalog(batch / "catalog").item_ids:
            states[item_id] = live.withdrawn_items.get(item_id, "reserved")
    return states
