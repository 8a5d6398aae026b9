"""Amazon Reviews 2014 (``reviews_X_5.json.gz`` and ``meta_X.json.gz``); older files are Python literals, not JSON."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from trialigngr.catalog.readers.amazon import Dump, Record, clean, first_text, names, price, read_dump, review_of
from trialigngr.catalog.readers.tables import Tables


def read(source: Path, scratch: Path) -> Tables:
    """Return the tables; ``categories`` is the first category path of an item."""
    return read_dump(source, scratch, Dump((".json.gz", ".json"), parse, review_of, item))


def parse(line: str) -> Any:
    """Return a JSON record, or one written as a Python literal (which is read, never evaluated)."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return ast.literal_eval(line.strip())


def item(record: Record) -> tuple[Any, ...]:
    """Return the row of an item."""
    paths = record.get("categories") or [[]]
    return (
        str(record["asin"]),
        clean(record.get("title")),
        clean(record.get("description")),
        clean(record.get("brand")),
        names(paths[0]),
        first_text(record.get("imUrl")),
        price(record.get("price")),
    )
