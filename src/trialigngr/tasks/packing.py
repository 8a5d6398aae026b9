"""Sheets and packed rows: all prefixes of a history in one row, each seeing exactly what its own row would have shown.

A `Sheet` is a trunk of tokens (the history) and branches that leave it after ``cut`` tokens (end of prompt, target).
A row begins with the header that every sheet of a task shares. A token sees the header, its trunk up to its cut, and
its own segment up to itself; that is three intervals of keys, and the whole attention mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Branch:
    """Leaves the trunk after ``cut`` tokens, reads ``prompt``, must write ``target``. ``example`` says whose it is."""

    cut: int
    prompt: list[int]
    target: list[int]
    example: tuple[int, int] = (0, 0)

    @property
    def tokens(self) -> list[int]:
        """What goes in: the last target token is only predicted."""
        return [*self.prompt, *self.target[:-1]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A trunk and the branches that leave it."""

    trunk: list[int]
    branches: list[Branch]

    def __len__(self) -> int:
        return len(self.trunk) + sum(len(branch.prompt) + len(branch.target) - 1 for branch in self.branches)


@dataclass(frozen=True)
class PackedRows:
    """B rows of T tokens. Query q sees key k where k < header, trunk_from ≤ k < trunk_to or own_from ≤ k ≤ q.

    ``predict_*`` [M] list the places whose next token is a target, and that token. Padding sees itself alone.
    """

    tokens_BT: Ints
    positions_BT: Ints
    header_BT: Ints
    trunk_from_BT: Ints
    trunk_to_BT: Ints
    own_from_BT: Ints
    predict_row_M: Ints
    predict_place_M: Ints
    predict_token_M: Ints
    examples: int
    real_tokens: int


@dataclass
class _Row:
    header: list[int]
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    bounds: list[tuple[int, int, int, int]] = field(default_factory=list)
    predict: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._segment(self.header, 0, (0, 0, 0))

    def _segment(self, tokens: list[int], position: int, bounds: tuple[int, int, int]) -> int:
        start = len(self.tokens)
        self.tokens += tokens
        self.positions += range(position, position + len(tokens))
        self.bounds += [(*bounds, start)] * len(tokens)
        return start

    def add(self, sheet: Sheet) -> None:
        shared = len(self.header)
        trunk = self._segment(sheet.trunk, shared, (shared, 0, 0))
        for branch in sheet.branches:
            tokens = branch.tokens
            self._segment(tokens, shared + branch.cut, (shared, trunk, trunk + branch.cut))
            first = len(self.tokens) - len(branch.target)
            self.predict += [(first + offset, token) for offset, token in enumerate(branch.target)]


def pack(header: list[int], sheets: Sequence[Sheet], row_tokens: int, pad: int) -> PackedRows:
    """Pack sheets of one task into rows of ``row_tokens``, or what the longest sheet needs; longest sheets first."""
    rows: list[_Row] = []
    room = max(row_tokens, len(header) + max(map(len, sheets)))
    for sheet in sorted(sheets, key=len, reverse=True):
        row = next((row for row in rows if len(row.tokens) + len(sheet) <= room), None)
        if row is None:
            row = _Row(header)
            rows.append(row)
        row.add(sheet)
    return _stack(rows, sum(len(sheet.branches) for sheet in sheets), pad)


def _stack(rows: list[_Row], examples: int, pad: int) -> PackedRows:
    width = -(-max(len(row.tokens) for row in rows) // 8) * 8
    shape = (len(rows), width)
    tokens, positions = np.full(shape, pad), np.zeros(shape, dtype=np.int64)
    bounds = np.zeros((*shape, 4), dtype=np.int64)
    bounds[..., 3] = np.arange(width)
    for place, row in enumerate(rows):
        length = len(row.tokens)
        tokens[place, :length] = row.tokens
        positions[place, :length] = row.positions
        bounds[place, :length] = row.bounds
    predict = np.array([(place, *pair) for place, row in enumerate(rows) for pair in row.predict], dtype=np.int64)
    real = sum(len(row.tokens) for row in rows)
    header, trunk_from, trunk_to, own_from = np.moveaxis(bounds, 2, 0)
    row_M, place_M, token_M = predict.T
    bounded = (header, trunk_from, trunk_to, own_from)
    return PackedRows(tokens, positions, *bounded, row_M, place_M, token_M, examples, real)
