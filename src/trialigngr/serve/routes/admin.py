"""What only an admin key may: append and withdraw items, take up what others changed, go back, and drain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Query

from trialigngr.foundation.errors import ErrorKind
from trialigngr.pipeline.add_items import append_items, withdraw_items
from trialigngr.pipeline.llm_costs import may_cost
from trialigngr.serve.admin_models import (
    AppendQuery,
    CatalogChange,
    CatalogState,
    RollbackQuery,
    VersionList,
    WithdrawalQuery,
)
from trialigngr.serve.catalog_versions import read_versions, remember_version, roll_back
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.info_models import HealthState
from trialigngr.serve.limits import LIMITS
from trialigngr.serve.served_run import ServedRun
from trialigngr.serve.service import Service


def build_admin_router(service: Service) -> APIRouter:
    """Return the paths that change the catalogue."""
    router, editor = APIRouter(tags=["admin"]), CatalogEditor(service)

    @router.post("/v1/catalogue/append")
    def append(query: AppendQuery) -> CatalogState:
        """Give new items captions, vectors and SIDs, and recommend them from now on; this takes its time."""
        return editor.change_catalog(query, lambda run: _append_new_items(run, query))

    @router.post("/v1/catalogue/withdraw")
    def withdraw(query: WithdrawalQuery) -> CatalogState:
        """Take items off the offer; their SIDs stay theirs unless they are freed."""
        return editor.change_catalog(query, lambda run: withdraw_items(run.run.folder, query.item_ids, query.free_sids))

    @router.post("/v1/catalogue/reload")
    def reload_catalog(query: CatalogChange) -> CatalogState:
        """Take up what the command line or another replica changed; no request waits and none is lost."""
        return editor.change_catalog(query, lambda run: None)

    @router.post("/v1/catalogue/rollback")
    def roll_back_catalog(query: RollbackQuery) -> CatalogState:
        """Offer what an earlier version had on offer."""
        return editor.change_catalog(query, lambda run: roll_back(run.run.folder, query.version))

    @router.get("/v1/catalogue/versions")
    def list_versions(run: Annotated[str | None, Query(max_length=LIMITS.id_length)] = None) -> VersionList:
        """Return the versions that can be taken up again."""
        found = service.find_run(run)
        return VersionList(run=found.describe_version(found.snapshot), versions=list(read_versions(found.run.folder)))

    @router.post("/v1/admin/drain")
    def drain() -> HealthState:
        """Say that no more requests should come; those that do are answered still."""
        service.is_draining = True
        return service.describe_readiness()

    return router


class CatalogEditor:
    """Changes the catalogues of a service, one change at a time."""

    def __init__(self, service: Service) -> None:
        self._service, self._lock = service, Lock()

    def change_catalog(self, query: CatalogChange, change: Callable[[ServedRun], object]) -> CatalogState:
        """Make a change, take it up and remember both versions; raise what the change raises, and `ServiceError` while
        another is made: whoever waited would hold up all other requests."""
        run = self._service.find_run(query.run)
        if not self._lock.acquire(blocking=False):
            raise ServiceError(ErrorKind.BUSY, "A catalogue is being changed; try again later.")
        try:
            remember_version(run.run.folder, run.snapshot)
            try:
                change(run)
            finally:  # what was written before it broke off holds, too
                changed = self._take_up_catalog(run)
        finally:
            self._lock.release()
        return CatalogState(
            run=run.describe_version(run.snapshot),
            changed=changed,
            num_items=len(run.snapshot.catalog),
            num_withdrawn=len(run.snapshot.withdrawn_items),
        )

    def _take_up_catalog(self, run: ServedRun) -> bool:
        changed = run.take_up_catalog()
        if changed:
            self._service.metrics.count_reload(run.name)
            remember_version(run.run.folder, run.snapshot)
        return changed


def _append_new_items(run: ServedRun, query: AppendQuery) -> None:
    if may_cost(run.run.recipe):
        raise ServiceError(
            "conflict", "New items of this run cost money, or are sent elsewhere; append them by the command line."
        )
    known = run.snapshot.catalog.row_by_id
    if twice := [item.item_id for item in query.items if item.item_id in known]:
        raise ServiceError("conflict", f"{len(twice)} items are in the run already; first: {twice[:3]}.", "items")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "items.jsonl"
        lines = (json.dumps(item.model_dump(exclude_none=True), ensure_ascii=False) for item in query.items)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        append_items(run.run.folder, path)
