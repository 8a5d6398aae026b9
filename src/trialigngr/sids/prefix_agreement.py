"""How far prefixes of SIDs agree with what else is known of items: their categories, and who takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trialigngr.sids.collisions import Rows, number_prefixes
from trialigngr.sids.quantizers.codebooks import Codes


@dataclass(frozen=True)
class TakenItems:
    """A log's training part, user by user, in order: the rows of the items, and whose they are [M]."""

    rows_M: Rows
    users_M: Rows


def compute_purity(codes_NL: Codes, categories: Sequence[str | None]) -> tuple[float, ...]:
    """Return, for each depth, how likely two different items of one prefix are of one category. Pairs, not majorities:
    a prefix with a single item says nothing and counts nothing. Depths where all prefixes are single have NaN."""
    known = np.array([category is not None for category in categories])
    labels_N = np.unique([category for category in categories if category is not None], return_inverse=True)[1]
    return tuple(compute_same_label_share(group_N, labels_N) for group_N in number_prefixes(codes_NL[known]))


def compute_same_label_share(group_N: Rows, label_N: Rows) -> float:
    """Return the share of pairs within groups that have one label; NaN where groups hold no pair."""

    def count_pairs(numbers_N: Rows) -> float:
        counts = np.unique(numbers_N, return_counts=True)[1].astype(float)
        return float((counts * (counts - 1)).sum())

    all_pairs = count_pairs(group_N)
    return count_pairs(group_N * (label_N.max(initial=0) + 1) + label_N) / all_pairs if all_pairs else float("nan")


def compute_cooccurrence(codes_NL: Codes, log: TakenItems) -> tuple[float, ...]:
    """Return, for each depth, how likely two different items that a user took one after the other have one prefix; NaN
    where nobody took two."""
    one_P, other_P = log.rows_M[:-1], log.rows_M[1:]
    asked_P = (log.users_M[:-1] == log.users_M[1:]) & (one_P != other_P)
    one_P, other_P = one_P[asked_P], other_P[asked_P]
    if not len(one_P):
        return (float("nan"),) * codes_NL.shape[1]
    return tuple(float((group_N[one_P] == group_N[other_P]).mean()) for group_N in number_prefixes(codes_NL))


def compute_busiest_share(codes_NL: Codes, log: TakenItems) -> tuple[float, ...]:
    """Return, for each depth, the share of interactions that go to the most popular tenth of the prefixes, at least to
    one; NaN where there is no interaction."""

    def compute_share(group_N: Rows) -> float:
        counts_G = np.bincount(group_N[log.rows_M], minlength=int(group_N.max()) + 1)
        busiest = np.sort(counts_G)[-max(round(len(counts_G) / 10), 1) :]
        return float(busiest.sum() / counts_G.sum()) if counts_G.any() else float("nan")

    return tuple(map(compute_share, number_prefixes(codes_NL)))
