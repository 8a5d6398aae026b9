"""Rows and micro-batches: all prefixes of a history in one row, each seeing exactly what its own row would have shown.

A `SharedPrefixRow` is a prefix of tokens (the history) and continuations that leave it after ``cut`` tokens (end of
prompt, target). A continuation that would say again what the prefix says there is read off the prefix and takes no
tokens at all. A `MicroBatch` is what goes through the model at once: the header that all examples of a task share,
once, and then row after row, without padding. A token sees the header, its prefix up to its cut, and its own segment up
to itself; that is the whole attention mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Continuation:
    """Leaves the prefix after ``prefix_length`` tokens, reads ``prompt_suffix``, must write ``target``.

    ``weights`` has one number a target token (None: all 1). A token of weight 0 is read but not predicted, one of a
    weight below 0 must not be written. ``example_id`` says whose it is in the data; ``branch`` numbers the answers of a
    batch (0 where nobody asks), so that two answers of one example can be told apart. ``item`` is the row of the item
    whose SID the target begins with; −1 for none.
    """

    prefix_length: int
    prompt_suffix: list[int]
    target: list[int]
    example_id: tuple[int, int] = (0, 0)
    weights: tuple[float, ...] | None = None
    branch: int = 0
    item: int = -1

    @property
    def num_targets(self) -> int:
        """The number of tokens that must be written: what a mean loss is taken over."""
        return len(self.target) if self.weights is None else sum(weight > 0 for weight in self.weights)

    @property
    def input_tokens(self) -> list[int]:
        """What goes in: the last target token is only predicted."""
        return [*self.prompt_suffix, *self.target[:-1]]


@dataclass(frozen=True, slots=True)
class SharedPrefixRow:
    """A prefix and the continuations that leave it."""

    prefix_tokens: list[int]
    continuations: list[Continuation]

    def __len__(self) -> int:
        return len(self.prefix_tokens) + sum(map(len, map(self.added_tokens, self.continuations)))

    @property
    def num_targets(self) -> int:
        """The number of tokens that must be written."""
        return sum(continuation.num_targets for continuation in self.continuations)

    def added_tokens(self, continuation: Continuation) -> list[int]:
        """Return the tokens that a continuation adds: none where the prefix goes on with the very same ones."""
        tokens = continuation.input_tokens
        return (
            []
            if self.prefix_tokens[continuation.prefix_length : continuation.prefix_length + len(tokens)] == tokens
            else tokens
        )


@dataclass(frozen=True)
class MicroBatch:
    """T tokens: ``header_length`` of them shared by all, then rows of ``row_lengths_S`` tokens, the longest first.

    With places counted from where a row begins, the token at place q sees the header and the places k of its own
    row with k < cut or own ≤ k ≤ q. The arrays [M] list the tokens whose next is a target, that target, the
    branch that it belongs to, its weight, and the item whose SID begins there (−1 for none).
    """

    tokens_T: Int64Array
    positions_T: Int64Array
    prefix_length_T: Int64Array
    own_start_T: Int64Array
    header_length: int
    row_lengths_S: Int64Array
    source_place_M: Int64Array
    target_token_M: Int64Array
    branch_M: Int64Array
    weight_M: npt.NDArray[np.float32]
    item_M: Int64Array


@dataclass
class _MicroBatchBuilder:
    header: list[int]
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    prefix_lengths: list[int] = field(default_factory=list)
    own_starts: list[int] = field(default_factory=list)
    row_lengths: list[int] = field(default_factory=list)
    source_places: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._append_tokens(self.header, 0, 0, 0)

    def _append_tokens(self, tokens: list[int], position: int, prefix_length: int, own_start: int) -> None:
        self.tokens += tokens
        self.positions += range(position, position + len(tokens))
        self.prefix_lengths += [prefix_length] * len(tokens)
        self.own_starts += [own_start] * len(tokens)

    def add_row(self, row: SharedPrefixRow) -> None:
        start = len(self.tokens)
        self._append_tokens(row.prefix_tokens, len(self.header), 0, 0)
        for continuation in row.continuations:
            length = len(continuation.target)
            self.source_places += self._append_continuation(start, row, continuation)
            self.targets += continuation.target
            self.branches += [continuation.branch] * length
            self.items += [continuation.item, *[-1] * (length - 1)]
            self.weights += continuation.weights or [1.0] * length
        self.row_lengths.append(len(self.tokens) - start)

    def _append_continuation(self, start: int, row: SharedPrefixRow, continuation: Continuation) -> list[int]:
        """Add what a continuation adds to its row, which begins at ``start``, and return where its targets are read."""
        left, own = start + continuation.prefix_length, row.added_tokens(continuation)
        # Where the continuation's own tokens stand: behind all others, or in the prefix, behind the cut.
        begin = len(self.tokens) if own else left
        self._append_tokens(
            own, len(self.header) + continuation.prefix_length, continuation.prefix_length, begin - start
        )
        return [left - 1, *range(begin, begin + len(continuation.input_tokens))][-len(continuation.target) :]

    def build_micro_batch(self) -> MicroBatch:
        columns = (self.tokens, self.positions, self.prefix_lengths, self.own_starts, self.row_lengths)
        tokens_T, positions_T, cut_T, own_T, lengths_S = (np.array(column, dtype=np.int64) for column in columns)
        weights = np.array(self.weights, dtype=np.float32)
        place_M, token_M, branch_M, item_M = (
            np.array(column, dtype=np.int64)[weights != 0]
            for column in (self.source_places, self.targets, self.branches, self.items)
        )
        predict = (place_M, token_M, branch_M, weights[weights != 0], item_M)
        return MicroBatch(tokens_T, positions_T, cut_T, own_T, len(self.header), lengths_S, *predict)


def pack_micro_batches(header: list[int], rows: Sequence[SharedPrefixRow], max_tokens: int) -> Iterator[MicroBatch]:
    """Cut a batch into micro-batches of at most ``max_tokens`` tokens (or one row, where that alone is longer)."""
    line = _MicroBatchBuilder(header)
    for row in sorted(rows, key=len, reverse=True):
        if line.row_lengths and len(line.tokens) + len(row) > max_tokens:
            yield line.build_micro_batch()
            line = _MicroBatchBuilder(header)
        line.add_row(row)
    yield line.build_micro_batch()
