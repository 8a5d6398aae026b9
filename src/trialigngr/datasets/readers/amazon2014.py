"""Amazon Reviews 2014 (``reviews_X_5.json.gz`` and ``meta_X.json.gz``); older files are Python literals, not JSON."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from trialigngr.datasets.readers.amazon import (
    Dump,
    Record,
    clean,
    first_text,
    names,
    parse_record,
    price,
    read_dump,
    review_of,
)
from trialigngr.datasets.readers.fields import identifier
from trialigngr.datasets.readers.tables import Tables
from trialigngr.foundation.strict_json import unique_keys


def read(source: Path, scratch: Path) -> Tables:
    """Return the tables; ``categories`` is the first category path of an item."""
    return read_dump(source, scratch, Dump((".json.gz", ".json"), parse, review_of, item))


def parse(line: str) -> Any:
    """Return a JSON record, or one written as a Python literal (which is read, never evaluated)."""
    try:
        return parse_record(line)
    except json.JSONDecodeError:
        literal = ast.parse(line.strip(), mode="eval")
        for part in ast.walk(literal):
            if isinstance(part, ast.Dict):
                unique_keys([(ast.literal_eval(key), None) for key in part.keys if key])
        return ast.literal_eval(literal)


def item(record: Record) -> tuple[Any, ...]:
    """Return the row of an item."""
    paths = record.get("categories") or [[]]
    nested = isinstance(paths, list) and isinstance(paths[0], list)
    return (
        identifier(record, "asin"),
        clean(record.get("title")),
        clean(record.get("description")),
        clean(record.get("brand")),
        names(paths[0] if nested else paths),
        first_text(record.get("imUrl")),
        price(record.get("price")),
    )
