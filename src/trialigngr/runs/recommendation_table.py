"""Ranked lists as a table: one row a recommended item."""

from __future__ import annotations

import numpy as np
import polars as pl

from trialigngr.catalog.histories import Targets
from trialigngr.decode.generative_recommender import RankedList
from trialigngr.runs.artifacts import RunArtifacts


def build_recommendation_table(
    artifacts: RunArtifacts, rankings: list[RankedList], targets: Targets, max_items: int
) -> pl.DataFrame:
    """Return one row a recommended item, ``max_items`` of each ranking: user_id, position (the target's in the
    history), rank, item_id, score."""
    ids, users = artifacts.catalog.item_ids, artifacts.histories.user_ids
    lengths = [min(max_items, len(ranking.rows)) for ranking in rankings]
    return pl.DataFrame(
        {
            "user_id": [users[user] for user, n in zip(targets.users, lengths, strict=True) for _ in range(n)],
            "position": np.repeat(targets.positions, lengths),
            "rank": [rank + 1 for n in lengths for rank in range(n)],
            "item_id": [ids[row] for ranking in rankings for row in ranking.rows[:max_items]],
            "score": [float(score) for ranking in rankings for score in ranking.scores[:max_items]],
        }
    )
