"""The probe finds what is there, and says chance where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from trialigngr.evaluate.category_probe import MIN_CATEGORY_ITEMS, run_category_probe
from trialigngr.foundation.errors import TriAlignError


def told(n: int, signal: float) -> tuple[np.ndarray, list[str | None], np.ndarray]:
    random = np.random.default_rng(0)
    label = random.choice(3, n, p=[0.5, 0.3, 0.2])
    features = random.normal(size=(n, 12)).astype(np.float32)
    features[np.arange(n), label] += signal
    return features, [f"c{one}" for one in label], np.arange(n)


def test_a_signal_is_found_and_chance_is_chance() -> None:
    clear, none = run_category_probe(*told(900, 4.0)), run_category_probe(*told(900, 0.0))
    assert clear.accuracy.value > 0.9
    assert none.accuracy.high < 0.7
    assert clear.accuracy.low > clear.majority_class.high
    for found in (clear, none):
        assert found.shuffled_labels.value < 0.65
        assert 0.4 < found.majority_class.value < 0.6
    assert clear.num_train_items + clear.num_test_items == 900
    assert clear.num_test_items == 180


def test_items_of_one_sid_are_held_out_together() -> None:
    """Ten copies of each vector with labels drawn at random: whoever sees a copy in fitting knows the answer."""
    random = np.random.default_rng(1)
    features = np.repeat(random.normal(size=(60, 30)).astype(np.float32), 10, axis=0)
    labels: list[str | None] = np.repeat(random.choice(["a", "b"], 60), 10).tolist()
    together = run_category_probe(features, labels, np.repeat(np.arange(60), 10))
    apart = run_category_probe(features, labels, np.arange(600))
    assert apart.accuracy.value > 0.95
    assert together.accuracy.value < 0.8


def test_rare_and_unknown_categories_are_left_out() -> None:
    features, labels, groups = told(300, 4.0)
    labels[:5] = ["rare"] * 5
    labels[5:25] = [None] * 20
    found = run_category_probe(features, labels, groups)
    assert found.num_categories == 3
    assert found.num_train_items + found.num_test_items == 275


@pytest.mark.parametrize("labels", [["a"] * 40, [None] * 40, ["a"] * 36 + ["b"] * 4])
def test_nothing_to_tell_apart(labels: list[str | None]) -> None:
    with pytest.raises(TriAlignError, match=f"two categories with at least {MIN_CATEGORY_ITEMS} items"):
        run_category_probe(np.zeros((40, 3), np.float32), labels, np.arange(40))
