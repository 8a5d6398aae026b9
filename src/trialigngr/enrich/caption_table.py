"""Captions as they are kept: one row an item, in row order."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.tables import read_table

CAPTIONS_FILE = "captions.parquet"
CAPTIONS_SCHEMA = {"item_id": pl.String, "caption": pl.String, "generator": pl.String, "problem": pl.String}


def load_captions(folder: Path) -> list[str | None]:
    """Return the captions in row order; None where there is none."""
    captions: list[str | None] = read_table(check_file(folder / CAPTIONS_FILE), ["caption"])["caption"].to_list()
    return captions
