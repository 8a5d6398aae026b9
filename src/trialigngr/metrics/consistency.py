"""What figures of ranked lists with one relevant item must obey, whatever the system: arithmetic, not opinion.

For K < L, from a hit's smallest and largest possible gain: HR@K ≤ HR@L; HR@K / log2(K + 1) ≤ NDCG@K ≤ HR@K; and
(NDCG@L − NDCG@K) / (HR@L − HR@K) lies in [1 / log2(L + 1), 1 / log2(K + 2)]. MRR alike, with gains 1 / rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import log2

GAINS: dict[str, Callable[[int], float]] = {"NDCG": lambda rank: 1 / log2(rank + 1), "MRR": lambda rank: 1 / rank}
"""Metric → what a hit at a rank is worth; a hit rate's is 1 everywhere."""


@dataclass(frozen=True)
class RoundedValue:
    """A figure and how far rounding may have moved it."""

    value: float
    half_unit: float = 1e-6


MetricValues = Mapping[tuple[str, int], RoundedValue]
"""(``HR`` | ``NDCG`` | ``MRR``, K) → figure."""


def find_inconsistencies(values: MetricValues) -> Iterator[str]:
    """Yield a sentence for each law that the figures of one system break by more than rounding can."""
    yield from _check_range(values)
    for name in ("HR", *GAINS):
        ks = sorted(k for metric, k in values if metric == name)
        for k, longer in combinations(ks, 2):
            short, long = values[name, k], values[name, longer]
            if short.value - long.value > short.half_unit + long.half_unit:
                yield f"{name}@{k} = {_format_value(short)} is above {name}@{longer} = {_format_value(long)}"
    for name, gain in GAINS.items():
        ks = sorted(k for metric, k in values if metric == name and ("HR", k) in values)
        for k in ks:
            yield from _check_one_cutoff(name, k, values[name, k], values["HR", k], gain)
        for k, longer in combinations(ks, 2):
            yield from _check_two_cutoffs(name, k, longer, values, gain)


def _check_range(values: MetricValues) -> Iterator[str]:
    for (name, k), figure in values.items():
        if not -figure.half_unit <= figure.value <= 1 + figure.half_unit:
            yield f"{name}@{k} = {_format_value(figure)} is no share between 0 and 1"


def _check_one_cutoff(
    name: str, k: int, found: RoundedValue, hits: RoundedValue, gain: Callable[[int], float]
) -> Iterator[str]:
    if found.value - hits.value > found.half_unit + hits.half_unit:
        yield f"{name}@{k} = {_format_value(found)} is above HR@{k} = {_format_value(hits)}"
    least = gain(k) * (hits.value - hits.half_unit)
    if found.value + found.half_unit < least:
        bound = f"{gain(k):.3f} × HR@{k} = {least:.4f}"
        yield f"{name}@{k} = {_format_value(found)} is below {bound}, as if all hits were last"


def _check_two_cutoffs(
    name: str, k: int, longer: int, values: MetricValues, gain: Callable[[int], float]
) -> Iterator[str]:
    gained = values[name, longer].value - values[name, k].value
    hits = values["HR", longer].value - values["HR", k].value
    slack = values[name, longer].half_unit + values[name, k].half_unit
    more = values["HR", longer].half_unit + values["HR", k].half_unit
    low, high = gain(longer), gain(k + 1)
    if not low * (hits - more) - slack <= gained <= high * (hits + more) + slack:
        ratio = f" = {gained / hits:.3f}" if hits else ""
        yield (
            f"({name}@{longer} − {name}@{k}) / (HR@{longer} − HR@{k}) = {gained:.4f} / {hits:.4f}{ratio} "
            f"lies outside [{low:.3f}, {high:.3f}]"
        )


def _format_value(figure: RoundedValue) -> str:
    return f"{figure.value:.4f}"
