"""The evaluation stage: where every test target stands, for the model and for what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trialigngr.catalog.histories import Targets
from trialigngr.decode.generative_recommender import GenerativeRecommender, RankedList
from trialigngr.evaluate.scorer import Scorer, rank_all_items
from trialigngr.evaluate.target_lists import TargetLists, pad_lists
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, SID, TargetRanks
from trialigngr.foundation.console import log
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.tables import write_table
from trialigngr.metrics.ranks import Ranks
from trialigngr.runs.artifacts import Rows, RunArtifacts
from trialigngr.runs.recommendation_table import build_recommendation_table
from trialigngr.systems.co_occurrence import CoOccurrence
from trialigngr.systems.popularity import Popularity


def rank_targets(artifacts: RunArtifacts, out: Path) -> dict[str, Any]:
    """Write ``test.parquet`` and ``valid.parquet`` (ranks of all test targets, of the validation sample),
    ``lists.parquet`` (every system's first items for the test targets) and ``recommendations.parquet``; return the
    facts."""
    backbone = artifacts.backbone
    backbone.model.to(pick_device(artifacts.recipe.train.device)).eval()
    recommender = _with_enough_beams(
        artifacts,
        artifacts.build_recommender(backbone, artifacts.chat_template, artifacts.encode_views(artifacts.chat_template)),
    )
    valid = artifacts.sample_targets("valid", artifacts.recipe.train.validate_users)
    tested = artifacts.histories.list_targets("test")
    _rank_by_every_system(artifacts, recommender, valid, "valid", out)
    lists = _rank_by_every_system(artifacts, recommender, tested, "test", out)
    lists.save(out / "lists.parquet")
    return {"test_targets": len(tested), "valid_targets": len(valid), "num_beams": recommender.settings.num_beams}


def _with_enough_beams(artifacts: RunArtifacts, recommender: GenerativeRecommender) -> GenerativeRecommender:
    """Return a recommender with at least as many beams as the longest list that is asked for."""
    settings, longest = recommender.settings, _max_list_length(artifacts)
    if settings.num_beams >= longest:
        return recommender
    log(f"  decode.num_beams = {settings.num_beams} cannot fill lists of {longest}: tested with {longest} beams")
    wider = settings.model_copy(update={"num_beams": longest})
    return GenerativeRecommender(recommender.search, recommender.build_prompt, wider)


def _max_list_length(artifacts: RunArtifacts) -> int:
    """Return how many items of a list are looked at."""
    return max(*artifacts.recipe.evaluate.list_lengths, artifacts.recipe.evaluate.num_recommendations)


def _rank_by_every_system(
    artifacts: RunArtifacts, recommender: GenerativeRecommender, targets: Targets, name: str, out: Path
) -> TargetLists:
    """Rank the targets by every system, write the tables, and return the first items of every system."""
    ranks, lists, plain = _rank_by_model(artifacts, recommender, targets, name)
    longest, every = _max_list_length(artifacts), {"model": ranks}
    listed = {"model": lists}
    for baseline in build_baselines(artifacts):
        found = {
            way: rank_all_items(baseline, artifacts.histories, targets, longest, mask_seen=way == SEEN_MASKED)
            for way in (ITEM, SEEN_MASKED)
        }
        every[baseline.name] = {way: stands for way, (stands, _) in found.items()}
        listed[baseline.name] = {way: rows_MR for way, (_, rows_MR) in found.items()}
    TargetRanks.from_ranks(artifacts.histories, targets, artifacts.catalog.item_ids, every).save(
        out / f"{name}.parquet"
    )
    if name == "test":
        most = artifacts.recipe.evaluate.num_recommendations
        write_table(build_recommendation_table(artifacts, plain, targets, most), out / "recommendations.parquet")
    return TargetLists(listed)


def _rank_by_model(
    artifacts: RunArtifacts, recommender: GenerativeRecommender, targets: Targets, name: str
) -> tuple[dict[str, Ranks], dict[str, Rows], list[RankedList]]:
    """Return the model's ranks and first items by way of counting, and its lists with nothing masked."""
    prompts, wanted = artifacts.prompt_histories(targets), artifacts.histories.target_items(targets)
    seen, longest = artifacts.seen_items(targets), _max_list_length(artifacts)
    beams = recommender.decode_beams(prompts, description=name)
    unseen = recommender.decode_beams(prompts, seen, description=f"{name}, seen masked")
    ranks = {
        ITEM: recommender.compute_ranks(beams, wanted),
        SEEN_MASKED: recommender.compute_ranks(unseen, wanted, seen),
        SID: recommender.compute_sid_ranks(beams, wanted),
    }
    found = {ITEM: recommender.rank_items(beams, longest), SEEN_MASKED: recommender.rank_items(unseen, longest, seen)}
    lists = {way: pad_lists([own.rows for own in rankings], longest) for way, rankings in found.items()}
    return ranks, lists, found[ITEM]


def build_baselines(artifacts: RunArtifacts) -> list[Scorer]:
    """Return what stands in the table beside the model."""
    make: dict[str, Callable[[], Scorer]] = {
        "popularity": lambda: Popularity(artifacts.histories, len(artifacts.catalog)),
        "co_occurrence": lambda: CoOccurrence(
            artifacts.recipe.co_occurrence, artifacts.histories, len(artifacts.catalog)
        ),
        "sasrec": lambda: artifacts.sasrec,
    }
    return [make[name]() for name in artifacts.recipe.evaluate.baselines]
