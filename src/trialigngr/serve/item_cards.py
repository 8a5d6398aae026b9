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
    rows = index.catalog.row_by_id
    before = np.array([rows[item_id] for item_id in dict.fromkeys(history)], dtype=np.int64)
    cards = []
    for rank, item in enumerate(found, 1):
        row = rows[item.item_id]
        cards.append(
            RankedItem(
                **describe_item(index, row, run_name, "metadata" in include),
                rank=rank,
                score=item.score,
                score_parts=dict(item.score_parts),
                source=item.source,
                why=find_reason(index, row, before) if "why" in include else None,
            )
        )
    return cards


def find_reason(index: CatalogIndex, row: int, history: Rows) -> ItemReason:
    """Return the items of a history that are nearest to an item, by leading codes and then by cosine, and the
    interests that it shares with any of them, its surest first."""
    shared, cosines = index.count_shared_codes(row, history), index.compute_cosines(row, history)
    order = np.lexsort((np.zeros(len(history)) if cosines is None else -cosines, -shared))[
        :MAX_NEAREST_HISTORY
    ].tolist()
    interests = index.snapshot.interests
    known = {tag for other in history.tolist() for tag in interests[other].tag_names}
    return ItemReason(
        nearest_history=[
            NearHistoryItem(
                item_id=index.catalog.item_ids[history[place]],
                shared_prefix=int(shared[place]),
                cosine=None if cosines is None else round(float(cosines[place]), 4),
            )
            for place in order
        ],
        shared_interests=[tag for tag in interests[row].tag_names if tag in known],
    )


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
