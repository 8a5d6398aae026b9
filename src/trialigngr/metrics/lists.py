"""What recommendation lists are like beside being right: how much of the catalogue, how well known, whether valid.

``lists_MR`` holds R catalogue rows for each of M targets, best first; −1 where a list has ended. ``counts_N`` is how
often each of N items occurs in the training parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def coverage(lists_MR: Rows, k: int, n_items: int) -> float:
    """Return Coverage@k: the share of the catalogue that stands in at least one of the lists."""
    return len(np.unique(_flatten_top_k(lists_MR, k, n_items))) / n_items


def novelty(lists_MR: Rows, k: int, counts_N: Rows) -> float:
    """Return Novelty@k: the mean surprise −log2 p(i) of a listed item (Zhou et al. 2010), in bits.

    p is the share of training interactions, every item counted once more, so that cold items have one.
    """
    surprise_N = -np.log2((counts_N + 1) / (counts_N.sum() + len(counts_N)))
    return _mean_or_nan(surprise_N[_flatten_top_k(lists_MR, k, len(counts_N))])


def popularity_bias(lists_MR: Rows, k: int, counts_N: Rows, consumed_rows: Rows) -> float:
    """Return PopularityBias@k: mean count of a listed item ÷ mean count of what users ``consumed_rows`` (rows, once
    each time), minus 1 (Abdollahpouri et al. 2019). 0: as popular as what people take; 1: twice as popular."""
    usual = _mean_or_nan(counts_N[consumed_rows])
    return _mean_or_nan(counts_N[_flatten_top_k(lists_MR, k, len(counts_N))]) / usual - 1 if usual else float("nan")


def invalid_rate(lists_MR: Rows, k: int, n_items: int) -> float:
    """Return the share of filled places that name no item, or one that stands further up in the same list."""
    cut_MK = lists_MR[:, :k]
    filled_MK = cut_MK != -1
    ordered_MK = np.sort(cut_MK, axis=1)
    twice = int(((ordered_MK[:, 1:] == ordered_MK[:, :-1]) & (ordered_MK[:, 1:] != -1)).sum())
    outside = int((filled_MK & ((cut_MK < 0) | (cut_MK >= n_items))).sum())
    return (twice + outside) / max(int(filled_MK.sum()), 1)


def short_list_rate(lists_MR: Rows, k: int) -> float:
    """Return the share of lists with fewer than k items."""
    filled_M = (lists_MR[:, :k] != -1).sum(1)
    return float((filled_M < k).mean()) if len(lists_MR) else 0.0


def compute_list_metrics(lists_MR: Rows, ks: Sequence[int], counts_N: Rows, consumed_rows: Rows) -> dict[str, float]:
    """Return ``{"Coverage@5": …, "Novelty@5": …, "PopularityBias@5": …, …, "invalid": …, "short": …}``; the last two
    at the largest K."""
    n_items, figures = len(counts_N), {}
    for k in ks:
        figures[f"Coverage@{k}"] = coverage(lists_MR, k, n_items)
        figures[f"Novelty@{k}"] = novelty(lists_MR, k, counts_N)
        figures[f"PopularityBias@{k}"] = popularity_bias(lists_MR, k, counts_N, consumed_rows)
    return figures | {"invalid": invalid_rate(lists_MR, max(ks), n_items), "short": short_list_rate(lists_MR, max(ks))}


def _flatten_top_k(lists_MR: Rows, k: int, n_items: int) -> Rows:
    """Return the rows of items that stand among the first k of any list, as often as they do."""
    cut: Rows = lists_MR[:, :k].ravel()
    return cut[(cut >= 0) & (cut < n_items)]


def _mean_or_nan(values: npt.NDArray[np.floating] | Rows) -> float:
    return float(values.mean()) if len(values) else float("nan")
