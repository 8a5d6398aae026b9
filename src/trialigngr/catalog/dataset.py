"""`Dataset`: what the catalogue stage made, read back."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.items import Catalog, ImageRecords
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.tables import read_table
from trialigngr.images.records import resolve_image_paths
from trialigngr.images.settings import LONGEST_EDGE


@dataclass(frozen=True)
class Dataset:
    """What the catalogue stage made: N items in row order, and U histories that name them by row."""

    catalog: Catalog
    histories: Histories


def load_catalog(folder: Path) -> Catalog:
    """Return the items that `prepare_catalog` or `prepare_items` wrote into ``folder``."""
    written = _read_source(check_file(folder / "source.json"))
    root = Path(os.path.normpath(folder / written["root"]))
    kept = Path(os.path.normpath(folder.absolute() / written.get("images", "images")))
    items, problems = resolve_image_paths(read_table(check_file(folder / "items.parquet")), folder, kept)
    return Catalog(items, root, ImageRecords(kept, written.get("longest_edge", LONGEST_EDGE), problems))


def _read_source(path: Path) -> dict[str, Any]:
    """Return what ``source.json`` says; raise `ArtifactError` when it says nothing."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ArtifactError(f"{path} is damaged; delete {path.parent} and run the recipe again.") from None


def load_dataset(folder: Path) -> Dataset:
    """Return what `prepare_catalog` wrote into ``folder``."""
    table = read_table(check_file(folder / "histories.parquet"))
    offsets = np.concatenate([[0], np.cumsum(table["items"].list.len().to_numpy(), dtype=np.int64)])
    items, valid_from, test_from = (
        column.to_numpy() for column in (table["items"].explode(), table["valid_from"], table["test_from"])
    )
    times = table["times"].explode().to_numpy() if "times" in table.columns else None
    histories = Histories(table["user_id"].to_list(), offsets, items, valid_from, test_from, times)
    return Dataset(load_catalog(folder), histories)
