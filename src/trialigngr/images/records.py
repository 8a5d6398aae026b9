"""Where the pictures of a catalogue are kept, or why one could not be had: a table beside the items."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.tables import read_table

IMAGES_FILE = "images.parquet"
IMAGES_SCHEMA = {"item_id": pl.String, "file": pl.String, "problem": pl.String}


def resolve_image_paths(items: pl.DataFrame, catalog: Path, folder: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return items whose ``image_path`` is that of the kept picture where there is one, and the problems by item id."""
    table = read_table(check_file(catalog / IMAGES_FILE))
    kept = table.select("item_id", kept=pl.concat_str(pl.lit(f"{folder}{os.sep}"), "file"))
    paths = items.select("item_id", "image_path").join(kept, on="item_id", how="left", maintain_order="left")
    problems = table.drop_nulls("problem").select("item_id", "problem")
    return items.with_columns(paths.select(pl.coalesce("kept", "image_path").alias("image_path"))), dict(
        problems.iter_rows()
    )
