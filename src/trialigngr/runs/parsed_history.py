"""`ParsedHistory`: a history of item ids as catalogue rows, cut to what a system looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trialigngr.catalog.items import Catalog
from trialigngr.catalog.queries import Rows
from trialigngr.runs.request import DroppedItem, RecommendRequest


@dataclass(frozen=True)
class ParsedHistory:
    """The rows of a history that a system looks at, when they were taken where that is known, and what was dropped."""

    rows: Rows
    times: Rows | None
    dropped: tuple[DroppedItem, ...]


def parse_history(
    request: RecommendRequest, catalog: Catalog, num_items: int, count_looked_at: Callable[[Rows], int]
) -> ParsedHistory:
    """Return the history of a request for a system that knows the first ``num_items`` rows of a catalogue.

    ``count_looked_at`` says how many of a history's items, its last ones, the system looks at. Raises `CatalogError`
    for an unknown item, unless the request skips those.
    """
    known = catalog.row_by_id if request.skip_unknown else None
    rows, kept, dropped = list[int](), list[int](), list[DroppedItem]()
    for place, item_id in enumerate(request.history):
        row = catalog.find_row(item_id) if known is None or item_id in known else num_items
        if row < num_items:
            rows.append(row)
            kept.append(place)
        else:
            dropped.append(DroppedItem(item_id, "unknown"))
    first = len(rows) - count_looked_at(np.array(rows, dtype=np.int64))
    dropped += [DroppedItem(request.history[place], "too old") for place in kept[:first]]
    rows, kept = rows[first:], kept[first:]
    times = None if request.times is None else np.array([request.times[p] for p in kept], dtype=np.int64)
    return ParsedHistory(np.array(rows, dtype=np.int64), times, tuple(dropped))
