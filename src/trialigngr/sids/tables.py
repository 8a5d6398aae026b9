"""Tables of strangers: Parquet or a sentence, and the item ids that they name."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from trialigngr.catalog.columns import cast_identifiers
from trialigngr.foundation.errors import CatalogError
from trialigngr.sids.errors import SidError

ID = "item_id"


def read_parquet_table(path: Path) -> pl.DataFrame:
    """Return a Parquet file; raise `SidError` for a file that is none."""
    try:
        return pl.read_parquet(path.absolute(), glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise SidError(f"{path} cannot be read as Parquet: {reason}.") from None


def read_ids(path: Path, table: pl.DataFrame) -> list[str]:
    """Return the column ``item_id`` as text; raise `SidError` when it is not there, holds no ids, or lacks one."""
    if ID not in table.columns:
        raise SidError(f"{path} has no column {ID}; it has {', '.join(table.columns) or 'no column'}.")
    try:
        ids = table.select(cast_identifiers(ID, table.schema[ID], path))[ID]
    except CatalogError as error:
        raise SidError(str(error)) from None
    if ids.has_nulls():
        raise SidError(f"{path}, row {ids.is_null().arg_max()}: {ID} is empty; give every item an id.")
    return ids.to_list()
