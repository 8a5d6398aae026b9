"""The evaluation stage: where every test target stands, for the model and for what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trialigngr.catalog.histories import Targets
from trialigngr.decode.recommend import Ranking, Recommender
from trialigngr.evaluate.lists import TargetLists, padded
from trialigngr.evaluate.ranker import Ranker, ranked
from trialigngr.evaluate.targets import ITEM, SID, UNSEEN, TargetRanks
from trialigngr.foundation.console import log
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.tables import write_table
from trialigngr.metrics.ranks import Ranks
from trialigngr.runs.artifacts import Parts, Rows
from trialigngr.runs.recommendation_table import recommendations
from trialigngr.systems.co_occurrence import CoOccurrence
from trialigngr.systems.popularity import Popularity


def rank_targets(parts: Parts, out: Path) -> dict[str, Any]:
    """Write ``test.parquet`` and ``valid.parquet`` (ranks of all test targets, of the validation sample),
    ``lists.parquet`` (every system's first items for the test targets) and ``recommendations.parquet``; return the
    facts."""
    backbone = parts.backbone
    backbone.model.to(pick_device(parts.recipe.train.device)).eval()
    recommender = _wide_enough(parts, parts.recommender(backbone, parts.chat, parts.views(parts.chat)))
    valid = parts.sample("valid", parts.recipe.train.validate_users)
    tested = parts.histories.targets("test")
    _rank(parts, recommender, valid, "valid", out)
    lists = _rank(parts, recommender, tested, "test", out)
    lists.save(out / "lists.parquet")
    return {"test_targets": len(tested), "valid_targets": len(valid), "beams": recommender.settings.beams}


def _wide_enough(parts: Parts, recommender: Recommender) -> Recommender:
    """Return a recommender with at least as many beams as the longest list that is asked for."""
    settings, longest = recommender.settings, _longest_list(parts)
    if settings.beams >= longest:
        return recommender
    log(f"  decode.beams = {settings.beams} cannot fill lists of {longest}: tested with {longest} beams")
    wider = settings.model_copy(update={"beams": longest})
    return Recommender(recommender.search, recommender.prompt, wider)


def _longest_list(parts: Parts) -> int:
    """Return how many items of a list are looked at."""
    return max(*parts.recipe.evaluate.lengths, parts.recipe.evaluate.recommendations)


def _rank(parts: Parts, recommender: Recommender, targets: Targets, name: str, out: Path) -> TargetLists:
    """Rank the targets by every system, write the tables, and return the first items of every system."""
    ranks, lists, plain = _model(parts, recommender, targets, name)
    longest, every = _longest_list(parts), {"model": ranks}
    listed = {"model": lists}
    for baseline in baselines(parts):
        found = {
            way: ranked(baseline, parts.histories, targets, longest, unseen=way == UNSEEN) for way in (ITEM, UNSEEN)
        }
        every[baseline.name] = {way: stands for way, (stands, _) in found.items()}
        listed[baseline.name] = {way: rows_MR for way, (_, rows_MR) in found.items()}
    TargetRanks.of(parts.histories, targets, parts.catalog.ids, every).save(out / f"{name}.parquet")
    if name == "test":
        most = parts.recipe.evaluate.recommendations
        write_table(recommendations(parts, plain, targets, most), out / "recommendations.parquet")
    return TargetLists(listed)


def _model(
    parts: Parts, recommender: Recommender, targets: Targets, name: str
) -> tuple[dict[str, Ranks], dict[str, Rows], list[Ranking]]:
    """Return the model's ranks and first items by way of counting, and its lists with nothing masked."""
    prompts, wanted = parts.histories_of(targets), parts.histories.target_items(targets)
    seen, longest = parts.seen_by(targets), _longest_list(parts)
    beams = recommender.all_beams(prompts, what=name)
    unseen = recommender.all_beams(prompts, seen, what=f"{name}, seen masked")
    ranks = {
        ITEM: recommender.ranks(beams, wanted),
        UNSEEN: recommender.ranks(unseen, wanted, seen),
        SID: recommender.sid_ranks(beams, wanted),
    }
    found = {ITEM: recommender.rankings(beams, longest), UNSEEN: recommender.rankings(unseen, longest, seen)}
    lists = {way: padded([own.rows for own in rankings], longest) for way, rankings in found.items()}
    return ranks, lists, found[ITEM]


def baselines(parts: Parts) -> list[Ranker]:
    """Return what stands in the table beside the model."""
    make: dict[str, Callable[[], Ranker]] = {
        "popularity": lambda: Popularity(parts.histories, len(parts.catalog)),
        "co-occurrence": lambda: CoOccurrence(parts.recipe.co_occurrence, parts.histories, len(parts.catalog)),
        "sasrec": lambda: parts.sasrec,
    }
    return [make[name]() for name in parts.recipe.evaluate.baselines]
