"""`CatalogIndex`: what filters, neighbours and reasons look up in a catalogue, found once for each catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from threading import Lock
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.catalog.queries import Rows
from trialigngr.embed.embeddings import load_embeddings
from trialigngr.foundation.artifact import is_finished
from trialigngr.foundation.errors import ErrorKind
from trialigngr.runs.snapshot import CatalogSnapshot
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.name_counts import NameCounts
from trialigngr.sids.quality import pick_categories
from trialigngr.sids.semantic_ids import END_CODE
from trialigngr.sids.tsne import CodeMap, compute_code_map

ItemField = Literal["category", "brand"]
NO_ROWS: Rows = np.empty(0, dtype=np.int64)
MAX_INDEXES = 2
"""Indexes that are kept: while a catalogue is taken up, answers from the one before are still being written."""


class CatalogIndex:
    """The items of a snapshot by category, brand, SID and embedding. Withdrawn items are among them."""

    def __init__(self, snapshot: CatalogSnapshot) -> None:
        self.snapshot, self.catalog = snapshot, snapshot.catalog
        self.codes_NL = snapshot.sids.codes_NL

    @cached_property
    def rows_by_category(self) -> dict[str, Rows]:
        """Category → rows."""
        return _group_rows(self.catalog.table.select(name="categories").with_row_index().explode("name"))

    @cached_property
    def rows_by_brand(self) -> dict[str, Rows]:
        """Brand → rows."""
        return _group_rows(self.catalog.table.select(name="brand").with_row_index())

    @cached_property
    def interest_names(self) -> NameCounts:
        """The interests of the items."""
        return NameCounts([interests.tag_names for interests in self.snapshot.interests])

    @cached_property
    def category_names(self) -> NameCounts:
        """All categories of the items."""
        return NameCounts([names or [] for names in self.catalog.table["categories"].to_list()])

    @cached_property
    def main_categories(self) -> NameCounts:
        """One category an item, the coarsest in which items differ."""
        paths = [names or [] for names in self.catalog.table["categories"].to_list()]
        return NameCounts([[] if name is None else [name] for name in pick_categories(paths)])

    @cached_property
    def embedding_map(self) -> CodeMap | None:
        """Where items lie by their embeddings, coloured by category; None for a run without. This takes seconds."""
        if self.unit_vectors is None:
            return None
        paths = [names or [] for names in self.catalog.table["categories"].to_list()]
        return compute_code_map(self.unit_vectors, pick_categories(paths))

    def find_row(self, item_id: str) -> int:
        """Return the row of an item; raise `ServiceError` for a stranger.

        Nobody is told what is spelled alike: among millions of ids that search would hold up all other requests.
        """
        row = self.catalog.row_by_id.get(item_id)
        if row is None:
            raise ServiceError(ErrorKind.UNKNOWN_ITEM, f"There is no item {item_id!r} in this catalogue.", "item_id")
        return row

    def find_rows(self, field: ItemField, names: Iterable[str]) -> Rows:
        """Return the rows of items that bear one of the names; raise `ServiceError` for a name that none bears."""
        known = self.rows_by_category if field == "category" else self.rows_by_brand
        found = [NO_ROWS]
        for name in names:
            if name not in known:
                code = ErrorKind.UNKNOWN_CATEGORY if field == "category" else "unknown_brand"
                raise ServiceError(code, f"There is no {field} {name!r} in this catalogue.", field)
            found.append(known[name])
        return np.unique(np.concatenate(found))

    def list_ids(self, rows: Rows) -> list[str]:
        """Return the ids of rows."""
        return [self.catalog.item_ids[row] for row in rows.tolist()]

    def list_codes(self, row: int) -> list[int]:
        """Return the codes of an item."""
        return [code for code in self.codes_NL[row].tolist() if code != END_CODE]

    def find_prefix(self, prefix: Sequence[int]) -> Rows:
        """Return the rows of items whose SIDs begin with some codes."""
        if len(prefix) > self.codes_NL.shape[1]:
            return NO_ROWS
        return np.flatnonzero((self.codes_NL[:, : len(prefix)] == np.array(prefix, dtype=np.int64)).all(1))

    def count_shared_codes(self, rows: int | Rows, others: Rows | slice = slice(None)) -> Rows:
        """Return how many leading codes an item has in common with others [M], or each of K items [K, M]."""
        own_K1L = self.codes_NL[rows][..., None, :]
        same_KML = (self.codes_NL[others] == own_K1L) & (own_K1L != END_CODE)
        return np.logical_and.accumulate(same_KML, axis=-1).sum(-1)

    @cached_property
    def unit_vectors(self) -> npt.NDArray[np.float32] | None:
        """The items' embeddings, each of length one; None for a run without."""
        folders = [self.snapshot.run_folder, *self.snapshot.batch_folders]
        if not all(is_finished(folder / "embeddings") for folder in folders):
            return None
        vectors_ND = np.concatenate([load_embeddings(folder / "embeddings") for folder in folders])
        vectors_ND /= np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)
        return vectors_ND

    def compute_cosines(self, rows: int | Rows, others: Rows | slice = slice(None)) -> npt.NDArray[np.float32] | None:
        """Return the cosines of an item with others [M], or of each of K items [K, M]; None without embeddings."""
        vectors_ND = self.unit_vectors
        return None if vectors_ND is None else vectors_ND[rows] @ vectors_ND[others].T

    @cached_property
    def users_by_item(self) -> tuple[Rows, Rows]:
        """Users in the order of the items that they took, and where those of each item begin [N + 1]."""
        histories = self.snapshot.histories
        users = np.repeat(np.arange(len(histories)), histories.sequence_lengths)
        counts_N = np.bincount(histories.items, minlength=len(self.catalog))
        return users[np.argsort(histories.items, kind="stable")], np.concatenate([[0], np.cumsum(counts_N)])

    def count_taken_together(self, row: int) -> Rows:
        """Return for each item how many users of the log took it and this one [N]."""
        users, starts = self.users_by_item
        histories, counts_N = self.snapshot.histories, np.zeros(len(self.catalog), dtype=np.int64)
        for user in np.unique(users[starts[row] : starts[row + 1]]).tolist():
            counts_N[np.unique(histories.user_sequence(user))] += 1
        return counts_N

    def count_takers(self, row: int) -> int:
        """Return how often an item was taken in the log."""
        starts = self.users_by_item[1]
        return int(starts[row + 1] - starts[row])


def _group_rows(table: pl.DataFrame) -> dict[str, Rows]:
    groups = table.drop_nulls("name").group_by("name").agg(pl.col("index").unique().sort())
    return {name: np.array(rows, dtype=np.int64) for name, rows in groups.iter_rows()}


class CatalogIndexes:
    """The index of each snapshot; snapshots that differ in withdrawals alone share one."""

    def __init__(self) -> None:
        self._kept: list[CatalogIndex] = []
        self._lock = Lock()

    def find_index(self, snapshot: CatalogSnapshot) -> CatalogIndex:
        """Return the index of a snapshot's catalogue."""
        with self._lock:
            for index in self._kept:
                if index.catalog is snapshot.catalog:
                    return index
            self._kept = [CatalogIndex(snapshot), *self._kept[: MAX_INDEXES - 1]]
            return self._kept[0]
