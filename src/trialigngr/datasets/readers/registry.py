"""The registry of readers, and the one way in which what they read becomes a data folder."""

from __future__ import annotations

import shutil
import tempfile
from itertools import islice
from pathlib import Path

import polars as pl

from trialigngr.datasets.readers import amazon2014, amazon2018, amazon2023, lcrec, movielens, recbole
from trialigngr.datasets.readers.lines import read_numbered_lines
from trialigngr.datasets.readers.tables import DataTables, Reader
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import CatalogError, did_you_mean
from trialigngr.foundation.tables import scan_table

READERS: dict[str, Reader] = {
    "amazon2014": amazon2014.read_tables,
    "amazon2018": amazon2018.read_tables,
    "amazon2023": amazon2023.read_tables,
    "lcrec": lcrec.read_tables,
    "movielens": movielens.read_tables,
    "recbole": recbole.read_tables,
}
"""Format name → reader."""


def import_data(format: str, source: Path, out: Path) -> dict[str, int]:
    """Write ``items.parquet`` and ``interactions.parquet`` into ``out`` and return the counts.

    ``out`` must not exist, or be empty; it is there only when it is whole. Items that only the log names are added with
    nothing but their id. Raises `CatalogError` for an unknown format, a missing file, or a malformed line.
    """
    if format not in READERS:
        hint = did_you_mean(format, READERS)
        raise CatalogError(f"There is no format {format!r}; known are {', '.join(READERS)}.{hint}")
    if not source.exists():
        raise CatalogError(f"There is no {source} to import.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CatalogError(f"{out} is there and not empty; name a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        parts = Path(scratch) / "parts"
        parts.mkdir()
        tables = READERS[format](source, parts)
        _check_ids(tables, source)
        counts = _write_data_folder(tables, made)
        if out.exists():
            out.rmdir()
        shutil.move(made, out)
    log(f"Imported into {out}: " + ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in counts.items()))
    return counts


def _check_ids(tables: DataTables, source: Path) -> None:
    ids = tables.items.select("item_id").collect()["item_id"]
    if ids.null_count() or (ids == "").any():
        raise CatalogError(f"{source}: an item has no id, after the item {_before_empty(ids)!r}.")
    again = ids.is_first_distinct().not_().arg_true()
    if len(again):
        names = ids.gather(again).unique(maintain_order=True)
        others = f", and so do {len(names) - 1:,} others below it" if len(names) > 1 else ""
        raise CatalogError(
            f"{_place_of(tables, source, int(again[0]))}: the item {names[0]!r} stands here once more{others}; leave "
            "one line of each item."
        )


def _place_of(tables: DataTables, source: Path, row: int) -> str:
    """Return where an item stands: file and line, or what was imported where items have no line each."""
    if tables.items_file is None:
        return str(source)
    numbers = (number for number, _ in read_numbered_lines(tables.items_file, fallback="latin-1"))
    return f"{tables.items_file}, line {next(islice(numbers, row + tables.header_lines, None))}"


def _before_empty(ids: pl.Series) -> str | None:
    place = (ids.is_null() | (ids == "")).arg_max() or 0
    return ids[place - 1] if place else None


def _write_data_folder(tables: DataTables, folder: Path) -> dict[str, int]:
    tables.interactions.sink_parquet(folder / "interactions.parquet")
    interactions = scan_table(folder / "interactions.parquet")
    named = interactions.select("item_id").unique(maintain_order=True)
    bare = named.join(tables.items, on="item_id", how="anti", maintain_order="left")
    pl.concat([tables.items, bare], how="diagonal").sink_parquet(folder / "items.parquet")
    users, n = interactions.select(pl.col("user_id").n_unique(), pl.len().alias("n")).collect().row(0)
    unnamed = bare.select(pl.len()).collect().item()
    items = scan_table(folder / "items.parquet").select(pl.len()).collect().item()
    return {"users": users, "items": items, "items_known_by_id_only": unnamed, "interactions": n}
