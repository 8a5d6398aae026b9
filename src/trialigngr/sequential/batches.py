"""`SequenceBatch`: histories as tensors, one a row or several behind each other in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.queries import Queries, Rows


@dataclass(frozen=True)
class SequenceBatch:
    """Histories in rows of T items, oldest first, padded at the right.

    ``places_BT`` counts within a history. ``owners_BT`` tells the histories of a row apart (−1: of nobody); None where
    each row is one. ``users_BT`` are numbers of users (−1: a stranger), ``times_BT`` seconds since 1970, None where the
    log has none.
    """

    items_BT: Tensor
    places_BT: Tensor
    owners_BT: Tensor | None
    users_BT: Tensor
    times_BT: Tensor | None

    @classmethod
    def from_queries(cls, queries: Queries, device: torch.device) -> tuple[SequenceBatch, Tensor]:
        """Put each history into a row; return the batch, and where each history ends [B]."""
        lengths = [len(rows) for rows in queries.items]
        users = np.full(len(queries), -1, dtype=np.int64) if queries.users is None else queries.users
        columns = [list(queries.items), [np.full(n, user) for n, user in zip(lengths, users, strict=True)]]
        columns += [] if queries.times is None else [list(queries.times)]
        placed = _place_pieces(columns, [(line, 0) for line in range(len(lengths))], len(lengths), max(lengths))
        items_BT, users_BT, *times = (torch.from_numpy(column).to(device) for column in placed)
        places_BT = torch.arange(max(lengths), device=device).expand(items_BT.shape)
        batch = cls(items_BT, places_BT, None, users_BT, times[0] if times else None)
        return batch, torch.tensor(lengths, device=device) - 1


@dataclass(frozen=True)
class NextItemBatch:
    """Inputs, and the item that follows each where ``real_BT``."""

    inputs: SequenceBatch
    targets_BT: Tensor
    real_BT: Tensor
    num_tokens: int
    label: str
    number: int
    name: str = "next_item"

    @property
    def description(self) -> str:
        """What messages say."""
        return f"{self.label} (batch {self.number})"


@dataclass(frozen=True)
class HistoryPieces:
    """The training parts in pieces of ``max_history`` inputs and as many targets: piece p of user ``users_P[p]`` is
    ``items[starts_P[p]:stops_P[p]]``, where each item but the first is a target."""

    histories: Histories
    max_history: int
    users_P: Rows
    starts_P: Rows
    stops_P: Rows

    @classmethod
    def from_histories(cls, histories: Histories, max_history: int) -> HistoryPieces:
        """Cut training parts from their ends, so that the last piece is whole; every item but a first is a target
        once."""
        users, starts, stops = [], [], []
        for user, (first, length) in enumerate(zip(histories.offsets, histories.valid_from, strict=False)):
            for stop in range(int(length), 1, -max_history):
                users.append(user)
                starts.append(first + max(0, stop - max_history - 1))
                stops.append(first + stop)
        return cls(histories, max_history, *(np.array(column, dtype=np.int64) for column in (users, starts, stops)))

    def __len__(self) -> int:
        return len(self.users_P)

    def build_batch(self, chosen: Rows, device: torch.device, label: str, number: int, *, packs: bool) -> NextItemBatch:
        """Return some of the pieces as a batch. ``packs``: several behind each other in one row, each into the last row
        if it fits there."""
        spans = [slice(start, stop) for start, stop in zip(self.starts_P[chosen], self.stops_P[chosen], strict=True)]
        lengths = [int(span.stop - span.start) - 1 for span in spans]
        where, num_rows = _pack_rows(lengths, self.max_history) if packs else ([(n, 0) for n in range(len(spans))], 0)
        items, times = self.histories.items, self.histories.times
        columns = [
            [items[span][:-1] for span in spans],
            [items[span][1:] for span in spans],
            [np.arange(n) for n in lengths],
            [np.full(n, owner + 1) for owner, n in enumerate(lengths)],
            [np.full(n, user) for user, n in zip(self.users_P[chosen], lengths, strict=True)],
        ]
        columns += [] if times is None else [[times[span][:-1] for span in spans]]
        width = self.max_history if packs else max(lengths)
        placed = _place_pieces(columns, where, num_rows or len(spans), width)
        items_BT, targets_BT, places_BT, owners_BT, users_BT, *when = (
            torch.from_numpy(column).to(device) for column in placed
        )
        owners_BT = owners_BT - 1
        inputs = SequenceBatch(items_BT, places_BT, owners_BT if packs else None, users_BT, when[0] if when else None)
        return NextItemBatch(inputs, targets_BT, owners_BT >= 0, sum(lengths), label, number)


def _pack_rows(lengths: Sequence[int], width: int) -> tuple[list[tuple[int, int]], int]:
    """Return row and place of each piece, and the number of rows."""
    where, used = [], [0]
    for length in lengths:
        if used[-1] + length > width:
            used.append(0)
        where.append((len(used) - 1, used[-1]))
        used[-1] += length
    return where, len(used)


def _place_pieces(
    columns: Sequence[Sequence[npt.NDArray[np.int64]]], where: Sequence[tuple[int, int]], num_rows: int, width: int
) -> list[Rows]:
    """Return each column as rows [B, T] in which its pieces stand where they are to stand, 0 elsewhere."""
    placed = []
    for pieces in columns:
        rows_BT = np.zeros((num_rows, width), dtype=np.int64)
        for (row, place), piece in zip(where, pieces, strict=True):
            rows_BT[row, place : place + len(piece)] = piece
        placed.append(rows_BT)
    return placed
