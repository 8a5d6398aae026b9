"""Items as the service shows them, why they may have come, and lists that no group of items fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from trialigngr.catalog.queries import Rows
from trialigngr.runs.request import Recommendation
from trialigngr.serve.catalog_index import CatalogIndex
from trialigngr.serve.request_models import DiversityCap
from trialigngr.serve.response_models import ItemMetadata, ItemReason, NearHistoryItem, RankedItem

MAX_NEAREST_HISTORY = 3
"""Items of the history that a reason names."""


def describe_item(index: CatalogIndex, row: int, run_name: str, with_metadata: bool = True) -> dict[str, Any]:
    """Return the fields of an `ItemCard`."""
    item = index.catalog[row]
    place = f"/v1/items/{quote(item.item_id, safe='')}/image?run={quote(run_name, safe='')}"
    said = ItemMetadata(title=item.display_name, brand=item.brand, categories=list(item.categories))
    return {
        "item_id": item.item_id,
        "sid": index.list_codes(row),
        "sid_text": index.snapshot.sids.sid_text(row),
        "image_url": place if item.image_path else None,
        "metadata": said if with_metadata else None,
    }


def describe_recommendations(
    found: Sequence[Recommendation], history: Sequence[str], index: CatalogIndex, run_name: str, include: Sequence[str]
) -> list[RankedItem]:
    """Return the items of a list with their reasons, as far as those are asked for."""
    row_by_id = index.catalog.row_by_id
    rows = np.array([row_by_id[item.item_id] for item in found], dtype=np.int64)
    before = np.array([row_by_id[item_id] for item_id in dict.fromkeys(history)], dtype=np.int64)
    reasons = find_reasons(index, rows, before) if "why" in include else [None] * len(rows)
    return [
        RankedItem(
            **describe_item(index, row, run_name, "metadata" in include),
            rank=rank,
            score=item.score,
            score_parts=dict(item.score_parts),
            source=item.source,
            why=reason,
        )
        for rank, (item, row, reason) in enumerate(zip(found, rows.tolist(), reasons, strict=True), 1)
    ]


def find_reasons(index: CatalogIndex, rows: Rows, history: Rows) -> list[ItemReason]:
    """Return for each item those of a history that are nearest to it, by leading codes and then by cosine, and the
    interests that it shares with any of them, its surest first."""
    shared_KM, cosines_KM = index.count_shared_codes(rows, history), index.compute_cosines(rows, history)
    ties_KM = np.zeros_like(shared_KM) if cosines_KM is None else -cosines_KM
    nearest_KM = np.lexsort((ties_KM, -shared_KM))[:, :MAX_NEAREST_HISTORY]
    interests, history_ids = index.snapshot.interests, index.list_ids(history)
    known = {tag for other in history.tolist() for tag in interests[other].tag_names}

    def describe_reason(number: int, row: int) -> ItemReason:
        nearest_history = [
            NearHistoryItem(
                item_id=history_ids[place],
                shared_prefix=int(shared_KM[number, place]),
                cosine=None if cosines_KM is None else round(float(cosines_KM[number, place]), 4),
            )
            for place in nearest_KM[number].tolist()
        ]
        shared_interests = [tag for tag in interests[row].tag_names if tag in known]
        return ItemReason(nearest_history=nearest_history, shared_interests=shared_interests)

    return [describe_reason(number, row) for number, row in enumerate(rows.tolist())]


def cap_groups(found: Sequence[Recommendation], cap: DiversityCap, k: int, index: CatalogIndex) -> list[Recommendation]:
    """Return the first k items of a list, of each group no more than a cap allows; an item without a group is alone."""
    counts: dict[object, int] = {}
    kept = []
    for item in found:
        group = _find_group(cap.by, index.catalog.row_by_id[item.item_id], index)
        if group is None or counts.get(group, 0) < cap.max_per_group:
            counts[group] = counts.get(group, 0) + 1
            kept.append(item)
    return kept[:k]


def _find_group(by: str, row: int, index: CatalogIndex) -> object:
    if by.startswith("sid:"):
        return tuple(index.list_codes(row)[: int(by[4:])])
    item = index.catalog[row]
    return item.brand if by == "brand" else next(iter(item.categories[-1:]), None)
