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

    ``places_BT`` counts within a history. ``owners_BT`` tells histories apart (−1: padding); a row holds several where
    ``is_packed``. ``users_BT`` are numbers of users (−1: a stranger), ``times_BT`` seconds since 1970, None where the
    log has none.
    """

    items_BT: Tensor
    places_BT: Tensor
    owners_BT: Tensor
    users_BT: Tensor
    times_BT: Tensor | None
    is_packed: bool = False

    @classmethod
    def from_queries(cls, queries: Queries, device: torch.device) -> tuple[SequenceBatch, Tensor]:
        """Put each history into a row; return the batch, and where each history ends [B]."""
        lengths = [len(rows) for rows in queries.items]
        users = np.full(len(queries), -1, dtype=np.int64) if queries.users is None else queries.users
        where = [(line, 0) for line in range(len(lengths))]
        placed = _place_histories(queries.items, users, queries.times, where, (len(lengths), max(lengths)), device)
        return placed, torch.tensor(lengths, device=device) - 1


@dataclass(frozen=True)
class TrainingBatch:
    """Inputs, and M targets: ``targets_M`` are items, ``places_M`` count through the rows of the inputs, one after the
    other, and say from which state a target is predicted."""

    inputs: SequenceBatch
    places_M: Tensor
    targets_M: Tensor
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
    """The training parts in pieces of ``max_history`` items and the one after them: piece p of user ``users_P[p]`` is
    ``items[starts_P[p]:stops_P[p]]``. ``label`` says in messages whose batches they are."""

    histories: Histories
    max_history: int
    users_P: Rows
    starts_P: Rows
    stops_P: Rows
    label: str
    device: torch.device

    @classmethod
    def from_histories(
        cls, histories: Histories, max_history: int, label: str = "", device: torch.device | None = None
    ) -> HistoryPieces:
        """Cut training parts from their ends, so that the last piece is whole; every item but a first follows in one
        piece."""
        users, starts, stops = [], [], []
        for user, (first, length) in enumerate(zip(histories.offsets, histories.valid_from, strict=False)):
            for stop in range(int(length), 1, -max_history):
                users.append(user)
                starts.append(first + max(0, stop - max_history - 1))
                stops.append(first + stop)
        users_P, starts_P, stops_P = (np.array(column, dtype=np.int64) for column in (users, starts, stops))
        return cls(histories, max_history, users_P, starts_P, stops_P, label, device or torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.users_P)

    def build_next_batch(self, chosen: Rows, number: int, *, packs: bool, num_targets: int = 1) -> TrainingBatch:
        """Return some of the pieces with the next ``num_targets`` items of each place as its targets. ``packs``:
        several behind each other in one row, each into the last row if it fits there."""
        spans = self._list_spans(chosen)
        inputs = [slice(span.start, span.stop - 1) for span in spans]
        lengths = [int(span.stop - span.start) for span in inputs]
        where, num_rows = _pack_rows(lengths, self.max_history) if packs else ([(n, 0) for n in range(len(spans))], 0)
        shape = (num_rows or len(spans), self.max_history if packs else max(lengths))
        places, targets = [], []
        for (row, column), span, length in zip(where, spans, lengths, strict=True):
            for ahead in range(min(num_targets, length)):
                places.append(row * shape[1] + column + np.arange(length - ahead))
                targets.append(self.histories.items[span][1 + ahead :])
        return self._build(inputs, chosen, where, shape, (places, targets), number, is_packed=packs)

    def build_whole_batch(self, chosen: Rows, number: int) -> TrainingBatch:
        """Return some of the pieces, whole, behind each other in rows, with every item as the target of its own
        place."""
        spans = self._list_spans(chosen)
        lengths = [int(span.stop - span.start) for span in spans]
        where, num_rows = _pack_rows(lengths, width := self.max_history + 1)
        places = [row * width + column + np.arange(n) for (row, column), n in zip(where, lengths, strict=True)]
        targets = [self.histories.items[span] for span in spans]
        return self._build(spans, chosen, where, (num_rows, width), (places, targets), number, is_packed=True)

    def _list_spans(self, chosen: Rows) -> list[slice]:
        return [slice(start, stop) for start, stop in zip(self.starts_P[chosen], self.stops_P[chosen], strict=True)]

    def _build(
        self,
        spans: Sequence[slice],
        chosen: Rows,
        where: Sequence[tuple[int, int]],
        shape: tuple[int, int],
        asked: tuple[list[Rows], list[Rows]],
        number: int,
        *,
        is_packed: bool = False,
    ) -> TrainingBatch:
        """Return a batch of the items of some spans, and what is asked: places and targets."""
        log = self.histories
        times = None if log.times is None else [log.times[span] for span in spans]
        items = [log.items[span] for span in spans]
        inputs = _place_histories(items, self.users_P[chosen], times, where, shape, self.device, is_packed=is_packed)
        places_M, targets_M = (torch.from_numpy(np.concatenate(column)).to(self.device) for column in asked)
        return TrainingBatch(inputs, places_M, targets_M, sum(map(len, items)), self.label, number)


def _pack_rows(lengths: Sequence[int], width: int) -> tuple[list[tuple[int, int]], int]:
    """Return row and place of each piece, and the number of rows."""
    where, used = [], [0]
    for length in lengths:
        if used[-1] + length > width:
            used.append(0)
        where.append((len(used) - 1, used[-1]))
        used[-1] += length
    return where, len(used)


def _place_histories(
    items: Sequence[Rows],
    users: Rows,
    times: Sequence[Rows] | None,
    where: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    device: torch.device,
    *,
    is_packed: bool = False,
) -> SequenceBatch:
    """Return histories as rows of a ``shape`` in which each stands where it is to stand."""
    lengths = [len(rows) for rows in items]
    columns: list[tuple[Sequence[npt.NDArray[np.int64]], int]] = [
        (items, 0),
        ([np.arange(n) for n in lengths], 0),
        ([np.full(n, owner) for owner, n in enumerate(lengths)], -1),
        ([np.full(n, user) for n, user in zip(lengths, users, strict=True)], -1),
        *([] if times is None else [(times, 0)]),
    ]
    placed = []
    for pieces, padding in columns:
        rows_BT = np.full(shape, padding, dtype=np.int64)
        for (row, place), piece in zip(where, pieces, strict=True):
            rows_BT[row, place : place + len(piece)] = piece
        placed.append(torch.from_numpy(rows_BT).to(device))
    items_BT, places_BT, owners_BT, users_BT, *when = placed
    return SequenceBatch(items_BT, places_BT, owners_BT, users_BT, when[0] if when else None, is_packed)
