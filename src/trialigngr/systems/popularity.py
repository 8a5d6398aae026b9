"""Popularity: everybody gets what was taken most often in the training parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from trialigngr.catalog.queries import Queries, Rows
from trialigngr.evaluate.system import FloatArray, ScorerSystem
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.systems.spec import Facts, SystemInputs

COUNTS_FILE = "counts.parquet"


class Popularity:
    """Scores items by how often they occur in the training parts."""

    name = "popularity"
    max_history: int | None = None

    def __init__(self, counts_N: Rows) -> None:
        self.counts_N = counts_N

    def score_items(self, queries: Queries) -> FloatArray:
        """Return the counts [N] once for each history, as [B, N]."""
        return np.broadcast_to(self.counts_N.astype(np.float32), (len(queries), len(self.counts_N)))


def fit_popularity(inputs: SystemInputs, _settings: None, out: Path) -> Facts:
    """Write the counts."""
    counts_N = inputs.histories.count_train_items(len(inputs.catalog))
    write_table(pl.DataFrame({"count": counts_N}), out / COUNTS_FILE)
    return {}


def load_popularity(inputs: SystemInputs, folder: Path) -> ScorerSystem:
    """Read what `fit_popularity` wrote; raise `ArtifactError` for counts of no such catalogue."""
    path, n_items = check_file(folder / COUNTS_FILE), len(inputs.catalog)
    table = read_table(path)
    if dict(table.schema) != {"count": pl.Int64} or table.height != n_items:
        raise ArtifactError(f"{path} holds no counts of {n_items} items; run the recipe again.")
    return ScorerSystem(Popularity(table["count"].to_numpy()))
