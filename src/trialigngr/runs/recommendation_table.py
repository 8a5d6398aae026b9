"""Ranked lists as a table: one row a recommended item."""

from __future__ import annotations

import numpy as np
import polars as pl

from trialigngr.catalog.histories import Targets
from trialigngr.decode.recommend import Ranking
from trialigngr.runs.artifacts import Parts


def recommendations(parts: Parts, rankings: list[Ranking], targets: Targets, most: int) -> pl.DataFrame:
    """Return one row a recommended item, ``most`` of each ranking: user_id, position (the target's in the history),
    rank, item_id, score."""
    ids, users = parts.catalog.ids, parts.histories.user_ids
    lengths = [min(most, len(ranking.rows)) for ranking in rankings]
    return pl.DataFrame(
        {
            "user_id": [users[user] for user, n in zip(targets.users, lengths, strict=True) for _ in range(n)],
            "position": np.repeat(targets.positions, lengths),
            "rank": [rank + 1 for n in lengths for rank in range(n)],
            "item_id": [ids[row] for ranking in rankings for row in ranking.rows[:most]],
            "score": [float(score) for ranking in rankings for score in ranking.scores[:most]],
        }
    )
