"""`Queries`: what a system is asked: histories, and whose they are and when, where that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Queries:
    """B histories, oldest first: ``items`` are catalogue rows (no history is empty), ``times`` their seconds since 1970
    where the log has timestamps, ``users`` the numbers of users of the log (None: strangers)."""

    items: Sequence[Rows]
    users: Rows | None = None
    times: Sequence[Rows] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def take(self, part: slice) -> Queries:
        """Return some neighbouring queries."""
        return Queries(
            self.items[part],
            None if self.users is None else self.users[part],
            None if self.times is None else self.times[part],
        )

    def pick(self, places: Rows) -> Queries:
        """Return the queries that stand at some places."""
        return Queries(
            [self.items[place] for place in places],
            None if self.users is None else self.users[places],
            None if self.times is None else [self.times[place] for place in places],
        )

    def keep_known(self, num_items: int) -> Queries:
        """Return the same queries with the items of the first ``num_items`` rows alone; a history may be empty then."""
        known = [rows < num_items for rows in self.items]
        if all(own.all() for own in known):
            return self
        return Queries(
            [rows[own] for rows, own in zip(self.items, known, strict=True)],
            self.users,
            None if self.times is None else [times[own] for times, own in zip(self.times, known, strict=True)],
        )

    def keep_last(self, max_history: int) -> Queries:
        """Return the same queries with the last ``max_history`` items of each history."""
        return Queries(
            [rows[-max_history:] for rows in self.items],
            self.users,
            None if self.times is None else [times[-max_history:] for times in self.times],
        )
