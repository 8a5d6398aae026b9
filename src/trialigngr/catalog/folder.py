"""A data folder: which files it holds, their columns under our names, and every item in our types.

items.{parquet,csv,jsonl}          item_id; optional title, description, brand, categories, image_path, image_url;
                                   any other column is kept as an attribute
interactions.{parquet,csv,jsonl}   user_id, item_id, timestamp and/or position; optional rating
images/                            what image_path points at
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from trialigngr.catalog import columns as column
from trialigngr.catalog.items import COLUMNS
from trialigngr.foundation.errors import CatalogError, did_you_mean
from trialigngr.foundation.tables import scan_json_lines, scan_table

SUFFIXES = ("parquet", "csv", "jsonl")
ORDERS = ("timestamp", "position")
INTERACTION_COLUMNS = ("user_id", "item_id", *ORDERS, "rating")


@dataclass(frozen=True)
class DataFolder:
    """A folder with one items file and one interactions file; ``columns`` maps their column names to ours."""

    root: Path
    items: Path
    interactions: Path
    columns: Mapping[str, str]


def open_folder(root: Path, columns: Mapping[str, str] | None = None) -> DataFolder:
    """Return what ``root`` holds; raise `CatalogError` for a missing or ambiguous file, or a mapping of no column."""
    if not root.is_dir():
        raise CatalogError(f"There is no data folder {root}.")
    folder = DataFolder(root, _the_file(root, "items"), _the_file(root, "interactions"), dict(columns or {}))
    there = sorted({*_names(folder.items), *_names(folder.interactions)}) if folder.columns else []
    for theirs in folder.columns:
        if theirs not in there:
            hint = did_you_mean(theirs, there)
            raise CatalogError(f"catalog.columns maps {theirs!r}, but no file in {root} has such a column.{hint}")
    return folder


def _the_file(root: Path, name: str) -> Path:
    found = [path for path in (root / f"{name}.{suffix}" for suffix in SUFFIXES) if path.is_file()]
    if not found:
        names = ", ".join(f"{name}.{suffix}" for suffix in SUFFIXES)
        near = did_you_mean(f"{name}.parquet", (path.name for path in root.iterdir()))
        raise CatalogError(f"{root} holds no {name} file (one of {names}).{near}")
    if len(found) > 1:
        raise CatalogError(f"{root} holds {' and '.join(path.name for path in found)}; leave one of them.")
    if found[0].suffix != ".parquet":
        _check_utf8(found[0])
    return found[0]


def scan(path: Path) -> pl.LazyFrame:
    """Return a table as it stands, lazily. CSV cells stay text, so that the id 007 does not become 7."""
    if path.suffix == ".parquet":
        return scan_table(path)
    if path.suffix == ".csv":
        return pl.scan_csv(path.absolute(), infer_schema=False, glob=False)
    return scan_json_lines(path)


def _check_utf8(path: Path) -> None:
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with path.open("rb") as file:
        while True:
            block = file.read(1 << 20)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise CatalogError(
                    f"{path} is not UTF-8 (line {line}); convert it, for example with iconv -f latin1 -t utf-8."
                ) from None
            if not block:
                return
            line += block.count(b"\n")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what polars says about an unreadable file into a `CatalogError` that names the file."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise CatalogError(f"{path} cannot be read as {path.suffix[1:]}: {reason}.") from None


def _names(path: Path) -> list[str]:
    with reading(path):
        return scan(path).collect_schema().names()


def renamed(path: Path, columns: Mapping[str, str]) -> pl.LazyFrame:
    """Return a file lazily with its columns under our names; raise `CatalogError` when two would bear the same one."""
    with reading(path):
        table = scan(path)
        there = table.collect_schema().names()
    mapping = {theirs: ours for theirs, ours in columns.items() if theirs in there}
    names = [mapping.get(name, name) for name in there]
    for name in names:
        if names.count(name) > 1:
            raise CatalogError(
                f"{path}: two columns would be {name!r} under catalog.columns; map one of them elsewhere."
            )
    return table.rename(mapping)


def require(path: Path, table: pl.LazyFrame, *names: str) -> None:
    """Raise `CatalogError` that says how to map a column when none of ``names`` is there."""
    there = table.collect_schema().names()
    if any(name in there for name in names):
        return
    wanted = " or ".join(repr(name) for name in names)
    theirs = next(iter(get_close_matches(names[0], there, n=1)), "THEIR_NAME")
    raise CatalogError(
        f"{path} has no column {wanted}; it has {', '.join(there)}.{did_you_mean(names[0], there)} "
        f"Map it with --set catalog.columns.{theirs}={names[0]}."
    )


def items_file(path: Path) -> Path:
    """Return ``path`` itself if it is an items file, or the one in the folder ``path``."""
    if path.is_dir():
        return _the_file(path, "items")
    if not path.is_file() or path.suffix[1:] not in SUFFIXES:
        raise CatalogError(f"{path} is neither a folder with an items file nor a .parquet, .csv or .jsonl file.")
    if path.suffix != ".parquet":
        _check_utf8(path)
    return path


def read_items(path: Path, columns: Mapping[str, str]) -> pl.DataFrame:
    """Return the items in file order: the standard columns (`COLUMNS`) in our types, then the attributes as they stand.

    Empty text is null. A row without an id has a null id; the caller decides about it.
    """
    table = renamed(path, columns)
    require(path, table, "item_id")
    schema = table.collect_schema()
    known = [column.standard(name, schema.get(name), path) for name in COLUMNS]
    attributes = [name for name in schema.names() if name not in COLUMNS]
    with reading(path):
        return table.select(*known, *attributes).collect()


def scan_interactions(folder: DataFolder, with_rating: bool) -> pl.LazyFrame:
    """Return, lazily, ``row`` (place in the file), user_id, item_id, the order columns there are, and rating."""
    path, table = folder.interactions, renamed(folder.interactions, folder.columns)
    require(path, table, "user_id")
    require(path, table, "item_id")
    schema = table.collect_schema()
    orders = [name for name in ORDERS if name in schema]
    require(path, table, *ORDERS)
    if with_rating:
        require(path, table, "rating")
    wanted = [column.identifier(name, schema[name], path) for name in ("user_id", "item_id")]
    with reading(path):
        wanted += [column.order(name, schema[name], table, path) for name in orders]
    if with_rating:
        wanted.append(column.number("rating", schema["rating"], table, path))
    return table.with_row_index("row").select("row", *wanted)
