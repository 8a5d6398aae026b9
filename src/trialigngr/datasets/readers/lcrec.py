"""The json set of the LC-Rec / LETTER / MiniOneRec line: ``NAME.inter.json``, where there are ``.item`` and ``.index``.

``inter``: user → list of items, oldest first. ``item``: item → title, description, brand, categories. ``index``: item →
list of SID tokens; they are kept as the attribute ``sid``, joined to one string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from trialigngr.datasets.readers.fields import MissingIdError, join_texts, read_id, read_names
from trialigngr.datasets.readers.lines import malformed_line_error
from trialigngr.datasets.readers.tables import DataTables, find_only_file, find_optional_file, spill_to_parquet
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.strict_json import mend_text, parse_json

INTERACTION_SCHEMA: dict[str, pl.DataType] = {"user_id": pl.String(), "item_id": pl.String(), "position": pl.Int64()}
ITEM_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "description": pl.String(),
    "brand": pl.String(),
    "categories": pl.List(pl.String()),
    "sid": pl.String(),
}


def read_tables(source: Path, scratch: Path) -> DataTables:
    """Return the tables; ``categories``, one text with commas there, is cut at them."""
    log = find_only_file(source, "*.inter.json", "log")
    items, sids = find_optional_file(source, "*.item.json"), find_optional_file(source, "*.index.json")
    described = _load_json(items) if items else {}
    index = _load_json(sids) if sids else {}
    rows = [
        _make_item_row(item_id, described.get(item_id, {}), index.get(item_id), items)
        for item_id in {**described, **index}
    ]
    table = pl.DataFrame(rows, schema=ITEM_SCHEMA, orient="row").lazy()
    return DataTables(table, spill_to_parquet(_read_interactions(log), INTERACTION_SCHEMA, scratch / "log"))


def _load_json(path: Path) -> dict[str, Any]:
    try:
        body = parse_json(path.read_text(encoding="utf-8-sig"), constant=lambda _: None)
    except UnicodeDecodeError as error:
        raise malformed_line_error(path, error.object.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    except json.JSONDecodeError as error:
        raise malformed_line_error(path, error.lineno, f"not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise CatalogError(f"{path} cannot be read: {why}.") from None
    if not isinstance(body, dict):
        raise CatalogError(f"{path} is not an object from ids to what belongs to them.")
    return body


def _read_interactions(path: Path) -> Iterator[tuple[str, str, int]]:
    for user_id, items in _load_json(path).items():
        if not isinstance(items, list):
            raise CatalogError(f"{path}: the history of user {user_id!r} is not a list.")
        for position, item_id in enumerate(items):
            try:
                yield read_id(user_id, "the user"), read_id(item_id, "an item"), position
            except MissingIdError as error:
                raise malformed_line_error(
                    path, _line_of(path, user_id), f"in the history of user {user_id!r}, {error}"
                ) from None


def _line_of(path: Path, key: str) -> int:
    """Return the line in which a key stands, as well as can be told of JSON that is read already."""
    text = path.read_text(encoding="utf-8-sig")
    found = re.search(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _make_item_row(item_id: str, features: Any, tokens: Any, path: Path | None) -> tuple[Any, ...]:
    if not isinstance(features, dict):
        raise CatalogError(f"{path}: item {item_id!r} is not an object with title, description, brand and categories.")
    categories = features.get("categories")
    try:
        names = read_names(categories)
        if names == [categories]:
            names = names[0].split(",")
        texts = [join_texts(features.get(name)) for name in ("title", "description", "brand")]
        sid = "".join(read_names(tokens)) or None
        return (
            read_id(item_id, "an item"),
            *((text.strip() or None) if text else None for text in texts),
            [mend_text(name).strip() for name in names if name.strip()],
            sid,
        )
    except ValueError as error:
        line = _line_of(path, item_id) if path else 1
        raise malformed_line_error(path or Path(item_id), line, f"item {item_id!r} cannot be read: {error}") from None
