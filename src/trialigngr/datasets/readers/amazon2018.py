"""Amazon Reviews 2018 (``X_5.json.gz`` or ``X.json.gz``, and ``meta_X.json.gz``)."""

from __future__ import annotations

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


def read(source: Path, scratch: Path) -> Tables:
    """Return the tables."""
    return read_dump(source, scratch, Dump((".json.gz", ".json"), parse_record, review_of, item, True))


def item(record: Record) -> tuple[Any, ...]:
    """Return the row of an item."""
    title = clean(record.get("title"))
    if title and "getTime" in title:
        title = None  # the crawler of 2018 caught a script of the page instead of some titles
    return (
        identifier(record, "asin"),
        title,
        clean(record.get("description")),
        clean(record.get("brand")),
        names(record.get("category")),
        first_text(record.get("imageURLHighRes"), record.get("imageURL"), record.get("image")),
        price(record.get("price")),
    )
