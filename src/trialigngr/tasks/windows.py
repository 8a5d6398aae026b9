"""Windows: how a long training history is cut into blocks whose prefixes can share their tokens.

A window shows the items ``first … last - 1`` of a sequence and asks for targets among ``first + 1 … last``. A sequence
of at most ``cap + 1`` items is one window. A longer one is cut into blocks that overlap by ``overlap`` items: each
target is asked for exactly once, with between ``overlap`` and ``cap`` items of history before it (less where tokens run
out).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """Items from ``first`` on are shown; positions ``targets_from … targets_to - 1`` are asked for."""

    first: int
    targets_from: int
    targets_to: int


def cut_windows(token_counts: Int64Array, max_items: int, overlap: int, budget: int) -> Iterator[Window]:
    """Cut a sequence of items that cost ``token_counts`` tokens each; a window shows ≤ ``max_items`` items and ≤
    ``budget`` tokens.

    A window always shows at least one item, even one dearer than the budget (`TaskExamples` cuts items to fit).
    """
    length = len(token_counts)
    ends = np.concatenate([[0], np.cumsum(token_counts)])
    first, target = 0, 1
    while target < length:
        fits = int(np.searchsorted(ends, ends[first] + budget, side="right")) - 1
        stop = min(first + max_items, max(fits, target), length - 1)
        yield Window(first, target, stop + 1)
        target = stop + 1
        first = _find_first_shown(ends, target, overlap, budget)


def cut_all_windows(
    token_counts: Int64Array, lengths_U: Int64Array, max_items: int, overlap: int, budget: int
) -> Int64Array:
    """Return (sequence, first, targets_from, targets_to) [W, 4] of the windows of U sequences of ``lengths_U`` items,
    which stand one behind the other in ``token_counts``.

    A sequence that is one window is found with all others; only those that must be cut are cut one by one.
    """
    ends_U = np.cumsum(lengths_U)
    starts_U, shown_U = ends_U - lengths_U, np.maximum(lengths_U - 1, 0)
    spent = np.concatenate([[0], np.cumsum(token_counts)])
    fits_U = (spent[starts_U + shown_U] - spent[starts_U] <= budget) | (shown_U == 1)
    one_U = (shown_U <= max_items) & fits_U
    single = np.flatnonzero(one_U & (shown_U > 0))
    whole = np.stack([single, np.zeros_like(single), np.ones_like(single), lengths_U[single]], axis=1)
    cut = (
        (sequence, window.first, window.targets_from, window.targets_to)
        for sequence in np.flatnonzero(~one_U).tolist()
        for window in cut_windows(token_counts[starts_U[sequence] : ends_U[sequence]], max_items, overlap, budget)
    )
    found = np.concatenate([whole, np.fromiter(chain.from_iterable(cut), np.int64).reshape(-1, 4)])
    in_order: Int64Array = found[np.argsort(found[:, 0], kind="stable")]
    return in_order


def _find_first_shown(ends: Int64Array, target: int, overlap: int, budget: int) -> int:
    cheapest = int(np.searchsorted(ends, ends[target] - budget, side="left"))
    return min(target - 1, max(target - overlap, cheapest, 0))


def find_prompt_start(token_counts: Int64Array, max_items: int, budget: int) -> int:
    """Return the first item shown when the whole sequence is a prompt: the last ``max_items`` that fit the budget."""
    return min(
        max(len(token_counts) - 1, 0),
        _find_first_shown(np.concatenate([[0], np.cumsum(token_counts)]), len(token_counts), max_items, budget),
    )
