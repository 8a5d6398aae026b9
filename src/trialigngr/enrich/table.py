"""`table_of`: what was said about each item as a table, made as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from trialigngr.enrich.generator import batches

AT_ONCE = 4096
"""Rows that stand in memory as Python's objects, which take ten times a table's room."""


def table_of(rows: Iterable[tuple[Any, ...]], schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """Return rows as a table of that schema."""
    empty = pl.DataFrame(schema=schema)
    return pl.concat([empty, *(pl.DataFrame(some, schema=schema, orient="row") for some in batches(rows, AT_ONCE))])
