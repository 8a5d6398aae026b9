"""Intervals by bootstrap over users (Efron & Tibshirani 1993): users are drawn, with all their targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Estimate:
    """A mean over targets and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap_intervals(
    values: Mapping[Key, Float64Array], users_M: npt.NDArray[np.int64], seed: int = 0, num_resamples: int = 1000
) -> dict[Key, Estimate]:
    """Return the mean over targets of each metric [M] and its 95 % percentile interval, users resampled."""
    mean_X, drawn_RX = _resample_means(values, users_M, seed, num_resamples)
    low_X, high_X = np.quantile(drawn_RX, [0.025, 0.975], axis=0)
    return {name: Estimate(float(mean_X[x]), float(low_X[x]), float(high_X[x])) for x, name in enumerate(values)}


def _resample_means(
    values: Mapping[Key, Float64Array], users_M: npt.NDArray[np.int64], seed: int, num_resamples: int
) -> tuple[Float64Array, Float64Array]:
    """Return the mean of each metric [X], and its means over resampled users [R, X]."""
    names = list(values)
    _, user_M = np.unique(users_M, return_inverse=True)
    count_U = np.bincount(user_M).astype(np.float64)
    sums_UX = np.stack([np.bincount(user_M, weights=values[name]) for name in names], axis=1)
    random = np.random.default_rng(seed)
    users = len(count_U)
    means = []
    for _ in range(0, num_resamples, 50):
        weight_RU = random.multinomial(users, np.full(users, 1 / users), size=50).astype(np.float64)
        means.append(weight_RU @ sums_UX / (weight_RU @ count_U)[:, None])
    return sums_UX.sum(0) / count_U.sum(), np.concatenate(means)


def bootstrap_differences(
    ours: Mapping[Key, Float64Array], theirs: Mapping[Key, Float64Array], users_M: npt.NDArray[np.int64], seed: int = 0
) -> dict[Key, Estimate]:
    """Return the difference ours − theirs on the same targets, with its 95 % interval over users."""
    return bootstrap_intervals(_subtract_metrics(ours, theirs), users_M, seed)


def _subtract_metrics(ours: Mapping[Key, Float64Array], theirs: Mapping[Key, Float64Array]) -> dict[Key, Float64Array]:
    return {name: ours[name] - theirs[name] for name in ours if name in theirs}


def bootstrap_p_values(
    ours: Mapping[Key, Float64Array],
    theirs: Mapping[Key, Float64Array],
    users_M: npt.NDArray[np.int64],
    seed: int = 0,
    num_resamples: int = 10_000,
) -> dict[Key, float]:
    """Return the two-sided p of no difference, for each metric: twice the share of resampled means beyond 0, counted
    with the observed one (Davison & Hinkley 1997, 4.11), so never 0."""
    differences = _subtract_metrics(ours, theirs)
    _, drawn_RX = _resample_means(differences, users_M, seed, num_resamples)
    beyond_X = np.minimum((drawn_RX <= 0).sum(0), (drawn_RX >= 0).sum(0))
    return {name: float(min(1.0, 2 * (beyond_X[x] + 1) / (num_resamples + 1))) for x, name in enumerate(differences)}


def adjust_p_values(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return the p values corrected for their number (Holm 1979): the chance of one false alarm among all."""
    corrected: dict[Key, float] = {}
    floor = 0.0
    for place, (key, value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        floor = max(floor, min(1.0, value * (len(p_values) - place)))
        corrected[key] = floor
    return {key: corrected[key] for key in p_values}
