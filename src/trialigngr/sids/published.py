"""SIDs that others made, read from columns of the items file instead of being fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trialigngr.foundation.errors import did_you_mean
from trialigngr.sids.collisions import compute_collision_rates
from trialigngr.sids.errors import SidError
from trialigngr.sids.formats import build_sids
from trialigngr.sids.quantizers.settings import PublishedSettings
from trialigngr.sids.semantic_ids import SemanticIds, parse_sid


def write_published_sids(settings: PublishedSettings, items: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """Write ``sids.parquet`` for all items, and into ``images/`` the SIDs of pictures, where there is such a column;
    return the facts. Raises `SidError` for an item without a SID, and for text that is none."""
    column, *image_columns = settings.columns
    sids = read_sid_column(items, column)
    if len(sids) < items.height:
        raise SidError(f"{items.height - len(sids)} of {items.height} items have no SID in {column!r}.")
    sids.save(folder)
    facts = _collect_facts(sids)
    for image_column in image_columns:
        images = read_sid_column(items, image_column)
        (folder / "images").mkdir(exist_ok=True)
        images.save(folder / "images")
        facts["images"] = _collect_facts(images)
    return facts


def read_sid_column(items: pl.DataFrame, column: str) -> SemanticIds:
    """Return the SIDs in a column, of the items that have one; upper-case tokens (MACRec's pictures) are read as
    lower-case ones."""
    check_sid_column(items, column)
    named = items.select("item_id", column).drop_nulls(column)
    ids, codes = named["item_id"].to_list(), []
    for item_id, text in zip(ids, named[column].to_list(), strict=True):
        try:
            codes.append(parse_sid(text.lower()))
        except ValueError as error:
            raise SidError(f"{column!r} of item {item_id!r}: {error}") from None
    return build_sids(ids, codes)


def check_sid_column(items: pl.DataFrame, column: str) -> None:
    """Raise `SidError` unless the items have a column of text of that name."""
    if items.schema.get(column) != pl.String:
        raise SidError(
            f"The items have no column {column!r} of SIDs as text; they have {', '.join(items.columns)}."
            f"{did_you_mean(column, items.columns)}"
        )


def _collect_facts(sids: SemanticIds) -> dict[str, Any]:
    collisions = compute_collision_rates(sids.codes_NL)
    codes_and_sizes = zip(sids.codes_NL.T, sids.codebook_sizes, strict=True)
    return {
        "quantizer": "published",
        "items": len(sids),
        "collisions_raw": collisions,
        "collisions": collisions,
        "moved_items": 0,
        "utilization": [len(np.unique(codes_N[codes_N >= 0])) / size for codes_N, size in codes_and_sizes],
        "codebook_sizes": list(sids.codebook_sizes),
    }
