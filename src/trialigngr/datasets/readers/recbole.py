"""RecBole's atomic files: ``NAME.inter`` and, where there is one, ``NAME.item``; tab-separated with typed headers."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from trialigngr.datasets.readers.lines import (
    malformed_line_error,
    read_header,
    read_numbered_lines,
    scan_delimited_file,
)
from trialigngr.datasets.readers.tables import DataTables, find_only_file, find_optional_file
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import CatalogError, did_you_mean

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
COLUMN_ALIASES = {
    "title": ("title", "movie_title", "item_name", "name"),
    "description": ("description",),
    "brand": ("brand",),
    "categories": ("categories", "category", "class", "genre", "genres"),
}
"""The names that RecBole's published sets use for our columns."""
FEEDBACK = ("label", "click", "clicked", "is_click", "is_clicked")
"""Fields that say whether what was shown was taken; sets such as MIND list what was not with a 0."""
SPACE_SEPARATED = ("class", "genre", "genres")
"""Categories that are a token_seq by the book: separated by spaces."""


def read_tables(source: Path, scratch: Path) -> DataTables:
    """Return the tables. Without a timestamp the file's order counts; without ``.item`` items are known by id only."""
    items = find_optional_file(source, "*.item")
    return DataTables(
        _read_items(items), _scan_interactions(find_only_file(source, "*.inter", "log")), items, header_lines=1
    )


def _read_header_fields(path: Path) -> dict[str, str]:
    """Return field name → kind from the header."""
    fields: dict[str, str] = {}
    for field in read_header(path).split("\t"):
        name, _, kind = field.strip().partition(":")
        if kind not in FIELD_TYPES:
            raise malformed_line_error(
                path, 1, f"{field!r} is no typed header, such as item_id:token (kinds are {', '.join(FIELD_TYPES)})"
            )
        if name in fields:
            raise malformed_line_error(path, 1, f"the field {name!r} stands twice; leave one")
        fields[name] = kind
    return fields


def _scan_interactions(path: Path) -> pl.LazyFrame:
    names = list(_read_header_fields(path))
    for name in ("user_id", "item_id"):
        if name not in names:
            raise CatalogError(f"{path} has no field {name!r}; it has {', '.join(names)}.{did_you_mean(name, names)}")
    feedback = next((name for name in FEEDBACK if name in names), None)
    kinds = dict.fromkeys(("timestamp", "rating", *filter(None, [feedback])), pl.Float64())
    types = {name: kinds.get(name, pl.String()) for name in ("user_id", "item_id", *kinds) if name in names}
    if unread := [name for name in names if name not in types]:
        log(f"{path.name}: not read are the fields {', '.join(unread)}")
    table = scan_delimited_file(path, "\t", names, types, skip_header=True)
    if feedback:
        table = _keep_positive(path, table, feedback)
    return table if "timestamp" in names else table.with_row_index("position")


def _keep_positive(path: Path, table: pl.LazyFrame, feedback: str) -> pl.LazyFrame:
    """Return the interactions whose feedback is above 0, which becomes the rating where there is no other."""
    dropped = table.select((pl.col(feedback) <= 0).sum()).collect().item()
    if dropped:
        log(f"{path.name}: dropped {dropped:,} lines with {feedback} 0: shown, and not taken")
    taken = table.filter(pl.col(feedback) > 0)
    return taken.drop(feedback) if "rating" in taken.collect_schema() else taken.rename({feedback: "rating"})


def _read_items(path: Path | None) -> pl.LazyFrame:
    if path is None:
        return pl.LazyFrame(schema={"item_id": pl.String})
    kinds = _read_header_fields(path)
    if "item_id" not in kinds:
        raise CatalogError(f"{path} has no field 'item_id'; it has {', '.join(kinds)}.")
    rows, place = [], list(kinds).index("item_id")
    for number, line in list(read_numbered_lines(path))[1:]:
        row = line.split("\t")
        if len(row) != len(kinds):
            raise malformed_line_error(path, number, f"not {len(kinds)} fields: {line[:80]!r}")
        if not row[place]:
            raise malformed_line_error(path, number, "an item without an id")
        rows.append(row)
    table = pl.DataFrame(rows, schema=dict.fromkeys(kinds, pl.String()), orient="row").lazy()
    return table.select(
        _cast_column(name, kind).alias(ours)
        for (name, kind), ours in zip(kinds.items(), _map_names(kinds), strict=True)
    )


def _map_names(kinds: dict[str, str]) -> list[str]:
    ours = {theirs: theirs for theirs in kinds}
    for name, known in COLUMN_ALIASES.items():
        found = next((theirs for theirs in known if theirs in kinds), None)
        if found:
            ours[found] = name
    return list(ours.values())


def _cast_column(name: str, kind: str) -> pl.Expr:
    """Return a field in its kind. A title is text, token_seq or not."""
    if kind == "float":
        return pl.col(name).cast(pl.Float64, strict=False)
    if kind == "float_seq":
        return pl.col(name).str.split(" ").list.eval(pl.element().cast(pl.Float64, strict=False))
    return _split_categories(name) if name in COLUMN_ALIASES["categories"] else pl.col(name)


def _split_categories(name: str) -> pl.Expr:
    """Return lists of names. Published sets write them quoted ('A', 'B'), with commas, or (films) with spaces."""
    text = pl.col(name)
    quoted = text.str.extract_all(r"'[^']*'|\"[^\"]*\"").list.eval(pl.element().str.strip_chars("'\""))
    spaced = text.str.split(" ") if name in SPACE_SEPARATED else pl.concat_list(text)
    split = pl.when(text.str.contains(",", literal=True)).then(text.str.split(",")).otherwise(spaced)
    names = pl.when(text.str.contains(r"^\[?['\"]")).then(quoted).otherwise(split)
    return names.list.eval(pl.element().str.strip_chars())
