"""The shoppers: what they like, and how they choose the next item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.datasets.synthetic.stock import DEPARTMENTS, N_INTERESTS, N_LOOKS, Labels

Float64Array = npt.NDArray[np.float64]

STAY, ONWARD, ASIDE = 0.40, 0.28, 0.16
"""Chance of the next item's department: the same, the next one on the ring, the third one on."""
TASTE_WEIGHTS = np.array([0.25, 2.0, 50.0])
"""Weight of an item that has neither the shopper's look nor interest, one of them, both."""
POPULARITY_SIGMA = 0.5
TASTES = ((1, 2), (2, 1), (2, 2))
"""How many looks and interests a shopper may hold."""
LENGTHS = (8, 14)
DAY_SECONDS = 86_400
OPENING_TIME = 1_704_067_200
"""The shop opened on 1 January 2024, UTC."""


@dataclass(frozen=True)
class Shopper:
    """Who likes what: the looks and interests that pull, and how many items are taken."""

    looks: tuple[int, ...]
    interests: tuple[int, ...]
    history_length: int


def draw_shopper(rng: np.random.Generator) -> Shopper:
    """Return a shopper with one or two looks and interests."""
    n_looks, n_interests = TASTES[rng.integers(len(TASTES))]
    looks, interests = rng.permutation(N_LOOKS)[:n_looks], rng.permutation(N_INTERESTS)[:n_interests]
    return Shopper(
        tuple(sorted(looks.tolist())), tuple(sorted(interests.tolist())), int(rng.integers(*LENGTHS, endpoint=True))
    )


def make_transitions(rng: np.random.Generator) -> Float64Array:
    """Return the chance of each next department [C, C] (rows: from): departments stand in a random ring."""
    count = len(DEPARTMENTS)
    chances_CC = np.full((count, count), (1 - STAY - ONWARD - ASIDE) / count)
    ring = rng.permutation(count)
    for place, department in enumerate(ring):
        for step, chance in ((0, STAY), (1, ONWARD), (3, ASIDE)):
            chances_CC[department, ring[(place + step) % count]] += chance
    return chances_CC


def draw_popularity(num_items: int, rng: np.random.Generator) -> Float64Array:
    """Return the items' mild differences in popularity [N]."""
    return rng.lognormal(sigma=POPULARITY_SIGMA, size=num_items)


def compute_taste_weights(shopper: Shopper, look_N: Labels, interest_N: Labels) -> Float64Array:
    """Return how strongly each item draws the shopper, whatever department they are in [N]."""
    matches_N = np.isin(look_N, shopper.looks).astype(int) + np.isin(interest_N, shopper.interests)
    return np.asarray(TASTE_WEIGHTS[matches_N])


def choose_items(
    weight_N: Float64Array, department_N: Labels, chances_CC: Float64Array, length: int, rng: np.random.Generator
) -> list[int]:
    """Return the items a shopper takes, in order: each by its department's chance times its weight, none twice."""
    left_N = weight_N.copy()
    taken: list[int] = []
    for _ in range(length):
        chance_N = left_N * chances_CC[department_N[taken[-1]]][department_N] if taken else left_N
        item = int(rng.choice(len(left_N), p=chance_N / chance_N.sum()))
        left_N[item] = 0
        taken.append(item)
    return taken


def draw_visit_times(length: int, rng: np.random.Generator) -> Labels:
    """Return increasing Unix times in seconds: a first visit within the shop's first year, then every few weeks."""
    first = OPENING_TIME + int(rng.integers(365 * DAY_SECONDS))
    return first + np.cumsum(1 + rng.exponential(18 * DAY_SECONDS, size=length).astype(np.int64))
