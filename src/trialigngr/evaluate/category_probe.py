"""Do SID tokens know what they stand for? A probe reads the category from their frozen embeddings (paper Table 7)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.errors import TriAlignError
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.intervals import Estimate, bootstrap_intervals

Float32Array = npt.NDArray[np.float32]
PROBE_HIDDEN_SIZE, PROBE_HELD_OUT_RATIO, MIN_CATEGORY_ITEMS = 256, 0.2, 10
"""Hidden units; share of items held out; a category with fewer fitted items is left out."""


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy on held-out items with its interval over them, and what it must be held against."""

    accuracy: Estimate
    shuffled_labels: Estimate
    """The same probe, fitted on shuffled labels."""
    majority_class: Estimate
    """Always the most frequent category of the fitted items."""
    num_categories: int
    num_train_items: int
    num_test_items: int


def run_category_probe(
    features_ND: Float32Array, categories: Sequence[str | None], group_N: npt.NDArray[np.int64], seed: int = 0
) -> ProbeResult:
    """Return how well a two-layer network reads ``categories`` (None: unknown) from features, on held-out items.

    Items of one group (one SID) have the same features, so they are held out together. Raises `TriAlignError` when
    fewer than two categories have `MIN_CATEGORY_ITEMS` items.
    """
    random = np.random.default_rng(derive_seed(seed, "probe"))
    names, label_N = np.unique([category or "" for category in categories], return_inverse=True)
    groups = random.permutation(np.unique(group_N))
    held_N = np.isin(group_N, groups[: round(PROBE_HELD_OUT_RATIO * len(groups))])
    known_N = np.array([category is not None for category in categories])
    counts = np.bincount(label_N[known_N & ~held_N], minlength=len(names))
    kept_N = known_N & (counts[label_N] >= MIN_CATEGORY_ITEMS)
    fit, test = np.flatnonzero(kept_N & ~held_N), np.flatnonzero(kept_N & held_N)
    present = len(np.unique(label_N[fit]))
    if present < 2 or not len(test):
        raise TriAlignError(
            f"A category probe needs two categories with at least {MIN_CATEGORY_ITEMS} items; here are {present}."
        )
    scale = features_ND[fit].std(0) + 1e-6
    shown_ND = (features_ND - features_ND[fit].mean(0)) / scale
    right = {
        "accuracy": _fit_and_predict(shown_ND[fit], label_N[fit], shown_ND[test], seed) == label_N[test],
        "shuffled_labels": _fit_and_predict(shown_ND[fit], random.permutation(label_N[fit]), shown_ND[test], seed)
        == label_N[test],
        "majority_class": np.bincount(label_N[fit]).argmax() == label_N[test],
    }
    found = bootstrap_intervals({name: own.astype(np.float64) for name, own in right.items()}, np.arange(len(test)))
    return ProbeResult(**found, num_categories=present, num_train_items=len(fit), num_test_items=len(test))


def _fit_and_predict(
    train_MD: Float32Array, label_M: npt.NDArray[np.int64], test_MD: Float32Array, seed: int
) -> npt.NDArray[np.int64]:
    """Return the labels that a network fitted on M items gives to the others."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    # A tenth of the fitted items says when to stop.
    network = MLPClassifier(
        (PROBE_HIDDEN_SIZE,), early_stopping=True, max_iter=100, random_state=derive_seed(seed, "mlp") % 2**32
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(train_MD, label_M)
    found: npt.NDArray[np.int64] = network.predict(test_MD)
    return found
