"""What every reader gives: the two tables of a data folder, lazily, and the protocol that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.tables import scan_table, write_table

ROWS_PER_FILE = 100_000


@dataclass(frozen=True)
class DataTables:
    """Items and interactions with our column names. Items that only the interactions name may be missing here.

    Where the items stand in a file by the line, it is ``items_file``: a row for each line below its ``header_lines``.
    """

    items: pl.LazyFrame
    interactions: pl.LazyFrame
    items_file: Path | None = None
    header_lines: int = 0


class Reader(Protocol):
    """Reads one of the field's formats; a `CatalogError` names file and line. ``scratch`` is an empty folder."""

    def __call__(self, source: Path, scratch: Path) -> DataTables:
        """Return the tables of ``source``."""
        ...


def spill_to_parquet(rows: Iterable[tuple[Any, ...]], schema: Mapping[str, pl.DataType], folder: Path) -> pl.LazyFrame:
    """Write rows into Parquet files of ``folder``, a batch each, and return them lazily: memory stays flat."""
    folder.mkdir()
    rest, parts = iter(rows), [pl.LazyFrame(schema=dict(schema))]
    while batch := list(islice(rest, ROWS_PER_FILE)):
        path = folder / f"{len(parts):06}.parquet"
        write_table(pl.DataFrame(batch, schema=dict(schema), orient="row"), path)
        parts.append(scan_table(path))
    return pl.concat(parts)


def find_only_file(folder: Path, pattern: str, what: str) -> Path:
    """Return the only file of ``folder`` that fits ``pattern``; raise `CatalogError` when there is none, or several."""
    found = find_optional_file(folder, pattern)
    if found is None:
        raise CatalogError(f"{folder} holds no {what} ({pattern}).")
    return found


def find_optional_file(folder: Path, pattern: str) -> Path | None:
    """Return the only file of ``folder`` that fits ``pattern``, or None; raise `CatalogError` for several."""
    if not folder.is_dir():
        raise CatalogError(f"{folder} is not a folder.")
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:3])
        raise CatalogError(f"{folder} holds {len(found)} files {pattern} ({names}); leave one.")
    return found[0] if found else None
