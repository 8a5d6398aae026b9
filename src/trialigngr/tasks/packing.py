"""Sheets and passes: all prefixes of a history in one row, each seeing exactly what its own row would have shown.

A `Sheet` is a trunk of tokens (the history) and branches that leave it after ``cut`` tokens (end of prompt, target).
A branch that would say again what the trunk says there is read off the trunk and takes no tokens at all.
A `Pass` is what goes through the model at once: the header that all examples of a task share, once, and then sheet
after sheet, without padding. A token sees the header, its trunk up to its cut, and its own segment up to itself; that
is the whole attention mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """A trunk and the branches that leave it; the last token of a ``refused`` one is what must not be written."""

    trunk: list[int]
    branches: list[Branch]
    refused: list[Branch] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.trunk) + sum(len(self.own(branch)) for branch in (*self.branches, *self.refused))

    def own(self, branch: Branch) -> list[int]:
        """Return the tokens that a branch adds: none where the trunk goes on with the very same ones."""
        tokens = branch.tokens
        return [] if self.trunk[branch.cut : branch.cut + len(tokens)] == tokens else tokens


@dataclass(frozen=True)
class Pass:
    """T tokens: ``header`` of them shared by all, then sheets of ``lengths_S`` tokens, the longest first.

    With places counted from where a sheet begins, the token at place q sees the header and the places k of its own
    sheet with k < cut or own ≤ k ≤ q. ``predict_*`` [M] list the tokens whose next is a target, that target, and
    whether it must not be written.
    """

    tokens_T: Ints
    positions_T: Ints
    cut_T: Ints
    own_T: Ints
    header: int
    lengths_S: Ints
    predict_place_M: Ints
    predict_token_M: Ints
    predict_refused_M: npt.NDArray[np.bool_]
    examples: int


@dataclass
class _Line:
    header: list[int]
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    predict: list[tuple[int, int, bool]] = field(default_factory=list)
    examples: int = 0

    def __post_init__(self) -> None:
        self._segment(self.header, 0, 0, 0)

    def _segment(self, tokens: list[int], position: int, cut: int, own: int) -> None:
        self.tokens += tokens
        self.positions += range(position, position + len(tokens))
        self.cuts += [cut] * len(tokens)
        self.own += [own] * len(tokens)

    def add(self, sheet: Sheet) -> None:
        start = len(self.tokens)
        self._segment(sheet.trunk, len(self.header), 0, 0)
        for branch in sheet.branches:
            read = self._read(start, sheet, branch)
            self.predict += [(place, token, False) for place, token in zip(read, branch.target, strict=True)]
        for branch in sheet.refused:
            self.predict.append((self._read(start, sheet, branch)[-1], branch.target[-1], True))
        self.lengths.append(len(self.tokens) - start)
        self.examples += len(sheet.branches)

    def _read(self, start: int, sheet: Sheet, branch: Branch) -> list[int]:
        """Add what a branch adds to its sheet, which begins at ``start``, and return where its targets are read."""
        left, own = start + branch.cut, sheet.own(branch)
        # Where the branch's own tokens stand: behind all others, or in the trunk, behind the cut.
        begin = len(self.tokens) if own else left
        self._segment(own, len(self.header) + branch.cut, branch.cut, begin - start)
        return [left - 1, *range(begin, begin + len(branch.tokens))][-len(branch.target) :]

    def whole(self) -> Pass:
        columns = (self.tokens, self.positions, self.cuts, self.own, self.lengths)
        tokens_T, positions_T, cut_T, own_T, lengths_S = (np.array(column, dtype=np.int64) for column in columns)
        place_M, token_M, refused_M = np.array(self.predict, dtype=np.int64).reshape(-1, 3).T
        predict = (place_M, token_M, refused_M.astype(bool))
        return Pass(tokens_T, positions_T, cut_T, own_T, len(self.header), lengths_S, *predict, self.examples)


def passes(header: list[int], sheets: Sequence[Sheet], tokens: int) -> Iterator[Pass]:
    """Cut a batch into passes of at most ``tokens`` tokens (or one sheet, where that alone is longer)."""
    line = _Line(header)
    for sheet in sorted(sheets, key=len, reverse=True):
        if line.lengths and len(line.tokens) + len(sheet) > tokens:
            yield line.whole()
            line = _Line(header)
        line.add(sheet)
    yield line.whole()
