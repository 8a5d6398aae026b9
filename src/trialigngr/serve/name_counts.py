"""`NameCounts`: how often items of a branch bear a name (an interest, a category), and how often by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from trialigngr.catalog.queries import Rows


class ShareOfItems(NamedTuple):
    """The share of a branch's items that bear a name, and that of the whole catalogue's."""

    name: str
    share: float
    by_chance: float


class BranchNames(NamedTuple):
    """The most frequent names of a branch, and how many names two of its items have in common on average; None for a
    branch without two items that bear any."""

    most_frequent: list[ShareOfItems]
    common_names: float | None


class NameCounts:
    """The names of items as a matrix of zeros and ones, a row an item."""

    def __init__(self, names_by_row: Sequence[Sequence[str]]) -> None:
        distinct = [list(dict.fromkeys(names)) for names in names_by_row]
        places = {name: place for place, name in enumerate(dict.fromkeys(name for names in distinct for name in names))}
        self.names = list(places)
        counts_N = np.array([len(names) for names in distinct], dtype=np.int64)
        columns = np.array([places[name] for names in distinct for name in names], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(counts_N)])
        self._bears_NT = csr_matrix(
            (np.ones(len(columns), dtype=np.int64), columns, starts), shape=(len(distinct), max(len(places), 1))
        )
        self._is_named_N = counts_N > 0
        self._totals_T = np.asarray(self._bears_NT.sum(0)).ravel()
        self.common_by_chance = _count_common(self._totals_T, int(self._is_named_N.sum()))
        """How many names two items of the whole catalogue have in common. That is the null of every branch: items that
        are dealt out to branches by shuffling have so many in common on average, whatever the sizes of the branches."""

    def describe_groups(self, rows: Rows, groups: npt.NDArray[np.integer], top: int) -> list[BranchNames]:
        """Return the names of each group 0 … of rows; items without any name count nowhere."""
        if not len(rows):
            return []
        is_named = self._is_named_N[rows]
        sizes_G = np.bincount(groups[is_named], minlength=int(groups.max()) + 1)
        member_GR = csr_matrix((np.ones(len(rows), dtype=np.int64), (groups, np.arange(len(rows)))))
        counts_GT = csr_matrix(member_GR @ self._bears_NT[rows])
        return [
            self._describe_group(counts_GT.indices[begin:end], counts_GT.data[begin:end], int(size), top)
            for begin, end, size in zip(counts_GT.indptr[:-1], counts_GT.indptr[1:], sizes_G, strict=True)
        ]

    def _describe_group(
        self, names: npt.NDArray[np.integer], counts: npt.NDArray[np.int64], size: int, top: int
    ) -> BranchNames:
        everything = max(int(self._is_named_N.sum()), 1)
        order = np.lexsort((names, -counts))[:top]
        most_frequent = [
            ShareOfItems(self.names[name], count / size, int(self._totals_T[name]) / everything)
            for name, count in zip(names[order].tolist(), counts[order].tolist(), strict=True)
        ]
        return BranchNames(most_frequent, _count_common(counts, size))


def _count_common(counts: npt.NDArray[np.int64], size: int) -> float | None:
    """Return how many names two different items have in common on average, by how many items bear each."""
    pairs = size * (size - 1)
    return float((counts * (counts - 1)).sum()) / pairs if pairs else None
