"""Ranked lists as a table: one row a recommended item."""

from __future__ import annotations

import numpy as np
import polars as pl

from trialigngr.catalog.histories import Targets
from trialigngr.evaluate.system import RankedLists
from trialigngr.runs.artifacts import RunArtifacts


def build_recommendation_table(
    artifacts: RunArtifacts, lists: RankedLists, targets: Targets, max_items: int
) -> pl.DataFrame:
    """Return one row a recommended item, ``max_items`` of each list: user_id, position (the target's in the history),
    rank, item_id, score."""
    ids, users = artifacts.catalog.item_ids, artifacts.histories.user_ids
    rows_BK, scores_BK = lists.rows_BK[:, :max_items], lists.scores_BK[:, :max_items]
    real_BK = rows_BK >= 0
    lengths = real_BK.sum(1)
    return pl.DataFrame(
        {
            "user_id": [users[user] for user, n in zip(targets.users, lengths, strict=True) for _ in range(n)],
            "position": np.repeat(targets.positions, lengths),
            "rank": [rank + 1 for n in lengths for rank in range(n)],
            "item_id": [ids[row] for row in rows_BK[real_BK]],
            "score": scores_BK[real_BK].astype(np.float64),
        }
    )
