"""Windows: how a long training history is cut into blocks whose prefixes can share their tokens.

A window shows the items ``first … last - 1`` of a sequence and asks for targets among ``first + 1 … last``. A sequence
of at most ``cap + 1`` items is one window. A longer one is cut into blocks that overlap by ``overlap`` items: each
target is asked for exactly once, with between ``overlap`` and ``cap`` items of history before it (less where tokens run
out).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Window:
    """Items from ``first`` on are shown; positions ``targets_from … targets_to - 1`` are asked for."""

    first: int
    targets_from: int
    targets_to: int


def cut_windows(token_counts: npt.NDArray[np.int64], max_items: int, overlap: int, budget: int) -> Iterator[Window]:
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


def _find_first_shown(ends: npt.NDArray[np.int64], target: int, overlap: int, budget: int) -> int:
    cheapest = int(np.searchsorted(ends, ends[target] - budget, side="left"))
    return min(target - 1, max(target - overlap, cheapest, 0))


def find_prompt_start(token_counts: npt.NDArray[np.int64], max_items: int, budget: int) -> int:
    """Return the first item shown when the whole sequence is a prompt: the last ``max_items`` that fit the budget."""
    return min(
        max(len(token_counts) - 1, 0),
        _find_first_shown(np.concatenate([[0], np.cumsum(token_counts)]), len(token_counts), max_items, budget),
    )
