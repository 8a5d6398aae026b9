"""The lists of a ranker against sorting by hand, with and without seen items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.support.histories import histories
from trialigngr.evaluate.scorer import FloatArray, Rows, rank_all_items


class Fixed:
    """Scores that depend on the last item alone."""

    name = "fixed"
    table = np.random.default_rng(3).integers(0, 6, (12, 12)).astype(np.float32)

    def score_items(self, rows: Sequence[Rows]) -> FloatArray:
        return self.table[[int(own[-1]) for own in rows]]


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("longest", [0, 1, 5, 12, 20])
def test_lists_hold_the_best_scores(unseen: bool, longest: int) -> None:
    random = np.random.default_rng(0)
    log = histories(*[random.integers(0, 12, random.integers(3, 9)).tolist() for _ in range(40)])
    targets = log.list_targets("test")
    stands, lists = rank_all_items(Fixed(), log, targets, longest, mask_seen=unseen)
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
