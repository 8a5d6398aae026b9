"""Amazon Reviews 2023 (``X.jsonl.gz``, ``meta_X.jsonl.gz``). An item is a ``parent_asin``; times are milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trialigngr.datasets.readers.amazon import (
    Dump,
    Record,
    clean,
    first_text,
    moment,
    names,
    parse_record,
    price,
    read_dump,
)
from trialigngr.datasets.readers.fields import identifier
from trialigngr.datasets.readers.tables import Tables


def read(source: Path, scratch: Path) -> Tables:
    """Return the tables."""
    return read_dump(source, scratch, Dump((".jsonl.gz", ".jsonl"), parse_record, review, item))


def review(record: Record) -> tuple[Any, ...]:
    """Return the row of a review."""
    rating = record.get("rating")
    at = moment(record["timestamp"])
    user_id, item_id = (identifier(record, name) for name in ("user_id", "parent_asin"))
    return user_id, item_id, at, None if rating is None else float(rating)


def item(record: Record) -> tuple[Any, ...]:
    """Return the row of an item."""
    return (
        identifier(record, "parent_asin"),
        clean(record.get("title")),
        clean(record.get("description")),
        clean(record.get("store")),
        names(record.get("categories")),
        _picture(record.get("images")),
        price(record.get("price")),
    )


def _picture(images: object) -> str | None:
    """Return the address of the first picture, the largest there is: of a list of objects, or of an object of lists."""
    if isinstance(images, dict):
        images = [
            {size: first for size, urls in images.items() for first in (urls if isinstance(urls, list) else [urls])[:1]}
        ]
    first = [image for image in images if isinstance(image, dict)][:1] if isinstance(images, list) else []
    return first_text(*(image.get(size) for image in first for size in ("hi_res", "large", "thumb")))
