"""Intervals by bootstrap over users (Efron & Tibshirani 1993): users are drawn, with all their targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over targets and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    values: Mapping[str, Floats], users_M: npt.NDArray[np.int64], seed: int = 0, draws: int = 1000
) -> dict[str, Estimate]:
    """Return the mean over targets of each metric [M] and its 95 % percentile interval, users resampled."""
    names = list(values)
    _, user_M = np.unique(users_M, return_inverse=True)
    count_U = np.bincount(user_M).astype(np.float64)
    sums_UX = np.stack([np.bincount(user_M, weights=values[name]) for name in names], axis=1)
    random = np.random.default_rng(seed)
    users = len(count_U)
    means = []
    for _ in range(0, draws, 50):
        weight_RU = random.multinomial(users, np.full(users, 1 / users), size=50).astype(np.float64)
        means.append(weight_RU @ sums_UX / (weight_RU @ count_U)[:, None])
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975], axis=0)
    mean = sums_UX.sum(0) / count_U.sum()
    return {name: Estimate(float(mean[x]), float(low[x]), float(high[x])) for x, name in enumerate(names)}


def paired(
    ours: Mapping[str, Floats], theirs: Mapping[str, Floats], users_M: npt.NDArray[np.int64], seed: int = 0
) -> dict[str, Estimate]:
    """Return the difference ours − theirs on the same targets, with its 95 % interval over users."""
    return bootstrap({name: ours[name] - theirs[name] for name in ours if name in theirs}, users_M, seed)
