"""What a query means for the catalogue of the moment: the requests of `runs/`, and what of the query cannot be met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from trialigngr.decode.filters import Filter
from trialigngr.foundation.errors import ErrorKind
from trialigngr.runs.recommender import Recommender
from trialigngr.runs.request import RecommendRequest
from trialigngr.runs.snapshot import CatalogSnapshot
from trialigngr.serve.catalog_index import CatalogIndex, CatalogIndexes
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.request_models import ExplanationQuery, HistoryQuery, ItemFilter, RankQuery, RecommendationQuery
from trialigngr.serve.response_models import LeftOutItem
from trialigngr.systems.registry import find_system

FETCHED_PER_ITEM, MAX_FETCHED = 5, 300
"""Items that are asked for where a cap will leave some out: so many for each that is wanted, and so many at most."""


@dataclass(frozen=True)
class QueryPlan:
    """The requests, what they may bring by rows, and the items of the query that cannot come back."""

    requests: tuple[RecommendRequest, ...]
    row_filters: tuple[Filter, ...]
    missing_items: tuple[LeftOutItem, ...]
    index: CatalogIndex


class QueryPlanner:
    """Plans queries for one run; filters are worked out on the catalogue that the answer will come from."""

    def __init__(self, indexes: CatalogIndexes) -> None:
        self.indexes = indexes

    def plan_recommendation(self, query: RecommendationQuery, recommender: Recommender) -> QueryPlan:
        """Return the request for a list."""
        _check_system(query.system, recommender)
        snapshot, asked = recommender.snapshot, query.filter
        index = self.indexes.find_index(snapshot)
        history, user_id, times = _read_history(query, snapshot)
        request = RecommendRequest(
            history,
            query.k if query.diversity is None else min(max(FETCHED_PER_ITEM * query.k, 50), MAX_FETCHED),
            unseen=asked.exclude_seen,
            deny=_known_ids(asked.deny_items, snapshot),
            only=None if asked.allow_items is None else _known_ids(asked.allow_items, snapshot),
            skip_unknown=True,
            system=query.system,
            user_id=user_id,
            times=times,
        )
        return QueryPlan(
            (request,), (_filter_rows(asked, index),), _find_missing(asked.allow_items or (), snapshot), index
        )

    def plan_ranking(self, query: RankQuery, recommender: Recommender) -> QueryPlan:
        """Return the request for the order of candidates.

        Scores are exact: as many beams are kept as there are candidates, so none of their prefixes is ever dropped.
        """
        _check_system(query.system, recommender)
        snapshot = recommender.snapshot
        candidates = _known_ids(query.items, snapshot)
        history, user_id, times = _read_history(query, snapshot)
        request = RecommendRequest(
            history, max(len(candidates), 1), unseen=False, only=candidates, skip_unknown=True, system=query.system,
            user_id=user_id, times=times,
        )  # fmt: skip
        return QueryPlan(
            (request,), (Filter(),), _find_missing(query.items, snapshot), self.indexes.find_index(snapshot)
        )

    def plan_explanation(self, query: ExplanationQuery, recommender: Recommender) -> QueryPlan:
        """Return the request for an item's score after a history, then after the history without each item."""
        _check_system(query.system, recommender)
        snapshot = recommender.snapshot
        index = self.indexes.find_index(snapshot)
        index.find_row(query.item_id)
        history = query.history
        parts = [history, *(history[:place] + history[place + 1 :] for place in range(len(history)))]
        requests = tuple(
            RecommendRequest(
                part, 1, unseen=False, only=[query.item_id], skip_unknown=True, system=query.system
            ) for part in parts
        )  # fmt: skip
        return QueryPlan(requests, (Filter(),) * len(requests), _find_missing([query.item_id], snapshot), index)


def _check_system(name: str, recommender: Recommender) -> None:
    """Raise `TriAlignError` for a system that the run has not got, before it is asked beside other requests."""
    if name:
        recommender.get_system(find_system(name).name)


def _read_history(query: HistoryQuery, snapshot: CatalogSnapshot) -> tuple[list[str], str | None, list[int] | None]:
    """Return the history that is given, or else that of a user of the log with its times; raise `ServiceError` for a
    stranger, to whom nobody's id is told."""
    if query.history is not None or query.user_id is None:
        return query.history or [], query.user_id, None
    histories = snapshot.histories
    user = histories.user_numbers.get(query.user_id)
    if user is None:
        raise ServiceError(ErrorKind.UNKNOWN_USER, "The log of this run has no such user.", "user_id")
    rows = histories.user_sequence(user)
    times, item_ids = histories.user_times(user), snapshot.catalog.item_ids
    return [item_ids[row] for row in rows.tolist()], query.user_id, None if times is None else times.tolist()


def _filter_rows(asked: ItemFilter, index: CatalogIndex) -> Filter:
    """Return what a filter's names let come back."""
    wanted = (("category", asked.include.category), ("brand", asked.include.brand))
    given = [index.find_rows(field, names) for field, names in wanted if names]  # type: ignore[arg-type]  # literals
    barred = [index.find_rows("category", asked.exclude.category), index.find_rows("brand", asked.exclude.brand)]
    return Filter(np.unique(np.concatenate(barred)), reduce(np.intersect1d, given) if given else None)


def _known_ids(item_ids: Sequence[str], snapshot: CatalogSnapshot) -> list[str]:
    """Return the ids that the catalogue has, each once."""
    known = snapshot.catalog.row_by_id
    return [item_id for item_id in dict.fromkeys(item_ids) if item_id in known]


def _find_missing(item_ids: Sequence[str], snapshot: CatalogSnapshot) -> tuple[LeftOutItem, ...]:
    """Return which items cannot come back, whatever the history."""
    known, withdrawn = snapshot.catalog.row_by_id, snapshot.withdrawn_items
    return tuple(
        LeftOutItem(item_id=item_id, reason="withdrawn" if item_id in known else "unknown")
        for item_id in dict.fromkeys(item_ids)
        if item_id not in known or item_id in withdrawn
    )
