"""Ten million interactions become a dataset: how long it takes, and the most memory it holds (goal: 4 GB).

Users and items are drawn with long tails, with ids as long as those of Amazon 2023, as Parquet and as CSV (all text).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.harness import Check, at_least, below, peak_memory
from trialigngr.catalog.dataset import load_dataset
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings

N_INTERACTIONS = 10_000_000
N_USERS = 1_000_000
N_ITEMS = 200_000
GOAL_GB = 4.0


def main() -> None:
    """Prepare DATA into OUT: what the memory is measured of."""
    data, out = map(Path, sys.argv[1:])
    prepare_catalog(CatalogSettings(), data, out)


def measure() -> list[Check]:
    """Return time and peak memory of a process that prepares the log, as Parquet and as CSV."""
    checks = []
    with tempfile.TemporaryDirectory() as root:
        for form in ("parquet", "csv"):
            data, out = Path(root) / form, Path(root) / f"{form}-out"
            out.mkdir()
            _write(data, form)
            start = time.perf_counter()
            peak = peak_memory([sys.executable, "-m", "benchmarks.prepare", str(data), str(out)])
            taken = time.perf_counter() - start
            checks.append(below(f"{form}: peak memory (GB)", peak / 1e9, GOAL_GB))
            checks.append(below(f"{form}: seconds", taken, 120))
        checks.append(
            at_least("interactions in the 5-core", len(load_dataset(out).histories.items), N_INTERACTIONS / 2)
        )
    return checks


def _write(data: Path, form: str) -> None:
    data.mkdir()
    numbers = np.random.default_rng(0)
    users = (N_USERS * numbers.random(N_INTERACTIONS) ** 1.5).astype(np.int64)
    items = (N_ITEMS * numbers.random(N_INTERACTIONS) ** 2).astype(np.int64)
    log = pl.DataFrame({"user": users, "item": items}).select(
        pl.format("AE{}", pl.col("user").cast(pl.String).str.zfill(26)).alias("user_id"),
        pl.format("B{}", pl.col("item").cast(pl.String).str.zfill(9)).alias("item_id"),
        pl.Series("timestamp", numbers.integers(1_300_000_000, 1_700_000_000, N_INTERACTIONS)),
        pl.Series("rating", numbers.integers(1, 6, N_INTERACTIONS)),
    )
    ids = pl.Series("item_id", [f"B{item:09}" for item in range(N_ITEMS)])
    catalog = pl.DataFrame({"item_id": ids}).with_columns(pl.format("Title of {}", "item_id").alias("title"))
    for name, table in (("items", catalog), ("interactions", log)):
        if form == "parquet":
            table.write_parquet(data / f"{name}.parquet")
        else:
            table.write_csv(data / f"{name}.csv")


if __name__ == "__main__":
    main()
