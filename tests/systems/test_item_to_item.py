"""Counts, ItemKNN and EASE^R against counting by brute force and against their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.circle import CircleInputs, N
from tests.support.histories import histories
from trialigngr.catalog.queries import Queries
from trialigngr.evaluate.system import Scorer
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import CatalogError
from trialigngr.systems import ease
from trialigngr.systems.registry import SYSTEMS
from trialigngr.systems.settings import CountsSettings, EaseSettings, ItemKnnSettings

random = np.random.default_rng(0)
LOG = histories(*[random.integers(0, N, random.integers(3, 15)).tolist() for _ in range(60)])
INPUTS = CircleInputs(LOG)
ASKED = Queries([np.array([3]), np.array([5, 1, 5, 9, 0, 2]), np.arange(8)])
POPULARITY = 0.1 * LOG.count_train_items(N) / (LOG.count_train_items(N).sum() + 1)


def fit(name: str, settings: Settings, out: Path, inputs: CircleInputs = INPUTS) -> Scorer:
    spec = SYSTEMS[name]
    assert spec.fit is not None
    spec.fit(inputs, settings, out)
    return spec.load(inputs, out).scorer  # type: ignore[attr-defined]


def taken() -> np.ndarray:
    found = np.zeros((len(LOG), N))
    for user, rows in enumerate(LOG.train_sequences()):
        found[user, rows] = 1
    return found


@pytest.mark.parametrize(
    "settings", [CountsSettings(), CountsSettings(max_history=2, decay=0.3, window_size=2, backward_weight=0)]
)
def test_counts_equal_brute_force(settings: CountsSettings, tmp_path: Path) -> None:
    pairs = np.zeros((N, N))
    for rows in LOG.train_sequences():
        for place, row in enumerate(rows):
            for distance, other in enumerate(rows[place + 1 : place + 1 + settings.window_size], 1):
                pairs[row, other] += 1 / distance
                pairs[other, row] += settings.backward_weight / distance
    wanted = [
        sum(settings.decay**n * pairs[row] for n, row in enumerate(rows[::-1][: settings.max_history]))
        for rows in ASKED.items
    ]
    found = fit("counts", settings, tmp_path).score_items(ASKED)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array(wanted) + POPULARITY, rtol=1e-5)


def test_users_do_not_run_into_each_other(tmp_path: Path) -> None:
    found = fit("counts", CountsSettings(), tmp_path, CircleInputs(histories([0, 9, 9], [1, 9, 9])))
    assert found.score_items(Queries([np.array([0])]))[0, 1] < 0.1


def test_neighbors_are_the_nearest_by_cosine(tmp_path: Path) -> None:
    counts_N = taken().sum(0)
    cosines = taken().T @ taken() / (np.sqrt(np.outer(counts_N, counts_N)) + 2)
    np.fill_diagonal(cosines, 0)
    kept = np.zeros_like(cosines)
    for row, own in enumerate(cosines):
        best = sorted(range(N), key=lambda column: (-own[column], column))[:4]
        kept[row, best] = own[best]
    found = fit("item_knn", ItemKnnSettings(num_neighbors=4, shrinkage=2), tmp_path).score_items(ASKED)
    np.testing.assert_allclose(found, [kept[rows].sum(0) + POPULARITY for rows in ASKED.items], rtol=1e-4)


def test_ease_is_the_best_of_its_kind(tmp_path: Path) -> None:
    """No small step from its weights lowers ‖X − XB‖² + λ‖B‖², as the diagonal stays 0: the gradient is 0 elsewhere."""
    found = fit("ease", EaseSettings(l2_weight=3), tmp_path)
    weights, shown = found.score_items(Queries([np.array([row]) for row in range(N)])), taken()
    gradient = shown.T @ (shown @ weights - shown) + 3 * weights
    np.fill_diagonal(gradient, 0)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    np.testing.assert_allclose(np.diag(weights), 0)
    np.testing.assert_allclose(found.score_items(ASKED)[2], weights[:8].sum(0), rtol=1e-4, atol=1e-6)


def test_too_many_items_for_ease_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "MAX_ITEMS", N - 1)
    with pytest.raises(CatalogError, match="24 items are more than 23; leave it out of"):
        fit("ease", EaseSettings(), tmp_path)
