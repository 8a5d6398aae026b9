"""What is shown of items: pages of them, one in full, its neighbours and picture, and nodes of the SID tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.catalog.queries import Rows
from trialigngr.foundation.errors import ImageError
from trialigngr.images.image_open import decode_image
from trialigngr.serve.catalog_index import CatalogIndex
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.item_cards import describe_item
from trialigngr.serve.item_models import (
    BranchAgreement,
    BranchSummary,
    InterestTag,
    ItemDetail,
    ItemPage,
    NameShare,
    NeighbourItem,
    NeighbourList,
    NeighbourSpace,
    SidChild,
    SidNode,
)
from trialigngr.serve.name_counts import BranchNames
from trialigngr.serve.response_models import ItemCard
from trialigngr.serve.served_run import ServedRun

TOP_NAMES, EXAMPLES, MAX_SAME_SID = 5, 4, 1000
"""Names and items that stand for a branch of the tree, and items that are named for having the SID of another."""


def describe_page(
    run: ServedRun, words: str | None, prefix: Sequence[int], named: Mapping[str, str | None], cursor: int, limit: int
) -> ItemPage:
    """Return a page of the items whose title has some words, whose SID begins with a prefix, and that bear names."""
    snapshot, index = run.take_snapshot()
    chosen = pl.lit(True)
    if words is not None:
        chosen &= pl.col("title").str.to_lowercase().str.contains(words.lower(), literal=True)
    if (category := named.get("category")) is not None:
        chosen &= pl.col("categories").list.contains(category)
    for column in ("brand", "item_id"):
        if (name := named.get(column)) is not None:
            chosen &= pl.col(column) == name
    found = index.catalog.table.with_row_index("row").filter(chosen & (pl.col("row") >= cursor))["row"].to_numpy()
    rows = np.setdiff1d(np.intersect1d(found, index.find_prefix(prefix)), snapshot.withdrawn_rows)
    shown, more = rows[:limit].tolist(), rows[limit:]
    return ItemPage(
        run=run.describe_version(snapshot),
        items=[ItemCard(**describe_item(index, row, run.name)) for row in shown],
        next_cursor=int(more[0]) if len(more) else None,
    )


def describe_detail(run: ServedRun, item_id: str) -> ItemDetail:
    """Return an item in full; raise `ServiceError` for an unknown one."""
    snapshot, index = run.take_snapshot()
    row = index.find_row(item_id)
    interests, codes = snapshot.interests[row], tuple(index.list_codes(row))
    left_out = {row, *snapshot.withdrawn_rows.tolist()}
    others = [other for other in snapshot.sids.rows_by_codes[codes] if other not in left_out]
    return ItemDetail(
        **describe_item(index, row, run.name),
        description=index.catalog[row].description,
        caption=snapshot.captions[row],
        interests=[InterestTag(tag=tag.tag, confidence=str(tag.confidence)) for tag in interests.tags],
        lifestyle=interests.lifestyle,
        same_sid=[index.catalog.item_ids[other] for other in others[:MAX_SAME_SID]],
        withdrawn=item_id in snapshot.withdrawn_items,
        popularity=index.count_takers(row),
    )


def find_neighbours(run: ServedRun, item_id: str, space: NeighbourSpace, k: int) -> NeighbourList:
    """Return the k nearest items that are on offer and have anything in common with an item."""
    snapshot, index = run.take_snapshot()
    row = index.find_row(item_id)
    values_N = _measure_nearness(index, row, space).astype(np.float64)
    others_N = np.delete(values_N, row)
    values_N[[row, *snapshot.withdrawn_rows.tolist()]] = -np.inf
    order = np.argsort(-values_N, kind="stable")[:k]
    near = [place for place in order.tolist() if values_N[place] > (-np.inf if space == "embedding" else 0)]
    return NeighbourList(
        run=run.describe_version(snapshot),
        item_id=item_id,
        space=space,
        value_by_chance=float(others_N.mean()) if len(others_N) else None,
        neighbours=[
            NeighbourItem(**describe_item(index, other, run.name), rank=rank, value=float(values_N[other]))
            for rank, other in enumerate(near, 1)
        ],
    )


def _measure_nearness(index: CatalogIndex, row: int, space: NeighbourSpace) -> npt.NDArray[np.floating] | Rows:
    if space == "sid":
        return index.count_shared_codes(row)
    if space == "together":
        return index.count_taken_together(row)
    cosines_N = index.compute_cosines(row)
    if cosines_N is None:
        raise ServiceError("conflict", "This run has no embeddings; ask for space=sid or space=together.", "space")
    return cosines_N


def read_picture(run: ServedRun, item_id: str, longest_edge: int) -> bytes:
    """Return an item's picture as JPEG; raise `ServiceError` where it has none that can be opened."""
    index = run.index
    path = index.catalog.image_file(index.find_row(item_id))
    if path is None:
        raise ServiceError("no_image", "This item has no picture.")
    try:
        return _shrink_picture(path, longest_edge)
    except ImageError as error:
        raise ServiceError("no_image", f"The picture of this item cannot be used: {error.reason}.") from None


@lru_cache(maxsize=500)
def _shrink_picture(path: Path, longest_edge: int) -> bytes:
    """Return a picture as JPEG. A page of the tree shows a hundred, and the next one many of them again."""
    written = BytesIO()
    decode_image(path, longest_edge).save(written, "JPEG", quality=85)  # `Service.start` has silenced Pillow
    return written.getvalue()


def describe_sid_node(run: ServedRun, prefix: Sequence[int], cursor: int, limit: int) -> SidNode:
    """Return the items below a prefix, and a page of the codes that follow; ``cursor`` is a code."""
    snapshot, index = run.take_snapshot()
    rows = np.setdiff1d(index.find_prefix(prefix), snapshot.withdrawn_rows)
    level, codes_NL = len(prefix), index.codes_NL[rows]
    follows_N = codes_NL[:, level] if level < codes_NL.shape[1] else np.full(len(rows), -1)
    codes = np.unique(follows_N[follows_N >= cursor])
    _, counts = np.unique(codes_NL, axis=0, return_counts=True)
    whole = summarize_branches(index, rows, np.zeros(len(rows), dtype=np.int64))
    return SidNode(
        **vars(whole[0] if whole else _summarize_nothing(index)),
        run=run.describe_version(snapshot),
        prefix=list(prefix),
        num_sids=len(counts),
        collisions=int(counts[counts > 1].sum()),
        children=_describe_children(index, prefix, rows, follows_N, codes[:limit]),
        next_cursor=int(codes[limit]) if len(codes) > limit else None,
    )


def _describe_children(
    index: CatalogIndex,
    prefix: Sequence[int],
    rows: Rows,
    follows_N: npt.NDArray[np.integer],
    codes: npt.NDArray[np.integer],
) -> list[SidChild]:
    """Return the branches of some codes below a prefix; ``follows_N`` is the code of each row."""
    is_shown = np.isin(follows_N, codes)
    shown, groups = rows[is_shown], np.searchsorted(codes, follows_N[is_shown])
    return [
        SidChild(
            **vars(summary),
            code=code,
            sid=",".join(map(str, [*prefix, code])),
            examples=index.list_ids(shown[groups == place][:EXAMPLES]),
        )
        for place, (code, summary) in enumerate(
            zip(codes.tolist(), summarize_branches(index, shown, groups), strict=True)
        )
    ]


def summarize_branches(index: CatalogIndex, rows: Rows, groups: npt.NDArray[np.integer]) -> list[BranchSummary]:
    """Return what the rows of each group 0 … have in common."""
    interests = index.interest_names.describe_groups(rows, groups, TOP_NAMES)
    categories = index.category_names.describe_groups(rows, groups, TOP_NAMES)
    kinds = index.main_categories.describe_groups(rows, groups, 1)
    sizes = np.bincount(groups).tolist()
    return [
        BranchSummary(
            num_items=size,
            top_interests=_list_shares(shared),
            top_categories=_list_shares(named),
            agreement=_describe_agreement(index, kind.common_names, shared.common_names),
        )
        for size, shared, named, kind in zip(sizes, interests, categories, kinds, strict=True)
    ]


def _summarize_nothing(index: CatalogIndex) -> BranchSummary:
    agreement = _describe_agreement(index, None, None)
    return BranchSummary(num_items=0, top_interests=[], top_categories=[], agreement=agreement)


def _list_shares(names: BranchNames) -> list[NameShare]:
    return [NameShare(**share._asdict()) for share in names.most_frequent]


def _describe_agreement(index: CatalogIndex, same: float | None, common: float | None) -> BranchAgreement:
    return BranchAgreement(
        same_category=same,
        same_category_by_chance=index.main_categories.common_by_chance,
        common_interests=common,
        common_interests_by_chance=index.interest_names.common_by_chance,
    )
