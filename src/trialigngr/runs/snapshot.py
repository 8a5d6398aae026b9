"""`CatalogSnapshot`: what a run recommends today — its own items, those appended since, without those withdrawn.

Training, test and report look at `RunArtifacts` alone, so that what was measured stays what it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import polars as pl

from trialigngr.catalog.dataset import Dataset, load_catalog
from trialigngr.catalog.items import Catalog
from trialigngr.foundation.artifact import APPENDED, MANIFEST_FILE, read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.sealed import read_json, write_json
from trialigngr.foundation.tables import read_told
from trialigngr.runs.artifacts import Float32Array, Rows, RunArtifacts
from trialigngr.sids.semantic_ids import SemanticIds

if TYPE_CHECKING:
    from trialigngr.enrich.interests import Interests
    from trialigngr.evaluate.seen_items import SeenItemsRule
    from trialigngr.models.backbone import Backbone
    from trialigngr.systems.priors import SystemPrior

BATCH = "batch.json"
"""In the folder of a batch whose items were given SIDs."""
WITHDRAWN_FILE = "withdrawn.json"
"""Under ``withdrawn``: item id → whether its SID is ``reserved`` or ``free``."""
TOLD = "withdrawn"
"""In the metadata of the ``sids.parquet`` at the top: how many items were withdrawn when it was written."""
WithdrawalState = Literal["reserved", "free"]
T = TypeVar("T")


class CatalogSnapshot(RunArtifacts):
    """Own items stand first and keep their rows; appended ones follow batch by batch. SIDs of a row never change."""

    def __init__(self, trained_artifacts: RunArtifacts, but: Path | None = None) -> None:
        """``but`` is a batch that is left out, whatever its state."""
        super().__init__(trained_artifacts.recipe, trained_artifacts.run_folder)
        self.trained_artifacts, self._but = trained_artifacts, but

    @property
    def backbone(self) -> Backbone:
        """The trained model, loaded once, with vectors of appended items too where it has vectors of items."""
        own = self.trained_artifacts.backbone
        if own.items is None or not self.batch_folders:
            return own
        return replace(own, items=own.items.with_catalog(*self.list_item_inputs(own)))

    @cached_property
    def item_features(self) -> Float32Array:
        """The items' embeddings, appended ones behind."""
        from trialigngr.embed.embeddings import load_embeddings

        more = [load_embeddings(batch / "embeddings") for batch in self.batch_folders]
        return np.concatenate([self.trained_artifacts.item_features, *more])

    @property
    def seen_items(self) -> SeenItemsRule:
        """Whether seen items may stand in lists: as it was when the run was tested."""
        return self.trained_artifacts.seen_items

    @property
    def system_prior(self) -> SystemPrior | None:
        """What is mixed with the generator's probabilities; it knows the trained items alone."""
        return self.trained_artifacts.system_prior

    @cached_property
    def _batches_and_withdrawals(self) -> tuple[list[Path], dict[str, WithdrawalState]]:
        """Batches and withdrawals as they stood together at one moment, whatever is being appended meanwhile."""
        while True:
            batches, withdrawn = self._find_finished_batches(), self._read_withdrawals()
            if self._find_finished_batches() == batches:
                break
        if not batches:
            return [], withdrawn
        wanted = read_manifest(self.run_folder / "sids").identity_text
        fitting = [path for path in batches if read_manifest(path / "sids").parents["run"] == wanted]
        if left := len(batches) - len(fitting):
            log(
                f"{self.run_folder}: {left} batches of items were appended to earlier SIDs and are left out; append "
                "them anew"
            )
        return fitting, withdrawn

    def _find_finished_batches(self) -> list[Path]:
        return [path for path in batch_folders(self.run_folder) if path != self._but and _is_finished(path)]

    def _read_withdrawals(self) -> dict[str, WithdrawalState]:
        path, top = self.run_folder / WITHDRAWN_FILE, self.run_folder / "sids.parquet"
        if not path.exists() and not _tells_of_withdrawals(top):
            return {}
        found: dict[str, WithdrawalState] = read_json(
            path,
            f"put it back, or delete it and {top}: then all items are offered, until you withdraw some anew "
            f"(trialigngr sids remove {self.run_folder} ITEM…).",
        )["withdrawn"]
        return found

    @property
    def batch_folders(self) -> list[Path]:
        """The finished batches that were appended to these very SIDs, in the order in which they came."""
        return self._batches_and_withdrawals[0]

    def take_new_snapshot(self) -> CatalogSnapshot:
        """Return what is on offer now, with all that did not change kept; self when nothing has changed."""
        now = CatalogSnapshot(self.trained_artifacts, self._but)
        if now._batches_and_withdrawals == self._batches_and_withdrawals:
            return self
        if now.batch_folders == self.batch_folders:
            changed = ("_batches_and_withdrawals", "withdrawn_items", "withdrawn_rows")
            # A copy first: other threads may be loading more.
            kept = dict(self.__dict__)
            now.__dict__ |= {name: value for name, value in kept.items() if name not in changed}
        return now

    def _concatenate_batches(self, own: list[T], stage: str, load: Callable[[Path], list[T]]) -> list[T]:
        return [*own, *(one for batch in self.batch_folders for one in load(batch / stage))]

    @cached_property
    def dataset(self) -> Dataset:
        """Histories as they were, and the catalogue with what was appended (its pictures by absolute path)."""
        own = self.trained_artifacts.dataset
        if not self.batch_folders:
            return own
        from trialigngr.catalog.attributes import stack_items

        more = [load_catalog(batch / "catalog") for batch in self.batch_folders]
        tables = [own.catalog.table, *(_with_absolute_paths(catalog) for catalog in more)]
        return Dataset(replace(own.catalog, table=stack_items(tables)), own.histories)

    @cached_property
    def captions(self) -> list[str | None]:
        """A caption for each item, in row order."""
        from trialigngr.enrich.caption_table import load_captions

        return self._concatenate_batches(self.trained_artifacts.captions, "captions", load_captions)

    @cached_property
    def interests(self) -> list[Interests]:
        """The interests of each item, in row order."""
        from trialigngr.enrich.interests import load_interests

        return self._concatenate_batches(self.trained_artifacts.interests, "interests", load_interests)

    @cached_property
    def sids(self) -> SemanticIds:
        """The items' SIDs, those of withdrawn items too: histories may still name them."""
        own = self.trained_artifacts.sids
        more = [SemanticIds.load(batch / "sids") for batch in self.batch_folders]
        ids = [item_id for sids in (own, *more) for item_id in sids.item_ids]
        return SemanticIds(ids, np.concatenate([sids.codes_NL for sids in (own, *more)]), own.codebook_sizes)

    @cached_property
    def withdrawn_items(self) -> dict[str, WithdrawalState]:
        """Withdrawn items."""
        return {
            item_id: state
            for item_id, state in self._batches_and_withdrawals[1].items()
            if item_id in self.catalog.row_by_id
        }

    @cached_property
    def withdrawn_rows(self) -> Rows:
        """The rows that must not be recommended."""
        return np.array([self.catalog.row_by_id[item_id] for item_id in self.withdrawn_items], dtype=np.int64)

    @property
    def available_sids(self) -> SemanticIds:
        """The SIDs of what can be recommended."""
        stays = np.ones(len(self.sids), dtype=np.bool_)
        stays[self.withdrawn_rows] = False
        ids = [self.sids.item_ids[row] for row in np.flatnonzero(stays)]
        return SemanticIds(ids, self.sids.codes_NL[stays], self.sids.codebook_sizes)


def batch_folders(run: Path) -> list[Path]:
    """Return the folders of appended batches, finished or not, in order."""
    named = re.compile(r"\d+-[0-9a-f]{16}")
    return sorted(path for path in (run / APPENDED).glob("*") if named.fullmatch(path.name) and path.is_dir())


def _is_finished(batch: Path) -> bool:
    if (batch / "sids" / MANIFEST_FILE).is_file():
        return True
    if (batch / BATCH).exists():
        raise ArtifactError(
            f"{batch} is damaged: its items had SIDs, and sids/{MANIFEST_FILE} is missing; delete {batch / 'sids'} and "
            f"append its items again. (Or delete {batch}: then they are gone.)"
        )
    return False


def _tells_of_withdrawals(top: Path) -> bool:
    """Return whether the SIDs at the top of a run were written when items had been withdrawn."""
    try:
        return top.is_file() and TOLD in read_told(top)
    except ArtifactError:
        return False  # it tells nothing, and is written anew


def write_withdrawals(run: Path, withdrawn: Mapping[str, WithdrawalState]) -> None:
    """Write which items of a run are withdrawn."""
    write_json(run / WITHDRAWN_FILE, {"withdrawn": dict(withdrawn)}, indent=1)


def _with_absolute_paths(catalog: Catalog) -> pl.DataFrame:
    root = catalog.root.absolute()
    places = [None if path is None else str(root / path) for path in catalog.table["image_path"]]
    return catalog.table.with_columns(pl.Series("image_path", places, pl.String))
