"""Popularity against a ranking by hand and by brute force, with and without seen items."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.histories import histories
from trialigngr.evaluate.system import compute_ranks as ranks_of
from trialigngr.metrics.ranks import NOT_LISTED
from trialigngr.systems.popularity import Popularity


def test_by_hand():
    # Training parts: [0, 1], [0, 1], [0, 2]; counts 3 2 1 0 0.
    found = histories([0, 1, 2, 3], [0, 1, 4, 1], [0, 2, 1, 4])
    popularity = Popularity(found.count_train_items(5))
    assert popularity.counts_N.tolist() == [3, 2, 1, 0, 0]
    plain = ranks_of(popularity, found, found.list_targets("test"), mask_seen=False)
    # Item 3 shares places 4 and 5 with item 4; item 1 is second.
    assert list(zip(plain.ahead_M, plain.tied_M, strict=True)) == [(3, 2), (1, 1), (3, 2)]
    masked = ranks_of(popularity, found, found.list_targets("test"), mask_seen=True)
    # u0 has taken all of 0, 1, 2; u1 takes item 1 again, which no masked list can hold; u2 has taken 0, 2, 1.
    assert list(zip(masked.ahead_M, masked.tied_M, strict=True)) == [(0, 2), (NOT_LISTED, 1), (0, 2)]


@pytest.mark.parametrize("unseen", [False, True])
def test_equals_brute_force(unseen: bool):
    random = np.random.default_rng(0)
    found = histories(*[random.integers(0, 12, random.integers(3, 9)).tolist() for _ in range(40)])
    popularity, targets = Popularity(found.count_train_items(15)), found.list_targets("test")
    ranks = ranks_of(popularity, found, targets, mask_seen=unseen)
    counts = [sum(int(row == item) for part in found.train_sequences() for row in part) for item in range(15)]
    for place, (user, position) in enumerate(zip(targets.users, targets.positions, strict=True)):
        sequence = found.user_sequence(user).tolist()
        target, shown = sequence[position], set(range(15)) - set(sequence[:position] if unseen else [])
        if target in shown:
            assert ranks.ahead_M[place] == sum(counts[item] > counts[target] for item in shown)
            assert ranks.tied_M[place] == sum(counts[item] == counts[target] for item in shown)
        else:
            assert (ranks.ahead_M[place], ranks.tied_M[place]) == (NOT_LISTED, 1)


def test_counts_only_the_training_parts():
    found = histories([0, 1, 1, 1])
    assert Popularity(found.count_train_items(2)).counts_N.tolist() == [1, 1]
