"""Co-occurrence against counting by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.histories import histories
from trialigngr.catalog.histories import Histories
from trialigngr.catalog.queries import Queries
from trialigngr.systems.co_occurrence import CoOccurrence
from trialigngr.systems.settings import CoOccurrenceSettings

SETTINGS = CoOccurrenceSettings()


def test_by_hand() -> None:
    # Training parts: [0, 1, 2], [1, 0]
    found = CoOccurrence.from_histories(SETTINGS, histories([0, 1, 2, 9, 9], [1, 0, 9, 9]), 10)
    after_0, after_1 = found.score_items(Queries([np.array([5, 0]), np.array([1])]))
    assert after_0[[1, 2]] == pytest.approx([1 + 0.1 * 2 / 6, 1 / 2 + 0.1 * 1 / 6])
    assert after_1[[0, 2]] == pytest.approx([1 + 0.1 * 2 / 6, 1 + 0.1 * 1 / 6])
    assert after_0[9] == 0, "what stands behind the cut for validation is not counted"


def test_equals_brute_force() -> None:
    random = np.random.default_rng(0)
    log: Histories = histories(*[random.integers(0, 9, random.integers(3, 12)).tolist() for _ in range(30)])
    expected = np.zeros((9, 9))
    for rows in log.train_sequences():
        for place, row in enumerate(rows):
            for distance in range(1, SETTINGS.window_size + 1):
                if place + distance < len(rows):
                    expected[row, rows[place + distance]] += 1 / distance
    counts = log.count_train_items(9)
    found = CoOccurrence.from_histories(SETTINGS, log, 9).score_items(Queries([np.array([row]) for row in range(9)]))
    np.testing.assert_allclose(found, expected + 0.1 * counts / (counts.sum() + 1), rtol=1e-5)


def test_users_do_not_run_into_each_other() -> None:
    found = CoOccurrence.from_histories(SETTINGS, histories([0, 9, 9], [1, 9, 9]), 10)
    assert found.score_items(Queries([np.array([0])]))[0, 1] < 0.1
