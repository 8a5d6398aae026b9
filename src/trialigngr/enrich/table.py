"""What was said about each item as a table, made as it comes and written in groups of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import polars as pl

from trialigngr.foundation.chunks import iter_batches
from trialigngr.foundation.tables import write_table

# Python's objects take ten times a table's room, so few rows at a time are that; but each table has room to spare.
ROWS_PER_TABLE, ROWS_PER_GROUP = 4096, 8192
T = TypeVar("T")


def build_table(
    rows: Iterable[T],
    schema: Mapping[str, pl.DataType | type[pl.DataType]],
    make_table: Callable[[list[T]], pl.DataFrame],
) -> pl.DataFrame:
    """Return rows as a table of that schema; ``make_table`` makes one of some of them."""
    return pl.concat([pl.DataFrame(schema=schema), *map(make_table, iter_batches(rows, ROWS_PER_TABLE))])


def save_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table as Parquet."""
    write_table(table, path, row_group_size=ROWS_PER_GROUP)
