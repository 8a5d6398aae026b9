"""`LiveParts`: what a run recommends today — its own items, those appended since, without those withdrawn.

Training, test and report look at `Parts` alone, so that what was measured stays what it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import polars as pl

from trialigngr.catalog.attributes import stack_items
from trialigngr.catalog.items import Catalog
from trialigngr.catalog.prepare import Dataset, load_catalog
from trialigngr.enrich.captions import load_captions
from trialigngr.enrich.interests import Interests, load_interests
from trialigngr.foundation.artifact import APPENDED, MANIFEST, read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.sealed import read_json, write_json
from trialigngr.foundation.tables import read_told
from trialigngr.models.backbone import Backbone
from trialigngr.runs.artifacts import Parts, Rows
from trialigngr.sids.semantic_ids import SemanticIds

BATCH = "batch.json"
"""In the folder of a batch whose items were given SIDs."""
WITHDRAWN = "withdrawn.json"
"""Under ``withdrawn``: item id → whether its SID is ``reserved`` or ``free``."""
TOLD = "withdrawn"
"""In the metadata of the ``sids.parquet`` at the top: how many items were withdrawn when it was written."""
State = Literal["reserved", "free"]
T = TypeVar("T")


class LiveParts(Parts):
    """Own items stand first and keep their rows; appended ones follow batch by batch. SIDs of a row never change."""

    def __init__(self, as_trained: Parts, but: Path | None = None) -> None:
        """``but`` is a batch that is left out, whatever its state."""
        super().__init__(as_trained.recipe, as_trained.out)
        self.as_trained, self._but = as_trained, but

    @property
    def backbone(self) -> Backbone:
        """The trained model, loaded once."""
        return self.as_trained.backbone

    @cached_property
    def _moment(self) -> tuple[list[Path], dict[str, State]]:
        """Batches and withdrawals as they stood together at one moment, whatever is being appended meanwhile."""
        while True:
            batches, withdrawn = self._finished(), self._withdrawals()
            if self._finished() == batches:
                break
        wanted = read_manifest(self.out / "sids").identity
        fitting = [path for path in batches if read_manifest(path / "sids").parents["run"] == wanted]
        if left := len(batches) - len(fitting):
            log(f"{self.out}: {left} batches of items were appended to earlier SIDs and are left out; append them anew")
        return fitting, withdrawn

    def _finished(self) -> list[Path]:
        return [path for path in batch_folders(self.out) if path != self._but and _is_finished(path)]

    def _withdrawals(self) -> dict[str, State]:
        path, top = self.out / WITHDRAWN, self.out / "sids.parquet"
        if not path.exists() and not _tells_of_withdrawals(top):
            return {}
        found: dict[str, State] = read_json(
            path,
            f"put it back, or delete it and {top}: then all items are offered, until you withdraw some anew "
            f"(trialigngr sids remove {self.out} ITEM…).",
        )["withdrawn"]
        return found

    @property
    def batches(self) -> list[Path]:
        """The finished batches that were appended to these very SIDs, in the order in which they came."""
        return self._moment[0]

    def refreshed(self) -> LiveParts:
        """Return what is on offer now, with all that did not change kept; self when nothing has changed."""
        now = LiveParts(self.as_trained, self._but)
        if now._moment == self._moment:
            return self
        if now.batches == self.batches:
            changed = ("_moment", "withdrawn", "withdrawn_rows")
            # A copy first: other threads may be loading more.
            kept = dict(self.__dict__)
            now.__dict__ |= {name: value for name, value in kept.items() if name not in changed}
        return now

    def _joined(self, own: list[T], stage: str, load: Callable[[Path], list[T]]) -> list[T]:
        return [*own, *(one for batch in self.batches for one in load(batch / stage))]

    @cached_property
    def dataset(self) -> Dataset:
        """Histories as they were, and the catalogue with what was appended (its pictures by absolute path)."""
        own = self.as_trained.dataset
        more = [load_catalog(batch / "catalog") for batch in self.batches]
        tables = [own.catalog.table, *(_absolute(catalog) for catalog in more)]
        return Dataset(replace(own.catalog, table=stack_items(tables)), own.histories)

    @cached_property
    def captions(self) -> list[str | None]:
        """A caption for each item, in row order."""
        return self._joined(self.as_trained.captions, "captions", load_captions)

    @cached_property
    def interests(self) -> list[Interests]:
        """The interests of each item, in row order."""
        return self._joined(self.as_trained.interests, "interests", load_interests)

    @cached_property
    def sids(self) -> SemanticIds:
        """The items' SIDs, those of withdrawn items too: histories may still name them."""
        own = self.as_trained.sids
        more = [SemanticIds.load(batch / "sids") for batch in self.batches]
        ids = [item_id for sids in (own, *more) for item_id in sids.item_ids]
        return SemanticIds(ids, np.concatenate([sids.codes_NL for sids in (own, *more)]), own.sizes)

    @cached_property
    def withdrawn(self) -> dict[str, State]:
        """Withdrawn items."""
        return {item_id: state for item_id, state in self._moment[1].items() if item_id in self.catalog.rows}

    @cached_property
    def withdrawn_rows(self) -> Rows:
        """The rows that must not be recommended."""
        return np.array([self.catalog.rows[item_id] for item_id in self.withdrawn], dtype=np.int64)

    @property
    def offered(self) -> SemanticIds:
        """The SIDs of what can be recommended."""
        stays = np.ones(len(self.sids), dtype=np.bool_)
        stays[self.withdrawn_rows] = False
        ids = [self.sids.item_ids[row] for row in np.flatnonzero(stays)]
        return SemanticIds(ids, self.sids.codes_NL[stays], self.sids.sizes)


def batch_folders(run: Path) -> list[Path]:
    """Return the folders of appended batches, finished or not, in order."""
    named = re.compile(r"\d+-[0-9a-f]{16}")
    return sorted(path for path in (run / APPENDED).glob("*") if named.fullmatch(path.name) and path.is_dir())


def _is_finished(batch: Path) -> bool:
    if (batch / "sids" / MANIFEST).is_file():
        return True
    if (batch / BATCH).exists():
        raise ArtifactError(
            f"{batch} is damaged: its items had SIDs, and sids/{MANIFEST} is missing; delete {batch / 'sids'} and "
            f"append its items again. (Or delete {batch}: then they are gone.)"
        )
    return False


def _tells_of_withdrawals(top: Path) -> bool:
    """Say whether the SIDs at the top of a run were written when items had been withdrawn."""
    try:
        return top.is_file() and TOLD in read_told(top)
    except ArtifactError:
        return False  # it tells nothing, and is written anew


def write_withdrawals(run: Path, withdrawn: Mapping[str, State]) -> None:
    """Write which items of a run are withdrawn."""
    write_json(run / WITHDRAWN, {"withdrawn": dict(withdrawn)}, indent=1)


def _absolute(catalog: Catalog) -> pl.DataFrame:
    root = catalog.root.absolute()
    places = [None if path is None else str(root / path) for path in catalog.table["image_path"]]
    return catalog.table.with_columns(pl.Series("image_path", places, pl.String))
