"""Amazon Reviews 2023 (``X.jsonl.gz``, ``meta_X.jsonl.gz``). An item is a ``parent_asin``; times are milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trialigngr.catalog.readers.amazon import Dump, Record, clean, first_text, moment, names, price, read_dump
from trialigngr.catalog.readers.tables import Tables


def read(source: Path, scratch: Path) -> Tables:
    """Return the tables."""
    return read_dump(source, scratch, Dump((".jsonl.gz", ".jsonl"), json.loads, review, item))


def review(record: Record) -> tuple[Any, ...]:
    """Return the row of a review."""
    rating = record.get("rating")
    at = moment(record["timestamp"])
    return str(record["user_id"]), str(record["parent_asin"]), at, None if rating is None else float(rating)


def item(record: Record) -> tuple[Any, ...]:
    """Return the row of an item."""
    images = [image for image in record.get("images") or [] if isinstance(image, dict)]
    return (
        str(record["parent_asin"]),
        clean(record.get("title")),
        clean(record.get("description")),
        clean(record.get("store")),
        names(record.get("categories")),
        first_text(*(image.get(size) for image in images[:1] for size in ("hi_res", "large", "thumb"))),
        price(record.get("price")),
    )
