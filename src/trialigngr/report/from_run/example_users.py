"""Fills the parts of the report's `Page` that show single users and items."""

from __future__ import annotations

import numpy as np
import polars as pl

from trialigngr.embed.items import load_texts
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.tables import read_table
from trialigngr.report.page import Interest, Person, Recommended, Story, Tile
from trialigngr.runs.run import Run

PEOPLE, STORIES, SHOWN = 10, 6, 8


def tile(run: Run, row: int) -> Tile:
    """Return an item as it stands in a list: name, picture, last category."""
    item = run.parts.catalog[row]
    return Tile(item.name, run.parts.catalog.picture(row), item.categories[-1] if item.categories else None)


def people(run: Run) -> tuple[Person, ...]:
    """Return some test users, without their ids: what they had taken, what was recommended, what they took next."""
    parts = run.parts
    lists = read_table(check_file(run.folder / "evaluation" / "recommendations.parquet"))
    targets = parts.sample("test", PEOPLE)
    wanted = parts.histories.target_items(targets)
    found: list[Person] = []
    seen: set[int] = set()
    for user, position, row in zip(targets.users.tolist(), targets.positions.tolist(), wanted.tolist(), strict=True):
        if user in seen:
            continue
        seen.add(user)
        mine = lists.filter(pl.col("user_id") == parts.histories.user_ids[user], pl.col("position") == position)
        recommended = tuple(
            Recommended(tile(run, parts.catalog.row(item_id)), score, item_id == parts.catalog.ids[row])
            for item_id, score in mine.sort("rank").select("item_id", "score").iter_rows()
        )
        shown = parts.histories.before(user, position, SHOWN)
        history = tuple(tile(run, int(other)) for other in shown)
        found.append(Person(f"Shopper {len(found) + 1}", history, recommended, tile(run, row), position - len(shown)))
    return tuple(found)


def stories(run: Run) -> tuple[Story, ...]:
    """Return some items on their way to a SID (the paper's Table 12)."""
    parts = run.parts
    texts = load_texts(run.folder / "embeddings")
    pictured = [row for row in range(len(parts.catalog)) if parts.captions[row]] or list(range(len(parts.catalog)))
    rows = np.random.default_rng(0).choice(pictured, min(STORIES, len(pictured)), replace=False)
    return tuple(_story(run, int(row), texts[int(row)]) for row in rows)


def _story(run: Run, row: int, text: str) -> Story:
    parts = run.parts
    item, interests = parts.catalog[row], parts.interests[row]
    codes = parts.sids.codes_NL
    kin = [int(other) for other in np.flatnonzero(codes[:, 0] == codes[row, 0]) if other != row][:4]
    return Story(
        item=tile(run, row),
        description=item.description,
        brand=item.brand,
        categories=item.categories,
        caption=parts.captions[row],
        interests=tuple(Interest(tag.tag, tag.confidence) for tag in interests.tags),
        lifestyle=interests.lifestyle,
        enriched_text=text,
        sid=tuple(parts.sids.tokens(row)),
        kin=tuple(tile(run, other) for other in kin),
    )
