"""`TokenLists`: one list of token ids for each item, all in one array of the smallest numbers that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
T = TypeVar("T")
IntArray = npt.NDArray[np.integer[Any]]
UnsignedArray = npt.NDArray[np.unsignedinteger[Any]]


def shrink_unsigned(numbers: IntArray) -> UnsignedArray:
    """Return numbers from 0 on in the smallest unsigned type that holds them all."""
    shrunk: UnsignedArray = numbers.astype(np.min_scalar_type(numbers.max(initial=0)), copy=False)
    return shrunk


def expand_ranges(starts: IntArray, counts: IntArray) -> Int64Array:
    """Return the numbers of ranges one behind the other: from each start on, as many as its count."""
    expanded: Int64Array = np.repeat(starts - np.cumsum(counts) + counts, counts)
    expanded += np.arange(len(expanded))
    return expanded


def split_list(values: list[T], ends: Int64Array) -> list[list[T]]:
    """Return a list in pieces that end at ``ends``."""
    return [values[start:stop] for start, stop in pairwise([0, *ends.tolist()])]


@dataclass(frozen=True, slots=True)
class TokenLists:
    """The token ids of N items: item ``row`` has ``tokens[offsets[row]:offsets[row + 1]]``. An empty list is none."""

    tokens: UnsignedArray
    offsets: UnsignedArray

    @classmethod
    def from_lengths(cls, tokens: IntArray, lengths_N: IntArray) -> TokenLists:
        """Return lists of these lengths, whose tokens stand one behind the other."""
        offsets = np.concatenate([[0], np.cumsum(lengths_N, dtype=np.int64)])
        return cls(shrink_unsigned(tokens), shrink_unsigned(offsets))

    @classmethod
    def from_chunks(cls, chunks: Iterable[Sequence[Sequence[int] | None]]) -> TokenLists:
        """Return the lists of all chunks; no two chunks need to be there at once."""
        tokens, lengths = [np.empty(0, dtype=np.uint8)], [np.empty(0, dtype=np.int64)]
        for chunk in chunks:
            lengths.append(np.array([len(ids or ()) for ids in chunk], dtype=np.int64))
            flat = np.fromiter(chain.from_iterable(filter(None, chunk)), np.int64, count=lengths[-1].sum())
            tokens.append(shrink_unsigned(flat))
        return cls.from_lengths(np.concatenate(tokens), np.concatenate(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> list[int] | None:
        return self.tokens[self.offsets[row] : self.offsets[row + 1]].tolist() or None

    def __iter__(self) -> Iterator[list[int] | None]:
        return map(self.__getitem__, range(len(self)))

    def join_rows(
        self, rows: IntArray, max_length: int | None = None, suffix: Sequence[int] = ()
    ) -> tuple[list[int], Int64Array]:
        """Return the lists of rows one behind the other, and where each ends. Each is cut at ``max_length`` and, unless
        it is empty, followed by ``suffix``."""
        starts = self.offsets.take(rows).astype(np.int64)
        lengths = self.offsets.take(rows + 1).astype(np.int64) - starts
        is_there = lengths > 0
        lengths = lengths if max_length is None else np.minimum(lengths, max_length)
        lengths = lengths + len(suffix) * is_there
        # What is read beyond a list is written over by the suffix.
        tokens = self.tokens.take(expand_ranges(starts, lengths), mode="clip").astype(np.int64)
        ends = np.cumsum(lengths)
        for place, token in enumerate(suffix, -len(suffix)):
            tokens[ends[is_there] + place] = token
        return tokens.tolist(), ends

    def take_rows(self, rows: IntArray, max_length: int | None = None, suffix: Sequence[int] = ()) -> list[list[int]]:
        """Return the lists of rows as `join_rows` makes them, one by one."""
        tokens, ends = self.join_rows(rows, max_length, suffix)
        return split_list(tokens, ends)

    def count_tokens(self, rows: IntArray) -> Int64Array:
        """Return the lengths of rows; 0 where an item has none."""
        counts: Int64Array = (self.offsets[rows + 1] - self.offsets[rows]).astype(np.int64)
        return counts

    @property
    def lengths(self) -> Int64Array:
        """The length of every list [N]; 0 where an item has none."""
        return np.diff(self.offsets).astype(np.int64)

    def pad(self, fill: int) -> Int32Array:
        """Return the lists as a table [N, the longest, but at least 1] with ``fill`` behind each."""
        lengths_N = self.lengths
        table_NL = np.full((len(self), lengths_N.max(initial=1)), fill, dtype=np.int32)
        table_NL[np.arange(table_NL.shape[1]) < lengths_N[:, None]] = self.tokens
        return table_NL
