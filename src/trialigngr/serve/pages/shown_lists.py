"""What pages show beside an answer of the API: histories to begin with, pictures of ids, the same request as curl."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from shlex import quote

from trialigngr.serve.catalog_index import CatalogIndex
from trialigngr.serve.item_cards import describe_item
from trialigngr.serve.item_models import ItemPage
from trialigngr.serve.item_pages import describe_page
from trialigngr.serve.request_models import RecommendationQuery
from trialigngr.serve.response_models import ItemCard, RecommendationResponse
from trialigngr.serve.served_run import ServedRun

NUM_EXAMPLES, EXAMPLE_LENGTH, CANDIDATES = 5, 8, 8


@dataclass(frozen=True)
class ExampleHistory:
    """The last items of somebody's history before a test target, and that target: what came next."""

    history: list[str]
    taken_next: str


@lru_cache(maxsize=4)
def sample_histories(run: ServedRun) -> list[ExampleHistory]:
    """Return histories of the log to begin with, drawn with a fixed seed; whose they are is not told."""
    artifacts = run.run.artifacts
    histories, item_ids = artifacts.histories, artifacts.catalog.item_ids
    targets = artifacts.sample_targets("test", NUM_EXAMPLES)
    wanted = histories.target_items(targets).tolist()
    return [
        ExampleHistory(
            [item_ids[row] for row in histories.history_before(user, position, EXAMPLE_LENGTH).tolist()], item_ids[row]
        )
        for user, position, row in zip(targets.users.tolist(), targets.positions.tolist(), wanted, strict=True)
    ][:NUM_EXAMPLES]


def describe_rows(index: CatalogIndex, run_name: str, rows: Iterable[int]) -> list[ItemCard]:
    """Return items as they stand in lists."""
    return [ItemCard(**describe_item(index, row, run_name)) for row in rows]


def describe_items(run: ServedRun, item_ids: Iterable[str]) -> dict[str, ItemCard]:
    """Return the items of some ids by id, as they stand in lists; ids that nobody knows are left out."""
    index = run.index
    rows = index.catalog.row_by_id
    known = [item_id for item_id in dict.fromkeys(item_ids) if item_id in rows]
    return dict(zip(known, describe_rows(index, run.name, [rows[item_id] for item_id in known]), strict=True))


def find_candidates(run: ServedRun, words: str | None) -> ItemPage | None:
    """Return the first items whose title has some words; None where none are given."""
    return None if words is None else describe_page(run, words, (), {}, 0, CANDIDATES)


def write_curl(address: str, query: RecommendationQuery, needs_key: bool) -> str:
    """Return the command that asks the API for the same list; a key is named by a variable of the shell."""
    body = json.dumps(query.model_dump(exclude_defaults=True), ensure_ascii=False)
    key = """ -H "Authorization: Bearer $TRIALIGNGR_KEY\"""" if needs_key else ""
    return (
        f"curl -s {quote(address.rstrip('/') + '/v1/recommendations')} -H 'Content-Type: application/json'{key} "
        f"-d {quote(body)}"
    )


def mark_differences(first: RecommendationResponse, second: RecommendationResponse) -> list[dict[str, str]]:
    """Return for each of two lists what became of its items in the other: ``same rank``, ``rank 5 there`` or ``only
    here``."""
    ranks = [{item.item_id: item.rank for item in found.items} for found in (first, second)]
    return [
        {item_id: _describe_rank(rank, there.get(item_id)) for item_id, rank in here.items()}
        for here, there in (ranks, ranks[::-1])
    ]


def _describe_rank(rank: int, rank_there: int | None) -> str:
    if rank_there is None:
        return "only here"
    return "same rank" if rank == rank_there else f"rank {rank_there} there"
