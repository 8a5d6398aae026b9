"""Amazon Reviews 2018 (``X_5.json.gz`` or ``X.json.gz``, and ``meta_X.json.gz``)."""

from __future__ import annotations

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


def read_tables(source: Path, scratch: Path) -> DataTables:
    """Return the tables."""
    return read_dump(
        source, scratch, DumpFormat((".json.gz", ".json"), parse_record, make_review_row, make_item_row, True)
    )


def make_item_row(record: Record) -> tuple[Any, ...]:
    """Return the row of an item."""
    title = clean_text(record.get("title"))
    if title and "getTime" in title:
        title = None  # the crawler of 2018 caught a script of the page instead of some titles
    return (
        read_record_id(record, "asin"),
        title,
        clean_text(record.get("description")),
        clean_text(record.get("brand")),
        clean_names(record.get("category")),
        find_first_text(record.get("imageURLHighRes"), record.get("imageURL"), record.get("image")),
        parse_price(record.get("price")),
    )
