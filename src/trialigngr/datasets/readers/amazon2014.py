"""Amazon Reviews 2014 (``reviews_X_5.json.gz`` and ``meta_X.json.gz``); older files are Python literals, not JSON."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from trialigngr.datasets.readers.amazon import (
    DumpFormat,
    Record,
    clean_names,
    clean_text,
    find_first_text,
    make_review_row,
    parse_price,
    parse_record,
    read_dump,
)
from trialigngr.datasets.readers.fields import read_record_id
from trialigngr.datasets.readers.tables import DataTables
from trialigngr.foundation.strict_json import unique_keys


def read_tables(source: Path, scratch: Path) -> DataTables:
    """Return the tables; ``categories`` is the first category path of an item."""
    return read_dump(
        source, scratch, DumpFormat((".json.gz", ".json"), parse_record_or_literal, make_review_row, make_item_row)
    )


def parse_record_or_literal(line: str) -> Any:
    """Return a JSON record, or one written as a Python literal (which is read, never evaluated)."""
    try:
        return parse_record(line)
    except json.JSONDecodeError:
        literal = ast.parse(line.strip(), mode="eval")
        for part in ast.walk(literal):
            if isinstance(part, ast.Dict):
                unique_keys([(ast.literal_eval(key), None) for key in part.keys if key])
        return ast.literal_eval(literal)


def make_item_row(record: Record) -> tuple[Any, ...]:
    """Return the row of an item."""
    paths = record.get("categories") or [[]]
    nested = isinstance(paths, list) and isinstance(paths[0], list)
    return (
        read_record_id(record, "asin"),
        clean_text(record.get("title")),
        clean_text(record.get("description")),
        clean_text(record.get("brand")),
        clean_names(paths[0] if nested else paths),
        find_first_text(record.get("imUrl")),
        parse_price(record.get("price")),
    )
