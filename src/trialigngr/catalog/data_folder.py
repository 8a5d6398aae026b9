"""A data folder: which files it holds, their columns under our names, and every item in our types.

items.{parquet,csv,jsonl}          item_id; optional title, description, brand, categories, image_path, image_url;
                                   any other column is kept as an attribute
interactions.{parquet,csv,jsonl}   user_id, item_id, timestamp and/or position; optional rating
images/                            what image_path points at

A table may be a folder of part files (items.parquet/part-0.parquet …), as Spark and its like write them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from trialigngr.catalog import columns as column
from trialigngr.catalog.items import ITEM_COLUMNS
from trialigngr.catalog.scanning import SUFFIXES, check_utf8, is_parts, translate_read_errors
from trialigngr.catalog.scanning import scan_data_file as scan_data_file
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import CatalogError, did_you_mean

ORDER_COLUMNS = ("timestamp", "position")


FEEDBACK = ("label", "click", "clicked", "is_click", "is_clicked", "is_like", "like", "liked", "purchased", "feedback")
"""Columns that often say, with a 0, that what was shown was not taken."""


@dataclass(frozen=True)
class DataFolder:
    """A folder with one items file and one interactions file; ``column_map`` maps their column names to ours."""

    root: Path
    items_path: Path
    interactions_path: Path
    column_map: Mapping[str, str]


def open_data_folder(root: Path, column_map: Mapping[str, str] | None = None) -> DataFolder:
    """Return what ``root`` holds; raise `CatalogError` for a missing or ambiguous file, or a mapping of no column."""
    if not root.is_dir():
        raise CatalogError(f"There is no data folder {root}.")
    folder = DataFolder(
        root, _find_only_file(root, "items"), _find_only_file(root, "interactions"), dict(column_map or {})
    )
    there = (
        sorted({*_read_column_names(folder.items_path), *_read_column_names(folder.interactions_path)})
        if folder.column_map
        else []
    )
    for theirs in folder.column_map:
        if theirs not in there:
            hint = did_you_mean(theirs, there)
            raise CatalogError(f"catalog.column_map maps {theirs!r}, but no file in {root} has such a column.{hint}")
    return folder


def _find_only_file(root: Path, name: str) -> Path:
    found = [path for path in (root / f"{name}.{suffix}" for suffix in SUFFIXES) if path.is_file() or is_parts(path)]
    if not found:
        names = ", ".join(f"{name}.{suffix}" for suffix in SUFFIXES)
        near = did_you_mean(f"{name}.parquet", (path.name for path in root.iterdir()))
        raise CatalogError(f"{root} holds no {name} file (one of {names}).{near}")
    if len(found) > 1:
        raise CatalogError(f"{root} holds {' and '.join(path.name for path in found)}; leave one of them.")
    if found[0].suffix != ".parquet":
        check_utf8(found[0])
    return found[0]


def _read_column_names(path: Path) -> list[str]:
    with translate_read_errors(path):
        return scan_data_file(path).collect_schema().names()


def scan_with_column_map(path: Path, column_map: Mapping[str, str]) -> pl.LazyFrame:
    """Return a file lazily with its columns under our names; raise `CatalogError` when two would bear the same one."""
    with translate_read_errors(path):
        table = scan_data_file(path)
        there = table.collect_schema().names()
    mapping = {theirs: ours for theirs, ours in column_map.items() if theirs in there}
    names = [mapping.get(name, name) for name in there]
    for name in names:
        if names.count(name) > 1:
            raise CatalogError(
                f"{path}: two columns would be {name!r} under catalog.column_map; map one of them elsewhere."
            )
    return table.rename(mapping)


def require_column(path: Path, table: pl.LazyFrame, *names: str) -> None:
    """Raise `CatalogError` that says how to map a column when none of ``names`` is there."""
    there = table.collect_schema().names()
    if any(name in there for name in names):
        return
    wanted = " or ".join(repr(name) for name in names)
    theirs = next(iter(get_close_matches(names[0], there, n=1)), "THEIR_NAME")
    raise CatalogError(
        f"{path} has no column {wanted}; it has {', '.join(there)}.{did_you_mean(names[0], there)} "
        f"{_describe_mapping(theirs, names[0])}"
    )


def _describe_mapping(theirs: str, ours: str) -> str:
    """Return the sentence that says how a column is mapped, in a form that a shell and ``--set`` take."""
    if re.fullmatch(r"[\w-]+", theirs):
        return f"Map it with --set catalog.column_map.{theirs}={ours}."
    if theirs.isprintable() and not set(theirs) & set('"=\\'):
        return "Map it with --set " + shlex.quote(f'catalog.column_map."{theirs}"={ours}') + "."
    return f"Rename the column {theirs!r} to {ours} in the file."


def find_items_file(path: Path) -> Path:
    """Return ``path`` itself if it is an items file, in one or in parts, or the one in the folder ``path``."""
    if is_parts(path):
        return path
    if path.is_dir():
        return _find_only_file(path, "items")
    if not path.is_file() or path.suffix[1:] not in SUFFIXES:
        raise CatalogError(f"{path} is neither a folder with an items file nor a .parquet, .csv or .jsonl file.")
    if path.suffix != ".parquet":
        check_utf8(path)
    return path


def read_items(path: Path, column_map: Mapping[str, str]) -> pl.DataFrame:
    """Return the items in file order: the standard columns (`ITEM_COLUMNS`) in our types, then the attributes as they
    stand.

    Empty text is null. A row without an id has a null id; the caller decides about it.
    """
    table = scan_with_column_map(path, column_map)
    require_column(path, table, "item_id")
    schema = table.collect_schema()
    attributes = [name for name in schema.names() if name not in ITEM_COLUMNS]
    with translate_read_errors(path):
        known = [column.cast_item_column(name, schema.get(name), table, path) for name in ITEM_COLUMNS]
        return table.select(*known, *attributes).collect()


def scan_interactions(folder: DataFolder, with_rating: bool) -> pl.LazyFrame:
    """Return, lazily, ``row`` (place in the file), user_id, item_id, the order columns there are, and rating."""
    path, table = folder.interactions_path, scan_with_column_map(folder.interactions_path, folder.column_map)
    require_column(path, table, "user_id")
    require_column(path, table, "item_id")
    schema = table.collect_schema()
    orders = [name for name in ORDER_COLUMNS if name in schema]
    require_column(path, table, *ORDER_COLUMNS)
    if with_rating:
        require_column(path, table, "rating")
    wanted = [column.cast_identifiers(name, schema[name], path) for name in ("user_id", "item_id")]
    with translate_read_errors(path):
        wanted += [column.cast_order(name, schema[name], table, path) for name in orders]
    if with_rating:
        wanted.append(column.cast_numbers("rating", schema["rating"], table, path))
    return table.with_row_index("row").select("row", *wanted)


def tell_unread(folder: DataFolder) -> None:
    """Log the columns that may say what was shown and not taken: each row is an interaction, whatever they hold."""
    path = folder.interactions_path
    with translate_read_errors(path):
        names = scan_with_column_map(path, folder.column_map).collect_schema().names()
    for name in names:
        if name.lower() in FEEDBACK:
            log(
                f"catalog: {path.name} has a column {name!r}, which is not read: every row counts as taken. "
                f"Where 0 says otherwise, set catalog.column_map.{name}=rating and catalog.min_rating=1"
            )
