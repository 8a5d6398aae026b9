"""`Filter`: which items may come back for one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Filter:
    """Catalogue rows that must not come back, and, unless None, the only ones that may."""

    denied_rows: Rows = field(default_factory=lambda: _NO_ROWS)
    only_rows: Rows | None = None

    def is_allowed(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Say which of some rows may come back."""
        kept: npt.NDArray[np.bool_] = ~np.isin(rows, self.denied_rows)
        return kept if self.only_rows is None else kept & np.isin(rows, self.only_rows)

    def intersect(self, other: Filter) -> Filter:
        """Return a filter of what both let come back."""
        given = [rows for rows in (self.only_rows, other.only_rows) if rows is not None]
        only = reduce(np.intersect1d, given) if given else None
        return Filter(np.concatenate([self.denied_rows, other.denied_rows]), only)

    def keep_known(self, n: int) -> Filter:
        """Return the same filter of the first n rows alone: those behind are of items that a system does not know."""
        only = None if self.only_rows is None else self.only_rows[self.only_rows < n]
        return Filter(self.denied_rows[self.denied_rows < n], only)

    def list_allowed_rows(self, n: int) -> Rows | None:
        """Return the rows of n that may come back, or None where the few that may not are the shorter list."""
        if self.only_rows is None and 4 * len(self.denied_rows) <= n:
            return None
        if self.only_rows is not None and len(self.denied_rows) < len(self.only_rows):
            return self.only_rows[~np.isin(self.only_rows, self.denied_rows)]
        allowed_N = np.full(n, self.only_rows is None)
        if self.only_rows is not None:
            allowed_N[self.only_rows] = True
        allowed_N[self.denied_rows] = False
        return np.flatnonzero(allowed_N)


Filters: TypeAlias = Sequence[Filter | Rows | None] | None
"""One filter a request; plain rows are what must not come back, None lets everything."""


def as_filter(given: Filter | Rows | None) -> Filter:
    """Return what a request gave as a filter."""
    return given if isinstance(given, Filter) else Filter(_NO_ROWS if given is None else given)
