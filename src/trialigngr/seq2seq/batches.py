"""Batches of encoder–decoder generators: examples by number, as tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.catalog.queries import Queries, Rows
from trialigngr.foundation.device import to_device
from trialigngr.seq2seq.vocabulary import ABSENT, END_TOKEN, PAD_TOKEN, SidVocabulary
from trialigngr.sids.semantic_ids import Codes
from trialigngr.train.epochs import ShuffledEpochs

NO_TARGET = -100
"""A label that counts for nothing, as in torch's cross-entropy."""


@dataclass(frozen=True)
class Prefixes:
    """Of which source each example sees the beginning [B], and how many of its tokens [B]."""

    sources_B: Tensor
    lengths_B: Tensor


@dataclass(frozen=True)
class PaddedExamples:
    """Examples of like length: what the encoder reads [B, T], padded at the right, what the decoder is to write [B, L],
    and the item that this is of [B]. Where beginnings of a history are read as one, sources are [H, T], and
    ``prefixes`` says what each example sees of them."""

    sources_BT: Tensor
    labels_BL: Tensor
    rows_B: Tensor
    prefixes: Prefixes | None = None

    def build_decoder_inputs(self) -> Tensor:
        """Return what the decoder reads [B, L]: the start token, and what it has written so far."""
        shifted_BL = self.labels_BL.masked_fill(self.labels_BL == NO_TARGET, PAD_TOKEN).roll(1, 1)
        shifted_BL[:, 0] = PAD_TOKEN
        return shifted_BL


@dataclass(frozen=True)
class Seq2SeqBatch:
    """One optimizer step's examples."""

    micro_batches: list[PaddedExamples]
    num_targets: int
    """Tokens that the decoder is to write."""
    num_tokens: int
    """The same, and those that the encoder reads; without padding."""
    label: str
    number: int
    name: str = "next_item"
    sid_pair: tuple[Tensor, Tensor] | None = None
    """Two SIDs of the same items, as the encoder reads them [B, T], whose encodings are to be alike."""

    @property
    def description(self) -> str:
        """What messages say."""
        return f"{self.label} (batch {self.number})"


class SidSequences:
    """Histories as tokens: a prompt, the user, the SIDs of the last ``max_history`` items, the end. ``first_level`` is
    the level of the first codes, where items have several SIDs; an item without this one stands nowhere.

    Where ``one_pass``, the end stands before all, so that beginnings of a history are beginnings of its tokens.
    """

    def __init__(
        self,
        vocabulary: SidVocabulary,
        codes_NL: Codes,
        max_history: int,
        first_level: int = 0,
        prompt: Sequence[int] = (),
        one_pass: bool = False,
    ) -> None:
        self.vocabulary, self.max_history, self.prompt, self.one_pass = vocabulary, max_history, prompt, one_pass
        self.tokens_NL = vocabulary.encode_codes(codes_NL, first_level)
        # What the decoder writes: an end where a SID ends early, and nothing behind it.
        ended_NL = self.tokens_NL == ABSENT
        is_first_NL = ended_NL & ~np.roll(ended_NL, 1, axis=1)
        self.labels_NL: Rows = np.where(is_first_NL, END_TOKEN, np.where(ended_NL, NO_TARGET, self.tokens_NL))

    def encode_queries(self, queries: Queries) -> list[list[int]]:
        """Return what the encoder reads for each query."""
        shown = queries.keep_last(self.max_history).items
        if not len(shown):
            return []
        users = np.full(len(shown), -1) if queries.users is None else queries.users
        counts = np.array([len(rows) for rows in shown], dtype=np.int64)
        tokens, lengths_B = self.encode_histories(np.concatenate(shown), counts, users)
        return [part.tolist() for part in np.split(tokens, np.cumsum(lengths_B)[:-1])]

    def encode_histories(self, items: Rows, counts_B: Rows, users_B: Rows) -> tuple[Rows, Rows]:
        """Return the tokens of histories one after the other, and how many each has [B]. Of ``items`` the first
        ``counts_B[0]`` are the first history's."""
        written_ML, users = self.tokens_NL[items], self.vocabulary.encode_users(users_B)
        has_user_B = users != ABSENT
        owner_M = np.repeat(np.arange(len(counts_B)), counts_B)
        written_B = np.bincount(owner_M, (written_ML != ABSENT).sum(1), len(counts_B)).astype(np.int64)
        lengths_B = len(self.prompt) + written_B + has_user_B + 1
        ends_B = np.cumsum(lengths_B)
        starts_B = ends_B - lengths_B
        tokens = np.full(ends_B[-1], ABSENT)
        tokens[starts_B if self.one_pass else ends_B - 1] = END_TOKEN
        starts_B = starts_B + self.one_pass
        tokens[starts_B[:, None] + np.arange(len(self.prompt))] = self.prompt
        tokens[(starts_B + len(self.prompt))[has_user_B]] = users[has_user_B]
        tokens[tokens == ABSENT] = written_ML[written_ML != ABSENT]
        return tokens, lengths_B


class Examples:
    """What the encoder reads and what the decoder is to write, by number: item ``rows[e]`` after a history of
    ``counts[e]`` items, which `list_items` gives. ``micro_tokens``: so many tokens, padding included, go through the
    encoder at once."""

    def __init__(
        self, sequences: SidSequences, labels_NL: Rows, rows: Rows, counts: Rows, users: Rows, micro_tokens: int
    ) -> None:
        self.sequences, self.labels_NL, self.rows = sequences, labels_NL, rows
        self.counts, self.users, self.micro_tokens = counts, users, micro_tokens

    def __len__(self) -> int:
        return len(self.rows)

    def list_items(self, chosen: Rows) -> Rows:
        """Return the items of the histories of some examples, one after the other."""
        raise NotImplementedError

    def shuffle(self, batch_size: int, seed: int, name: str) -> ShuffledEpochs:
        """Return passes over what `build_batch` takes, some ``batch_size`` examples a step."""
        return ShuffledEpochs(len(self), batch_size, seed, name)

    def build_batch(self, chosen: Rows, number: int, label: str, device: torch.device) -> Seq2SeqBatch:
        """Return some of the examples. Those of like length stand together, so that little is padded; as their
        gradients add up to that of the batch, a batch is drawn at random whatever lengths it has."""
        chosen = chosen[np.argsort(-self.counts[chosen], kind="stable")]
        tokens, lengths_B = self.sequences.encode_histories(
            self.list_items(chosen), self.counts[chosen], self.users[chosen]
        )
        rows_B = self.rows[chosen]
        labels_BL = self.labels_NL[rows_B]
        sources = np.split(tokens, np.cumsum(lengths_B)[:-1])
        pieces = []
        for part in cut_by_length(lengths_B, np.ones_like(lengths_B), self.micro_tokens):
            arrays = (pad_sources(sources[part]), labels_BL[part], rows_B[part])
            sources_BT, written_BL, own_B = (to_device(array, device) for array in arrays)
            pieces.append(PaddedExamples(sources_BT, written_BL, own_B))
        num_targets = int((labels_BL != NO_TARGET).sum())
        return Seq2SeqBatch(pieces, num_targets, len(tokens) + num_targets, label, number)


class TrainingExamples(Examples):
    """Every beginning of a training part, and the item after it; ``labels_NL`` are what is written of the items (those
    of ``sequences`` unless others are given), and an item without one is not asked for."""

    def __init__(
        self, histories: Histories, sequences: SidSequences, micro_tokens: int, labels_NL: Rows | None = None
    ) -> None:
        labels_NL = sequences.labels_NL if labels_NL is None else labels_NL
        targets = histories.list_targets("train")
        rows = histories.target_items(targets)
        has_label = labels_NL[rows, 0] != NO_TARGET
        self.histories, self.targets = histories, Targets(targets.users[has_label], targets.positions[has_label])
        counts = np.minimum(self.targets.positions, sequences.max_history)
        super().__init__(sequences, labels_NL, rows[has_label], counts, self.targets.users, micro_tokens)

    def list_items(self, chosen: Rows) -> Rows:
        """Return the items of the histories of some examples, one after the other."""
        targets, counts = self.targets, self.counts[chosen]
        stops = self.histories.offsets[targets.users[chosen]] + targets.positions[chosen]
        items: Rows = self.histories.items[list_ranges(stops - counts, counts)]
        return items


class OnePassExamples(TrainingExamples):
    """The same, drawn by histories: the beginnings of one are read as one, if the encoder sees backwards only.

    A beginning of more than ``max_history`` items, of which the first are not shown, is a history of its own.
    """

    def __init__(
        self, histories: Histories, sequences: SidSequences, micro_tokens: int, labels_NL: Rows | None = None
    ) -> None:
        super().__init__(histories, sequences, micro_tokens, labels_NL)
        starts_new = np.ones(len(self) + 1, dtype=bool)
        starts_new[1:-1] = (np.diff(self.users) != 0) | (self.targets.positions[1:] > sequences.max_history)
        self.bounds = np.flatnonzero(starts_new)
        """The first example of each history, and the end [H + 1]."""

    def shuffle(self, batch_size: int, seed: int, name: str) -> ShuffledEpochs:
        """Return passes over the histories, of so many a step that they have ``batch_size`` examples on average."""
        num_histories = len(self.bounds) - 1
        return ShuffledEpochs(num_histories, max(1, batch_size * num_histories // max(len(self), 1)), seed, name)

    def build_batch(self, chosen: Rows, number: int, label: str, device: torch.device) -> Seq2SeqBatch:
        """Return the examples of some of the histories, those of like length together."""
        longest = self.bounds[chosen + 1] - 1
        order = np.argsort(-self.counts[longest], kind="stable")
        first_H, longest_H = self.bounds[chosen[order]], longest[order]
        items, counts_H = self.list_items(longest_H), self.counts[longest_H]
        tokens, lengths_H = self.sequences.encode_histories(items, counts_H, self.users[longest_H])
        sizes_H = longest_H + 1 - first_H
        owner_B, examples_B = np.repeat(np.arange(len(order)), sizes_H), list_ranges(first_H, sizes_H)
        # What is hidden from an example is what stands behind its last item.
        written = np.append(0, np.cumsum((self.sequences.tokens_NL[items] != ABSENT).sum(1)))
        ends_H = np.cumsum(counts_H)
        shown_B = (ends_H - counts_H)[owner_B] + self.counts[examples_B]
        seen_B = lengths_H[owner_B] - (written[ends_H[owner_B]] - written[shown_B])
        sources, ends = np.split(tokens, np.cumsum(lengths_H)[:-1]), np.append(0, np.cumsum(sizes_H))
        pieces = []
        for part in cut_by_length(lengths_H, sizes_H, self.micro_tokens):
            own = slice(ends[part.start], ends[part.stop])
            rows = self.rows[examples_B[own]]
            arrays = (pad_sources(sources[part]), self.labels_NL[rows], rows, owner_B[own] - part.start, seen_B[own])
            sources_HT, labels_BL, rows_B, owners_B, lengths_B = (to_device(array, device) for array in arrays)
            pieces.append(PaddedExamples(sources_HT, labels_BL, rows_B, Prefixes(owners_B, lengths_B)))
        num_targets = int((self.labels_NL[self.rows[examples_B]] != NO_TARGET).sum())
        return Seq2SeqBatch(pieces, num_targets, len(tokens) + num_targets, label, number)


def build_training_examples(
    histories: Histories, sequences: SidSequences, micro_tokens: int, labels_NL: Rows | None = None
) -> TrainingExamples:
    """Return the examples of the training parts, as the sequences are to be read."""
    kind = OnePassExamples if sequences.one_pass else TrainingExamples
    return kind(histories, sequences, micro_tokens, labels_NL)


class ItemExamples(Examples):
    """Items by themselves: one SID of an item is read and another, ``labels_NL``, is written."""

    def __init__(self, rows: Rows, sequences: SidSequences, micro_tokens: int, labels_NL: Rows) -> None:
        super().__init__(sequences, labels_NL, rows, np.ones_like(rows), np.full_like(rows, -1), micro_tokens)

    def list_items(self, chosen: Rows) -> Rows:
        """Return the items."""
        return self.rows[chosen]


def list_ranges(starts: Rows, counts: Rows) -> Rows:
    """Return ``starts[0], starts[0] + 1, …``, so many as ``counts[0]`` says, and so on."""
    behind = np.cumsum(counts) - counts
    numbers: Rows = np.repeat(starts - behind, counts) + np.arange(counts.sum())
    return numbers


def pad_sources(sources: Sequence[Rows | list[int]]) -> Rows:
    """Return what the encoder reads as a table, padded at the right."""
    lengths_B = np.array([len(source) for source in sources])
    sources_BT: Rows = np.full((len(sources), lengths_B.max()), PAD_TOKEN, dtype=np.int64)
    sources_BT[np.arange(lengths_B.max()) < lengths_B[:, None]] = np.concatenate(sources)
    return sources_BT


def cut_by_length(lengths_B: Rows, sizes_B: Rows, max_tokens: int) -> Iterator[slice]:
    """Yield neighbours, the longest first, of which each has no more than ``max_tokens`` when they are padded and each
    counts as many times as its size says."""
    start, widest, total = 0, 0, 0
    for place, (length, size) in enumerate(zip(lengths_B.tolist(), sizes_B.tolist(), strict=True)):
        widest, total = max(widest, length), total + size
        if place > start and widest * total > max_tokens:
            yield slice(start, place)
            start, widest, total = place, length, size
    yield slice(start, len(lengths_B))
