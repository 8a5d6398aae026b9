"""`Histories`: who took what, in order, and which part of it is for training, validation and test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from trialigngr.catalog.queries import Queries, Rows
from trialigngr.foundation.errors import CatalogError, ErrorKind, did_you_mean

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Targets:
    """What is to be predicted: for target t, the item at ``positions[t]`` of user ``users[t]``'s sequence."""

    users: Rows
    positions: Rows

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class Histories:
    """U users' sequences, flat. User u took ``items[offsets[u]:offsets[u + 1]]`` (catalogue rows, oldest first), at
    ``times`` of the same places (seconds since 1970; None where the log has an order alone).

    Every split is two cuts of each sequence (positions within it): ``[0, valid_from[u])`` trains,
    ``[valid_from[u], test_from[u])`` validates, ``[test_from[u], length)`` tests. An empty part means that the user is
    not evaluated there.
    """

    user_ids: list[str]
    offsets: Rows
    items: Rows
    valid_from: Rows
    test_from: Rows
    times: Rows | None = None

    def __len__(self) -> int:
        return len(self.user_ids)

    @cached_property
    def sequence_lengths(self) -> Rows:
        """Sequence length of each user [U]."""
        return np.diff(self.offsets)

    def user_sequence(self, user: int) -> Rows:
        """Return all rows that a user took, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def user_times(self, user: int) -> Rows | None:
        """Return when a user took what, in seconds since 1970; None where the log has no times."""
        return None if self.times is None else self.times[self.offsets[user] : self.offsets[user + 1]]

    def train_sequence(self, user: int) -> Rows:
        """Return the training part of a user's sequence."""
        return self.user_sequence(user)[: self.valid_from[user]]

    def history_before(self, user: int, position: int, max_length: int) -> Rows:
        """Return the last ``max_length`` rows taken before ``position`` (the test history contains the validation
        item)."""
        return self.user_sequence(user)[max(0, position - max_length) : position]

    def build_queries(self, targets: Targets) -> Queries:
        """Return everything that each target's user took before it, and when (the test history contains the validation
        item)."""
        starts = self.offsets[targets.users]
        spans = [slice(start, stop) for start, stop in zip(starts, starts + targets.positions, strict=True)]
        times = self.times
        return Queries(
            [self.items[span] for span in spans], targets.users, None if times is None else [times[s] for s in spans]
        )

    def list_targets(self, split: Split) -> Targets:
        """Return every (user, position ≥ 1) of a part, user by user, in order."""
        bounds = {
            "train": (np.zeros_like(self.valid_from), self.valid_from),
            "valid": (self.valid_from, self.test_from),
            "test": (self.test_from, self.sequence_lengths),
        }
        first, last = bounds[split]
        first = np.maximum(first, 1)
        counts = np.maximum(last - first, 0)
        users = np.repeat(np.arange(len(self)), counts)
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        return Targets(users, np.arange(len(users)) - starts + first[users])

    def target_items(self, targets: Targets) -> Rows:
        """Return the catalogue row of each target."""
        items: Rows = self.items[self.offsets[targets.users] + targets.positions]
        return items

    def train_sequences(self) -> Iterator[Rows]:
        """Iterate over the training parts of all users."""
        return (self.train_sequence(user) for user in range(len(self)))

    def count_train_items(self, n_items: int) -> Rows:
        """Return how often each item occurs in the training parts [N]."""
        counts: Rows = np.bincount(self.train_rows, minlength=n_items)
        return counts

    @property
    def train_rows(self) -> Rows:
        """The rows of the training parts, user by user."""
        positions = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.sequence_lengths)
        rows: Rows = self.items[positions < np.repeat(self.valid_from, self.sequence_lengths)]
        return rows

    def count_train_repeats(self) -> tuple[int, int]:
        """Return how many targets the training parts have, and how many of them their user had taken before."""
        rows, users = self.train_rows, np.repeat(np.arange(len(self)), self.valid_from)
        once = np.unique(users * (int(rows.max(initial=0)) + 1) + rows)
        return int(np.maximum(self.valid_from - 1, 0).sum()), len(rows) - len(once)

    @cached_property
    def user_numbers(self) -> dict[str, int]:
        """User id → number."""
        return {user_id: user for user, user_id in enumerate(self.user_ids)}

    def find_user(self, user_id: str) -> int:
        """Return the number of a user; raise `CatalogError` with the nearest known id."""
        try:
            return self.user_numbers[user_id]
        except KeyError:
            raise CatalogError(
                f"There is no user {user_id!r} in this run.{did_you_mean(user_id, self.user_ids)}",
                ErrorKind.UNKNOWN_USER,
            ) from None
