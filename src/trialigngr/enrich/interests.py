"""Interests (MDIM, Eq. 6): what kind of life an item fits into, as 2–4 tags with a confidence and one lifestyle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from trialigngr.enrich.parsing import Tag
from trialigngr.enrich.settings import InterestSettings
from trialigngr.enrich.table import build_table, save_table
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.tables import read_table
from trialigngr.images.image_open import count_reasons

INTERESTS_FILE = "interests.parquet"
INTERESTS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "item_id": pl.String,
    "tags": pl.List(pl.Struct({"tag": pl.String, "confidence": pl.String})),
    "lifestyle": pl.String,
    "generator": pl.String,
    "problem": pl.String,
}
_ROW_SCHEMA = {"row": pl.UInt32} | {name: kind for name, kind in INTERESTS_SCHEMA.items() if name != "tags"}
_TAG_SCHEMA = {"row": pl.UInt32, "tag": pl.String, "confidence": pl.String}


class Interests(NamedTuple):
    """The interests of one item, the surest first. ``lifestyle`` is None when there is nothing to tell it from."""

    tags: tuple[Tag, ...] = ()
    lifestyle: str | None = None

    @property
    def tag_names(self) -> list[str]:
        """The tags without their confidence."""
        return [tag.tag for tag in self.tags]


def save_interests(
    settings: InterestSettings,
    ids: Iterable[str],
    interests: Iterable[tuple[Interests, str | None]],
    generator_name: str,
    out: Path,
) -> dict[str, Any]:
    """Write what was said about each item, or the problem for which nothing was, and by whom; return the facts."""
    read = partial(_make_table, drop_low=settings.drop_low_confidence, generator_name=generator_name)
    table = build_table(zip(ids, interests, strict=True), INTERESTS_SCHEMA, read)
    save_table(table, out / INTERESTS_FILE)
    # Counted in the table: as Python's objects, distinct tags take several times its room.
    tags = table.select(pl.col("tags").filter(pl.col("tags").list.len() > 0).explode()).to_series()
    frequent = _count_words(tags.struct.field("tag"))
    return {
        "generator": generator_name,
        "items_without_tags": int((table["tags"].list.len() == 0).sum()),
        "tags": len(tags),
        "distinct_tags": len(frequent),
        "most_frequent": dict(frequent.head(10).iter_rows()),
        "confidence": dict(_count_words(tags.struct.field("confidence")).iter_rows()),
        "failed_items": count_reasons(table["problem"]),
    }


def _make_table(
    interests: Sequence[tuple[str, tuple[Interests, str | None]]], drop_low: bool, generator_name: str
) -> pl.DataFrame:
    """Return what was said about each item as a table."""
    rows, tags = [], []
    for row, (item_id, (found, problem)) in enumerate(interests):
        rows.append((row, item_id, found.lifestyle, generator_name, problem))
        tags += [(row, tag, confidence) for tag, confidence in found.tags if not (drop_low and confidence == "low")]
    # Lists that polars makes itself, because it takes four times as long to read lists of dicts.
    listed = (
        pl.DataFrame(tags, _TAG_SCHEMA, orient="row").group_by("row").agg(pl.struct("tag", "confidence").alias("tags"))
    )
    table = pl.DataFrame(rows, _ROW_SCHEMA, orient="row").join(listed, "row", "left", maintain_order="left")
    return table.with_columns(pl.col("tags").fill_null([])).select(INTERESTS_SCHEMA.keys())


def _count_words(words: pl.Series) -> pl.DataFrame:
    """Return each word and how often it stands there, the most frequent first, equal ones by the alphabet."""
    # Sorting takes a third of the room that grouping does.
    runs = words.sort().rle().struct.unnest()
    return runs.sort("len", descending=True, maintain_order=True).select("value", "len")


def load_interests(folder: Path) -> list[Interests]:
    """Return the interests in row order."""
    table = read_table(check_file(folder / INTERESTS_FILE), ["tags", "lifestyle"])
    return [
        Interests(tuple(Tag(tag["tag"], tag["confidence"]) for tag in row["tags"]), row["lifestyle"])
        for row in table.iter_rows(named=True)
    ]
