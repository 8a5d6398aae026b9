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

NO_TARGET = -100
"""A label that counts for nothing, as in torch's cross-entropy."""


@dataclass(frozen=True)
class PaddedExamples:
    """Examples of like length: what the encoder reads [B, T], padded at the right, what the decoder is to write [B, L],
    and the item that this is of [B]."""

    sources_BT: Tensor
    labels_BL: Tensor
    rows_B: Tensor

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
    the level of the first codes, where items have several SIDs; an item without this one stands nowhere."""

    def __init__(
        self,
        vocabulary: SidVocabulary,
        codes_NL: Codes,
        max_history: int,
        first_level: int = 0,
        prompt: Sequence[int] = (),
    ) -> None:
        self.vocabulary, self.max_history, self.prompt = vocabulary, max_history, prompt
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
        tokens[ends_B - 1] = END_TOKEN
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
        for part in cut_by_length(lengths_B, self.micro_tokens):
            sources_BT = pad_sources(sources[part])
            arrays = (sources_BT, labels_BL[part], rows_B[part])
            pieces.append(PaddedExamples(*(to_device(array, device) for array in arrays)))
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
        behind = np.cumsum(counts) - counts
        items: Rows = self.histories.items[np.repeat(stops - counts - behind, counts) + np.arange(counts.sum())]
        return items


class ItemExamples(Examples):
    """Items by themselves: one SID of an item is read and another, ``labels_NL``, is written."""

    def __init__(self, rows: Rows, sequences: SidSequences, micro_tokens: int, labels_NL: Rows) -> None:
        super().__init__(sequences, labels_NL, rows, np.ones_like(rows), np.full_like(rows, -1), micro_tokens)

    def list_items(self, chosen: Rows) -> Rows:
        """Return the items."""
        return self.rows[chosen]


def pad_sources(sources: Sequence[Rows | list[int]]) -> Rows:
    """Return what the encoder reads as a table, padded at the right."""
    lengths_B = np.array([len(source) for source in sources])
    sources_BT: Rows = np.full((len(sources), lengths_B.max()), PAD_TOKEN, dtype=np.int64)
    sources_BT[np.arange(lengths_B.max()) < lengths_B[:, None]] = np.concatenate(sources)
    return sources_BT


def cut_by_length(lengths_B: Rows, max_tokens: int) -> Iterator[slice]:
    """Yield neighbours, the longest first, of which each has no more than ``max_tokens`` when they are padded."""
    start, widest = 0, 0
    for place, length in enumerate(lengths_B.tolist()):
        widest = max(widest, length)
        if place > start and widest * (place + 1 - start) > max_tokens:
            yield slice(start, place)
            start, widest = place, length
    yield slice(start, len(lengths_B))
