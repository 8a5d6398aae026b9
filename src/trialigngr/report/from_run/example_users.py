"""Fills the parts of the report's `ReportPage` that show single users and items."""

from __future__ import annotations

import numpy as np
import polars as pl

from trialigngr.embed.embeddings import load_texts
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.tables import read_table
from trialigngr.report.page import CaseStudy, ExampleUser, ItemTile, PageInterest, RecommendedTile
from trialigngr.runs.run import Run

NUM_EXAMPLE_USERS, NUM_CASE_STUDIES, MAX_HISTORY_TILES = 10, 6, 8


def build_item_tile(run: Run, row: int) -> ItemTile:
    """Return an item as it stands in a list: name, picture, last category."""
    item = run.artifacts.catalog[row]
    return ItemTile(
        item.display_name, run.artifacts.catalog.image_file(row), item.categories[-1] if item.categories else None
    )


def sample_example_users(run: Run) -> tuple[ExampleUser, ...]:
    """Return some test users, without their ids: what they had taken, what was recommended, what they took next."""
    parts = run.artifacts
    lists = read_table(check_file(run.folder / "evaluation" / "recommendations.parquet"))
    targets = parts.sample_targets("test", NUM_EXAMPLE_USERS)
    wanted = parts.histories.target_items(targets)
    found: list[ExampleUser] = []
    seen: set[int] = set()
    for user, position, row in zip(targets.users.tolist(), targets.positions.tolist(), wanted.tolist(), strict=True):
        if user in seen:
            continue
        seen.add(user)
        mine = lists.filter(pl.col("user_id") == parts.histories.user_ids[user], pl.col("position") == position)
        recommended = tuple(
            RecommendedTile(
                build_item_tile(run, parts.catalog.find_row(item_id)), score, item_id == parts.catalog.item_ids[row]
            )
            for item_id, score in mine.sort("rank").select("item_id", "score").iter_rows()
        )
        shown = parts.histories.history_before(user, position, MAX_HISTORY_TILES)
        history = tuple(build_item_tile(run, int(other)) for other in shown)
        found.append(
            ExampleUser(
                f"Shopper {len(found) + 1}", history, recommended, build_item_tile(run, row), position - len(shown)
            )
        )
    return tuple(found)


def sample_case_studies(run: Run) -> tuple[CaseStudy, ...]:
    """Return some items on their way to a SID (the paper's Table 12)."""
    parts = run.artifacts
    texts = load_texts(run.folder / "embeddings")
    pictured = [row for row in range(len(parts.catalog)) if parts.captions[row]] or list(range(len(parts.catalog)))
    rows = np.random.default_rng(0).choice(pictured, min(NUM_CASE_STUDIES, len(pictured)), replace=False)
    return tuple(_build_case_study(run, int(row), texts[int(row)]) for row in rows)


def _build_case_study(run: Run, row: int, text: str) -> CaseStudy:
    parts = run.artifacts
    item, interests = parts.catalog[row], parts.interests[row]
    codes = parts.sids.codes_NL
    kin = [int(other) for other in np.flatnonzero(codes[:, 0] == codes[row, 0]) if other != row][:4]
    return CaseStudy(
        item=build_item_tile(run, row),
        description=item.description,
        brand=item.brand,
        categories=item.categories,
        caption=parts.captions[row],
        interests=tuple(PageInterest(tag.tag, tag.confidence) for tag in interests.tags),
        lifestyle=interests.lifestyle,
        enriched_text=text,
        sid=tuple(parts.sids.item_tokens(row)),
        items_sharing_first_code=tuple(build_item_tile(run, other) for other in kin),
    )
