"""The evaluation stage: where every test target stands, by every system of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trialigngr.catalog.histories import Targets
from trialigngr.evaluate.system import System, TargetRanking
from trialigngr.evaluate.target_lists import TargetLists
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, SID, TargetRanks
from trialigngr.foundation.console import log
from trialigngr.foundation.tables import write_table
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.recommendation_table import build_recommendation_table


def rank_targets(artifacts: RunArtifacts, out: Path) -> dict[str, Any]:
    """Write ``test.parquet`` and ``valid.parquet`` (ranks of all test targets, of the validation sample),
    ``lists.parquet`` (every system's first items for the test targets) and ``recommendations.parquet`` (the first
    system's); return the facts."""
    longest, num_beams = _max_list_length(artifacts), artifacts.recipe.decode.num_beams
    if num_beams < longest:
        log(f"  decode.num_beams = {num_beams} cannot fill lists of {longest}: tested with {longest} beams")
    names = artifacts.recipe.evaluate.list_systems()
    valid = artifacts.sample_targets("valid", artifacts.recipe.train.validate_users)
    tested = artifacts.histories.list_targets("test")
    ranks: dict[str, dict[str, Any]] = {"valid": {}, "test": {}}
    lists, max_history = {}, {}
    for name in names:
        system = artifacts.load_system(name)
        ranks["valid"][name] = _rank_by_system(artifacts, system, valid, "valid", longest)[0]
        ranks["test"][name], lists[name] = _rank_by_system(artifacts, system, tested, "test", longest)
        max_history[name] = system.max_history
    for part, targets in (("valid", valid), ("test", tested)):
        TargetRanks.from_ranks(artifacts.histories, targets, artifacts.catalog.item_ids, ranks[part]).save(
            out / f"{part}.parquet"
        )
    TargetLists({name: {way: own.rows_BK for way, own in ways.items()} for name, ways in lists.items()}).save(
        out / "lists.parquet"
    )
    most = artifacts.recipe.evaluate.num_recommendations
    write_table(
        build_recommendation_table(artifacts, lists[names[0]][ITEM], tested, most), out / "recommendations.parquet"
    )
    return {
        "test_targets": len(tested),
        "valid_targets": len(valid),
        "num_beams": max(num_beams, longest),
        "max_history": max_history,
    }


def _max_list_length(artifacts: RunArtifacts) -> int:
    """Return how many items of a list are looked at."""
    return max(*artifacts.recipe.evaluate.list_lengths, artifacts.recipe.evaluate.num_recommendations)


def _rank_by_system(
    artifacts: RunArtifacts, system: System, targets: Targets, part: str, longest: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a system's ranks and first items by way of counting."""
    queries, wanted = artifacts.histories.build_queries(targets), artifacts.histories.target_items(targets)
    label = f"{system.name}, {part}"
    plain: TargetRanking = system.rank_targets(queries, wanted, longest, description=label)
    masked = system.rank_targets(queries, wanted, longest, list(queries.items), f"{label}, seen masked")
    ranks = {ITEM: plain.ranks[ITEM], SEEN_MASKED: masked.ranks[ITEM]}
    if SID in plain.ranks:
        ranks[SID] = plain.ranks[SID]
    return ranks, {ITEM: plain.lists, SEEN_MASKED: masked.lists}
