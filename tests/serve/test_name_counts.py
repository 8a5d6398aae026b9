"""What items of a branch have in common, worked by hand, and that shuffling gives what stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from trialigngr.serve.name_counts import NameCounts


def test_worked_by_hand() -> None:
    counts = NameCounts([["red", "soft"], ["red"], ["soft", "soft"], [], ["blue"]])
    first, second = counts.describe_groups(np.array([0, 1, 3, 4, 2]), np.array([0, 0, 0, 1, 0]), 2)
    assert [(one.name, one.by_chance) for one in first.most_frequent] == [("red", 0.5), ("soft", 0.5)]
    assert [one.share for one in first.most_frequent] == pytest.approx([2 / 3, 2 / 3])
    assert first.common_names == pytest.approx(2 / 3)  # of the pairs 0-1, 0-2, 1-2 two have a name in common
    assert [one.name for one in second.most_frequent] == ["blue"]
    assert second.common_names is None
    assert counts.common_by_chance == pytest.approx(2 / 6)


def test_without_names_or_rows() -> None:
    counts = NameCounts([[], []])
    (alone,) = counts.describe_groups(np.array([0, 1]), np.array([0, 0]), 3)
    assert (alone.most_frequent, alone.common_names, counts.common_by_chance) == ([], None, None)
    assert counts.describe_groups(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 3) == []


def test_shuffled_items_have_what_is_by_chance() -> None:
    random = np.random.default_rng(0)
    counts = NameCounts([[f"t{tag}" for tag in random.integers(0, 6, random.integers(1, 4))] for _ in range(40)])
    groups = np.repeat(np.arange(5), (3, 5, 8, 10, 14))
    found = [
        [float(one.common_names or 0) for one in counts.describe_groups(random.permutation(40), groups, 1)]
        for _ in range(2000)
    ]
    assert np.mean(found, axis=0) == pytest.approx([counts.common_by_chance] * 5, rel=0.03)
