"""Lists and ranks of a scorer against sorting by hand, with filters and without."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.histories import histories
from trialigngr.catalog.queries import Queries
from trialigngr.decode.filters import Filter
from trialigngr.evaluate import system as system_module
from trialigngr.evaluate.system import FloatArray, ScorerSystem
from trialigngr.evaluate.target_ranks import ITEM
from trialigngr.metrics.ranks import NOT_LISTED


class Fixed:
    """Scores that depend on the last item alone."""

    name = "fixed"
    max_history: int | None = None
    table = np.random.default_rng(3).integers(0, 6, (12, 12)).astype(np.float32)

    def score_items(self, queries: Queries) -> FloatArray:
        return self.table[[int(rows[-1]) for rows in queries.items]]


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("longest", [0, 1, 5, 12, 20])
def test_lists_hold_the_best_scores(unseen: bool, longest: int) -> None:
    random = np.random.default_rng(0)
    log = histories(*[random.integers(0, 12, random.integers(3, 9)).tolist() for _ in range(40)])
    targets = log.list_targets("test")
    queries = log.build_queries(targets)
    filters = list(queries.items) if unseen else None
    found = ScorerSystem(Fixed()).rank_targets(queries, log.target_items(targets), longest, filters)
    stands, lists = found.ranks[ITEM], found.lists.rows_BK
    assert lists.shape == (len(targets), longest)
    for place, (user, position) in enumerate(zip(targets.users, targets.positions, strict=True)):
        before = log.user_sequence(user)[:position].tolist()
        scores, allowed = Fixed.table[before[-1]], set(range(12)) - set(before if unseen else [])
        rows = [row for row in lists[place].tolist() if row != -1]
        assert len(rows) == len(set(rows)) == min(longest, len(allowed))
        assert set(rows) <= allowed
        assert [scores[row] for row in rows] == sorted((scores[row] for row in allowed), reverse=True)[:longest]
        target = int(log.user_sequence(user)[position])
        if target in rows:
            ahead, tied = int(stands.ahead_M[place]), int(stands.tied_M[place])
            assert ahead <= rows.index(target) < ahead + tied, "a target stands in its list where its rank says"


def test_filters_hold_and_change_no_order() -> None:
    random = np.random.default_rng(1)
    queries = Queries([np.array([int(row)]) for row in random.integers(0, 12, 300)])
    filters = [
        Filter(random.choice(12, 4, replace=False), None if n % 3 else random.choice(15, 7, replace=False))
        for n in range(len(queries))
    ]
    found = ScorerSystem(Fixed()).rank(queries, 5, filters)
    for line, (history, given) in enumerate(zip(queries.items, filters, strict=True)):
        allowed = [row for row in range(12) if given.is_allowed(np.array([row]))[0]]
        best = sorted((Fixed.table[history[-1], row] for row in allowed), reverse=True)[:5]
        rows = [row for row in found.rows_BK[line].tolist() if row != -1]
        assert set(rows) <= set(allowed)
        assert [Fixed.table[history[-1], row] for row in rows] == found.scores_BK[line, : len(rows)].tolist() == best


def test_few_queries_at_a_time_where_there_are_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    random, sizes = np.random.default_rng(2), list[int]()

    class Counted(Fixed):
        def score_items(self, queries: Queries) -> FloatArray:
            sizes.append(len(queries))
            return super().score_items(queries)

    queries = Queries([np.array([int(row)]) for row in random.integers(0, 12, 40)])
    whole = ScorerSystem(Counted()).rank(queries, 4)
    assert sizes == [1, 39]
    sizes.clear()
    monkeypatch.setattr(system_module, "MAX_SCORES", 12 * 7)
    parts = ScorerSystem(Counted()).rank(queries, 4)
    assert sizes == [1, 7, 7, 7, 7, 7, 4]
    assert whole.rows_BK.tolist() == parts.rows_BK.tolist()


def test_a_target_that_is_not_allowed_is_missed_and_a_batch_is_many_single_calls() -> None:
    queries, targets = Queries([np.array([0]), np.array([1])]), np.array([3, 4])
    system = ScorerSystem(Fixed())
    found = system.rank_targets(queries, targets, 3, [np.array([3]), np.array([3])])
    assert found.ranks[ITEM].ahead_M[0] == NOT_LISTED
    for line in range(2):
        part = slice(line, line + 1)
        alone = system.rank_targets(queries.take(part), targets[part], 3, [np.array([3])])
        assert alone.lists.rows_BK.tolist() == found.lists.rows_BK[part].tolist()
        assert alone.ranks[ITEM].ahead_M[0] == found.ranks[ITEM].ahead_M[line]
