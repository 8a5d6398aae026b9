"""Amazon Reviews 2023 (``X.jsonl.gz``, ``meta_X.jsonl.gz``). An item is a ``parent_asin``; times are milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trialigngr.datasets.readers.amazon import (
    DumpFormat,
    Record,
    clean_names,
    clean_text,
    find_first_text,
    parse_price,
    parse_record,
    parse_timestamp,
    read_dump,
)
from trialigngr.datasets.readers.fields import read_record_id
from trialigngr.datasets.readers.tables import DataTables


def read_tables(source: Path, scratch: Path) -> DataTables:
    """Return the tables."""
    return read_dump(source, scratch, DumpFormat((".jsonl.gz", ".jsonl"), parse_record, make_review_row, make_item_row))


def make_review_row(record: Record) -> tuple[Any, ...]:
    """Return the row of a review."""
    rating = record.get("rating")
    at = parse_timestamp(record["timestamp"])
    user_id, item_id = (read_record_id(record, name) for name in ("user_id", "parent_asin"))
    return user_id, item_id, at, None if rating is None else float(rating)


def make_item_row(record: Record) -> tuple[Any, ...]:
    """Return the row of an item."""
    return (
        read_record_id(record, "parent_asin"),
        clean_text(record.get("title")),
        clean_text(record.get("description")),
        clean_text(record.get("store")),
        clean_names(record.get("categories")),
        _find_image_url(record.get("images")),
        parse_price(record.get("price")),
    )


def _find_image_url(images: object) -> str | None:
    """Return the address of the first picture, the largest there is: of a list of objects, or of an object of lists."""
    if isinstance(images, dict):
        images = [
            {size: first for size, urls in images.items() for first in (urls if isinstance(urls, list) else [urls])[:1]}
        ]
    first = [image for image in images if isinstance(image, dict)][:1] if isinstance(images, list) else []
    return find_first_text(*(image.get(size) for image in first for size in ("hi_res", "large", "thumb")))
