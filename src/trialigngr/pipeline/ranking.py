"""The evaluation stage: where every test target stands, for the model and for what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trialigngr.baselines.co_occurrence import CoOccurrence
from trialigngr.baselines.popularity import Popularity
from trialigngr.baselines.ranker import Ranker
from trialigngr.baselines.ranker import ranks as baseline_ranks
from trialigngr.catalog.histories import Targets
from trialigngr.decode.recommend import Ranking, Recommender
from trialigngr.evaluate.targets import ITEM, SID, UNSEEN, TargetRanks
from trialigngr.foundation.device import pick_device
from trialigngr.pipeline.parts import Parts


def rank_targets(parts: Parts, out: Path) -> dict[str, Any]:
    """Write ``test.parquet``, ``valid.parquet`` (ranks of all test targets, of the validation sample) and
    ``recommendations.parquet``, and return the facts."""
    backbone = parts.backbone
    backbone.model.to(pick_device(parts.recipe.train.device)).eval()
    recommender = parts.recommender(backbone, parts.chat, parts.views(parts.chat))
    valid = parts.sample("valid", parts.recipe.train.validate_users)
    tested = parts.histories.targets("test")
    _rank(parts, recommender, valid, "valid", out)
    lists = _rank(parts, recommender, tested, "test", out)
    recommendations(parts, lists, tested).write_parquet(out / "recommendations.parquet")
    return {"test_targets": len(tested), "valid_targets": len(valid)}


def _rank(parts: Parts, recommender: Recommender, targets: Targets, name: str, out: Path) -> list[Ranking]:
    """Rank the targets by every system, write the table, and return the model's lists (nothing masked)."""
    prompts, wanted = parts.histories_of(targets), parts.histories.target_items(targets)
    seen = parts.seen_by(targets)
    beams = recommender.all_beams(prompts, what=name)
    unseen = recommender.all_beams(prompts, seen, what=f"{name}, seen masked")
    ranks = {
        "model": {
            ITEM: recommender.ranks(beams, wanted),
            UNSEEN: recommender.ranks(unseen, wanted, seen),
            SID: recommender.sid_ranks(beams, wanted),
        }
    } | {
        baseline.name: {
            ITEM: baseline_ranks(baseline, parts.histories, targets, unseen=False),
            UNSEEN: baseline_ranks(baseline, parts.histories, targets, unseen=True),
        }
        for baseline in baselines(parts)
    }
    TargetRanks.of(parts.histories, targets, parts.catalog.ids, ranks).save(out / f"{name}.parquet")
    return recommender.rankings(beams, parts.recipe.evaluate.recommendations)


def baselines(parts: Parts) -> list[Ranker]:
    """Return what stands in the table beside the model."""
    make: dict[str, Callable[[], Ranker]] = {
        "popularity": lambda: Popularity(parts.histories, len(parts.catalog)),
        "co-occurrence": lambda: CoOccurrence(parts.histories, len(parts.catalog)),
        "sasrec": lambda: parts.sasrec,
    }
    return [make[name]() for name in parts.recipe.evaluate.baselines]


def recommendations(parts: Parts, rankings: list[Ranking], targets: Targets) -> pl.DataFrame:
    """Return one row a recommended item: user_id, position (the target's in the history), rank, item_id, score."""
    ids, users = parts.catalog.ids, parts.histories.user_ids
    lengths = [len(ranking.rows) for ranking in rankings]
    return pl.DataFrame(
        {
            "user_id": [users[user] for user, n in zip(targets.users, lengths, strict=True) for _ in range(n)],
            "position": np.repeat(targets.positions, lengths),
            "rank": [rank + 1 for n in lengths for rank in range(n)],
            "item_id": [ids[row] for ranking in rankings for row in ranking.rows],
            "score": [float(score) for ranking in rankings for score in ranking.scores],
        }
    )
