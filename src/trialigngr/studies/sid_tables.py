"""Tables that stand beside SIDs: the items' categories, and the targets of a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.catalog.columns import cast_categories as category_column
from trialigngr.catalog.columns import cast_identifiers
from trialigngr.catalog.data_folder import find_items_file
from trialigngr.catalog.scanning import scan_data_file, translate_read_errors
from trialigngr.foundation.console import log
from trialigngr.sids.errors import SidError
from trialigngr.sids.quality import pick_categories


def read_categories(path: Path, item_ids: Sequence[str]) -> list[str | None]:
    """Return one category an item; raise `SidError` when the file has none, or an item twice."""
    table = _read_columns(path, "item_id", "categories")
    ids = table["item_id"].to_list()
    known = {item_id: tuple(names or ()) for item_id, names in zip(ids, table["categories"].to_list(), strict=True)}
    if len(known) < len(ids):
        twice = next(item_id for item_id, times in Counter(ids).items() if times > 1)
        raise SidError(f"{path} names item {twice!r} more than once; leave one row for each.")
    _refuse_strangers(path, known, item_ids)
    return pick_categories([known.get(item_id, ()) for item_id in item_ids])


def read_targets(path: Path, item_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the rows of the items that are targets; those that have no SID are left out, which is said."""
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    named = _read_columns(path, "item_id")["item_id"].to_list()
    _refuse_strangers(path, named, item_ids)
    found = [rows[name] for name in named if name in rows]
    if len(found) < len(named):
        log(f"{path}: {len(named) - len(found)} of {len(named)} targets have no SID and are left out")
    return np.array(found, dtype=np.int64)


def _refuse_strangers(path: Path, named: Collection[str], item_ids: Sequence[str]) -> None:
    if set(named).isdisjoint(item_ids):
        example = next(iter(named), None)
        raise SidError(f"{path} names none of the {len(item_ids)} items with a SID; its first item is {example!r}.")


def _read_columns(path: Path, *names: str) -> pl.DataFrame:
    """Return these columns of a table file, in our types; raise a sentence where they are not there or hold no such
    thing."""
    path = find_items_file(path)
    with translate_read_errors(path):
        table = scan_data_file(path)
        schema = table.collect_schema()
        if missing := [name for name in names if name not in schema]:
            raise SidError(
                f"{path} needs the columns {' and '.join(names)}; it has {', '.join(schema) or 'none'}. Name a column "
                f"{missing[0]} in it."
            )
        numbers = "categories" in names and schema["categories"].is_float()
        if numbers and table.select(pl.col("categories").is_not_nan().any()).collect().item():
            raise SidError(f"{path}: column 'categories' is of numbers; a list of names is needed.")
        wanted: dict[str, Callable[..., pl.Expr]] = {
            "item_id": cast_identifiers,
            "categories": partial(category_column, table=table),
        }
        found = table.select(wanted[name](name, schema[name], path) for name in names).collect()
    if found["item_id"].has_nulls():
        raise SidError(f"{path}, row {found['item_id'].is_null().arg_max()}: item_id is empty; give every item an id.")
    return found
