"""`ExampleGroups`: which examples of a task share a prefix, as a few small numbers a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Histories
from trialigngr.tasks.token_lists import Int64Array, IntArray, TokenLists, UnsignedArray, expand_ranges, shrink_unsigned
from trialigngr.tasks.windows import cut_all_windows

BoolArray = npt.NDArray[np.bool_]

USERS_AT_ONCE = 1 << 16
"""Users whose windows are found together: some ten numbers an interaction are needed for it."""


@dataclass(frozen=True, slots=True)
class ExampleGroups:
    """G groups. Group g shows the items of user ``owner_G[g]`` from position ``first_G[g]`` on, and asks for those of
    the positions ``start_G[g] … stop_G[g] - 1`` whose item has the target: ``size_G[g]`` of them, at least one. Where
    an item itself is asked about, it is the owner, and its one position is 0."""

    owner_G: IntArray
    first_G: IntArray
    start_G: IntArray
    stop_G: IntArray
    size_G: IntArray

    def __len__(self) -> int:
        return len(self.owner_G)

    def take(self, chosen_C: UnsignedArray) -> ExampleGroups:
        """Return the chosen groups, as numbers that can be reckoned with."""
        columns = (self.owner_G, self.first_G, self.start_G, self.stop_G, self.size_G)
        return ExampleGroups(*(column.take(chosen_C).astype(np.int64) for column in columns))

    def draw_order(self, rng: np.random.Generator) -> tuple[UnsignedArray, UnsignedArray]:
        """Return all groups in drawn order, and where the examples of each end."""
        order = shrink_unsigned(rng.permutation(len(self)))
        return order, shrink_unsigned(np.cumsum(self.size_G[order], dtype=np.int64))


def build_item_groups(source: TokenLists, target: TokenLists) -> ExampleGroups:
    """Return a group for each item that has both views."""
    rows = np.flatnonzero((source.lengths > 0) & (target.lengths > 0))
    zero_G, one_G = (np.broadcast_to(np.uint8(number), len(rows)) for number in (0, 1))
    return ExampleGroups(shrink_unsigned(rows), zero_G, zero_G, one_G, one_G)


def build_window_groups(
    histories: Histories, token_counts_N: Int64Array, has_target_N: BoolArray, max_items: int, overlap: int, budget: int
) -> ExampleGroups:
    """Return a group for each window of the training histories in which something can be asked: the target has its
    view, and something is shown before it. ``token_counts_N`` is what an item takes in a prompt, 0 where it has nothing
    to show."""
    blocks = []
    for first in range(0, max(len(histories), 1), USERS_AT_ONCE):
        rows_T, lengths_U = _take_train_rows(histories, first, first + USERS_AT_ONCE)
        windows_W4 = cut_all_windows(token_counts_N[rows_T], lengths_U, max_items, overlap, budget)
        user_W, first_W, start_W, stop_W = windows_W4.T
        begin_W = (np.cumsum(lengths_U) - lengths_U)[user_W]
        # Nothing can be asked for before the first item that has something to show.
        shown_W = _find_next(token_counts_N[rows_T] > 0, begin_W + first_W) - begin_W
        start_W = np.clip(shown_W + 1, start_W, stop_W)
        targets_before = np.concatenate([[0], np.cumsum(has_target_N[rows_T])])
        size_W = targets_before[begin_W + stop_W] - targets_before[begin_W + start_W]
        columns = (user_W + first, first_W, start_W, stop_W, size_W)
        blocks.append([shrink_unsigned(column[size_W > 0]) for column in columns])
    return ExampleGroups(*map(np.concatenate, zip(*blocks, strict=True)))


def _take_train_rows(histories: Histories, first: int, stop: int) -> tuple[Int64Array, Int64Array]:
    """Return the rows of the training parts of some users, one behind the other, and how many each has."""
    starts_U, lengths_U = histories.offsets[:-1][first:stop], histories.valid_from[first:stop]
    return histories.items[expand_ranges(starts_U, lengths_U)], lengths_U


def _find_next(is_there_T: BoolArray, places: Int64Array) -> Int64Array:
    """Return the first place from each place on where something is; T where there is none."""
    there = np.append(np.flatnonzero(is_there_T), len(is_there_T))
    found: Int64Array = there[np.searchsorted(there, places)]
    return found
