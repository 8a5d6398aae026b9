"""`draw_map`: where items lie by their embeddings, as dots that are links."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np

from trialigngr.foundation.errors import ErrorKind
from trialigngr.report.charts import scale_places
from trialigngr.serve.catalog_index import CatalogIndex
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.pages.shown_lists import describe_rows
from trialigngr.serve.response_models import ItemCard
from trialigngr.serve.served_run import ServedRun
from trialigngr.sids.tsne import MAX_COLORED, CodeMap

MAP_SIZE = 1000
_DRAWING = Lock()
"""One map is laid out at a time. Nobody waits for it: whoever does holds one of the threads that answer."""


@dataclass(frozen=True)
class MapDot:
    """An item on the map; ``group`` is its place in the legend, −1 for the rest."""

    x: float
    y: float
    group: int
    item: ItemCard


@dataclass(frozen=True)
class DrawnMap:
    """A map ``size`` units wide: the rest of the items first, so that they lie below."""

    dots: list[MapDot]
    legend: list[str]
    size: int = MAP_SIZE


def draw_map(run: ServedRun, color: Literal["category", "code"]) -> DrawnMap:
    """Return the map of what is on offer; raise `ServiceError` for a run without embeddings, and while a map is laid
    out."""
    snapshot, index = run.take_snapshot()
    layout = _lay_out_map(index)
    if layout is None:
        raise ServiceError("conflict", "This run has no embeddings, so there is no map of them.")
    groups_M, legend = layout.groups_M, list(layout.category_names)
    if color == "code":
        codes_M = index.codes_NL[layout.rows_M, 0]
        codes, counts = np.unique(codes_M, return_counts=True)
        frequent = codes[np.argsort(-counts, kind="stable")][:MAX_COLORED].tolist()
        groups_M = np.array([frequent.index(code) if code in frequent else -1 for code in codes_M.tolist()])
        legend = [f"<a_{code}>" for code in frequent]
    places = scale_places(layout.places_M2, MAP_SIZE).tolist()
    items = describe_rows(index, run.name, layout.rows_M.tolist())
    dots = [MapDot(x, y, group, item) for (x, y), group, item in zip(places, groups_M.tolist(), items, strict=True)]
    offered_M = ~np.isin(layout.rows_M, snapshot.withdrawn_rows)
    shown = [dot for dot, is_offered in zip(dots, offered_M.tolist(), strict=True) if is_offered]
    return DrawnMap(sorted(shown, key=lambda dot: dot.group), legend)


def _lay_out_map(index: CatalogIndex) -> CodeMap | None:
    if "embedding_map" in vars(index):
        return index.embedding_map
    if not _DRAWING.acquire(blocking=False):
        raise ServiceError(ErrorKind.BUSY, "A map is being laid out; ask again in a few seconds.")
    try:
        return index.embedding_map
    finally:
        _DRAWING.release()
