"""What was said about each item as a table, made as it comes and written in groups of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from trialigngr.enrich.generator import batches

# Python's objects take ten times a table's room, so few rows at a time are that; but each table has room to spare.
AT_ONCE, GROUP = 4096, 8192


def table_of(rows: Iterable[tuple[Any, ...]], schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """Return rows as a table of that schema."""
    empty = pl.DataFrame(schema=schema)
    return pl.concat([empty, *(pl.DataFrame(some, schema=schema, orient="row") for some in batches(rows, AT_ONCE))])


def save_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table as Parquet."""
    table.write_parquet(path, row_group_size=GROUP)
