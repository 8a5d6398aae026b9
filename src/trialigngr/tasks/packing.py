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
    """A trunk and the branches that leave it."""

    trunk: list[int]
    branches: list[Branch]

    def __len__(self) -> int:
        return len(self.trunk) + sum(len(self.own(branch)) for branch in self.branches)

    def own(self, branch: Branch) -> list[int]:
        """Return the tokens that a branch adds: none where the trunk goes on with the very same ones."""
        tokens = branch.tokens
        return [] if self.trunk[branch.cut : branch.cut + len(tokens)] == tokens else tokens


@dataclass(frozen=True)
class Pass:
    """T tokens: ``header`` of them shared by all, then sheets of ``lengths_S`` tokens, the longest first.

    With places counted from where a sheet begins, the token at place q sees the header and the places k of its own
    sheet with k < cut or own ≤ k ≤ q. ``predict_*`` [M] list the tokens whose next is a target, and that target.
    """

    tokens_T: Ints
    positions_T: Ints
    cut_T: Ints
    own_T: Ints
    header: int
    lengths_S: Ints
    predict_place_M: Ints
    predict_token_M: Ints
    examples: int


@dataclass
class _Line:
    header: list[int]
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    predict: list[tuple[int, int]] = field(default_factory=list)
    examples: int = 0

    def __post_init__(self) -> None:
        self._segment(self.header, 0, 0, 0)

    def _segment(self, tokens: list[int], position: int, cut: int, own: int) -> None:
        self.tokens += tokens
        self.positions += range(position, position + len(tokens))
        self.cuts += [cut] * len(tokens)
        self.own += [own] * len(tokens)

    def add(self, sheet: Sheet) -> None:
        start, shared = len(self.tokens), len(self.header)
        self._segment(sheet.trunk, shared, 0, 0)
        for branch in sheet.branches:
            left, own = start + branch.cut, sheet.own(branch)
            # Where the branch's own tokens stand: behind all others, or in the trunk, behind the cut.
            begin = len(self.tokens) if own else left
            self._segment(own, shared + branch.cut, branch.cut, begin - start)
            read = [left - 1, *range(begin, begin + len(branch.tokens))][-len(branch.target) :]
            self.predict += zip(read, branch.target, strict=True)
        self.lengths.append(len(self.tokens) - start)
        self.examples += len(sheet.branches)

    def whole(self) -> Pass:
        columns = (self.tokens, self.positions, self.cuts, self.own, self.lengths)
        tokens_T, positions_T, cut_T, own_T, lengths_S = (np.array(column, dtype=np.int64) for column in columns)
        place_M, token_M = np.array(self.predict, dtype=np.int64).reshape(-1, 2).T
        header = len(self.header)
        return Pass(tokens_T, positions_T, cut_T, own_T, header, lengths_S, place_M, token_M, self.examples)


def passes(header: list[int], sheets: Sequence[Sheet], tokens: int) -> Iterator[Pass]:
    """Cut a batch into passes of at most ``tokens`` tokens (or one sheet, where that alone is longer)."""
    line = _Line(header)
    for sheet in sorted(sheets, key=len, reverse=True):
        if line.lengths and len(line.tokens) + len(sheet) > tokens:
            yield line.whole()
            line = _Line(header)
        line.add(sheet)
    yield line.whole()
