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
class Printed:
    """A figure and how far rounding may have moved it."""

    value: float
    half_unit: float = 1e-6


Row = Mapping[tuple[str, int], Printed]
"""(``HR`` | ``NDCG`` | ``MRR``, K) → figure."""


def broken_laws(row: Row) -> Iterator[str]:
    """Yield a sentence for each law that the figures of one system break by more than rounding can."""
    yield from _outside(row)
    for name in ("HR", *GAINS):
        ks = sorted(k for metric, k in row if metric == name)
        for k, longer in combinations(ks, 2):
            short, long = row[name, k], row[name, longer]
            if short.value - long.value > short.half_unit + long.half_unit:
                yield f"{name}@{k} = {_text(short)} is above {name}@{longer} = {_text(long)}"
    for name, gain in GAINS.items():
        ks = sorted(k for metric, k in row if metric == name and ("HR", k) in row)
        for k in ks:
            yield from _one_length(name, k, row[name, k], row["HR", k], gain)
        for k, longer in combinations(ks, 2):
            yield from _two_lengths(name, k, longer, row, gain)


def _outside(row: Row) -> Iterator[str]:
    for (name, k), figure in row.items():
        if not -figure.half_unit <= figure.value <= 1 + figure.half_unit:
            yield f"{name}@{k} = {_text(figure)} is no share between 0 and 1"


def _one_length(name: str, k: int, found: Printed, hits: Printed, gain: Callable[[int], float]) -> Iterator[str]:
    if found.value - hits.value > found.half_unit + hits.half_unit:
        yield f"{name}@{k} = {_text(found)} is above HR@{k} = {_text(hits)}"
    least = gain(k) * (hits.value - hits.half_unit)
    if found.value + found.half_unit < least:
        yield f"{name}@{k} = {_text(found)} is below {gain(k):.3f} × HR@{k} = {least:.4f}, as if all hits were last"


def _two_lengths(name: str, k: int, longer: int, row: Row, gain: Callable[[int], float]) -> Iterator[str]:
    gained = row[name, longer].value - row[name, k].value
    hits = row["HR", longer].value - row["HR", k].value
    slack = row[name, longer].half_unit + row[name, k].half_unit
    more = row["HR", longer].half_unit + row["HR", k].half_unit
    low, high = gain(longer), gain(k + 1)
    if not low * (hits - more) - slack <= gained <= high * (hits + more) + slack:
        ratio = f" = {gained / hits:.3f}" if hits else ""
        yield (
            f"({name}@{longer} − {name}@{k}) / (HR@{longer} − HR@{k}) = {gained:.4f} / {hits:.4f}{ratio} "
            f"lies outside [{low:.3f}, {high:.3f}]"
        )


def _text(figure: Printed) -> str:
    return f"{figure.value:.4f}"
