"""Tables by their very names: a path is never a pattern, whatever letters are in it."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import whole_file


def scan_table(*paths: Path) -> pl.LazyFrame:
    """Return a Parquet file, or several one after the other, lazily."""
    # Absolute, as polars takes a ~ at the beginning for somebody's home; a folder a=b makes no column.
    return pl.scan_parquet([path.absolute() for path in paths], glob=False, hive_partitioning=False)


def count_rows(path: Path) -> int:
    """Return how many rows a Parquet file has."""
    return int(scan_table(path).select(pl.len()).collect().item())


def scan_json_lines(path: Path) -> pl.LazyFrame:
    """Return a file of JSON lines, lazily."""
    return pl.scan_ndjson(glob.escape(str(path.absolute())), infer_schema_length=None)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return a Parquet file, or some of its columns; raise `ArtifactError` for a file that is none."""
    try:
        table = scan_table(path)
        return (table if columns is None else table.select(columns)).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable_error(path, error) from None


def read_told(path: Path) -> dict[str, str]:
    """Return a Parquet file's own metadata; raise `ArtifactError` for a file that is none."""
    try:
        with path.open("rb") as file:
            return pl.read_parquet_metadata(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable_error(path, error) from None


def _unreadable_error(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')}).")


def write_table(table: pl.DataFrame, path: Path, **how: Any) -> None:
    """Write a table as Parquet, whole or not at all; ``how`` are polars' own words for it."""
    with whole_file(path.absolute()) as half:
        table.write_parquet(half, **how)
