"""What the encoder reads and the decoder is to write, worked by hand; and how batches are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.histories import histories
from trialigngr.catalog.queries import Queries
from trialigngr.seq2seq.batches import (
    NO_TARGET,
    OnePassExamples,
    Seq2SeqBatch,
    SidSequences,
    TrainingExamples,
    cut_by_length,
)
from trialigngr.seq2seq.vocabulary import ABSENT, END_TOKEN, PAD_TOKEN, SidVocabulary
from trialigngr.sids.semantic_ids import END_CODE

CODES_NL = np.array([[0, 1], [1, 0], [2, 2], [0, END_CODE]], dtype=np.int32)
SIZES = (3, 4)
TOKENS = {0: [2, 6], 1: [3, 5], 2: [4, 7], 3: [2]}
"""Codes of level 0 begin behind padding and end, those of level 1 behind them."""
CPU = torch.device("cpu")


def sequences(max_history: int = 20, num_user_buckets: int = 0) -> SidSequences:
    return SidSequences(SidVocabulary(SIZES, num_user_buckets), CODES_NL, max_history)


def examples(max_history: int = 20, num_user_buckets: int = 0, micro_tokens: int = 10**6) -> TrainingExamples:
    log = histories([0, 1, 2, 3, 0], [3, 2, 1, 0, 2, 1])
    return TrainingExamples(log, sequences(max_history, num_user_buckets), micro_tokens)


def read_rows(batch: Seq2SeqBatch) -> list[tuple[list[int], list[int]]]:
    """Return what is read and written in each example of a batch."""
    found = []
    for part in batch.micro_batches:
        for source, label in zip(part.sources_BT.tolist(), part.labels_BL.tolist(), strict=True):
            end = source.index(END_TOKEN) + 1
            assert set(source[end:]) <= {PAD_TOKEN}
            found.append((source[:end], label))
    return found


def test_every_beginning_of_a_training_part_is_an_example() -> None:
    made = examples()
    assert len(made) == 2 + 3
    rows = read_rows(made.build_batch(np.arange(5), 0, "", CPU))
    assert sorted(rows) == sorted(
        [
            ([2, 6, 1], [3, 5]),
            ([2, 6, 3, 5, 1], [4, 7]),
            ([2, 1], [4, 7]),
            ([2, 4, 7, 1], [3, 5]),
            ([2, 4, 7, 3, 5, 1], [2, 6]),
        ]
    )


def test_a_sid_that_ends_early_is_written_with_its_end() -> None:
    log = histories([0, 1, 3, 0, 0])
    batch = TrainingExamples(log, sequences(), 100).build_batch(np.arange(2), 0, "", CPU)
    assert read_rows(batch) == [([2, 6, 3, 5, 1], [2, END_TOKEN]), ([2, 6, 1], [3, 5])]
    three = SidSequences(SidVocabulary((3, 4, 2)), np.array([[1, END_CODE, END_CODE]], dtype=np.int32), 5)
    assert three.labels_NL.tolist() == [[3, END_TOKEN, NO_TARGET]]


def test_the_decoder_reads_what_it_has_written() -> None:
    (part,) = examples().build_batch(np.arange(5), 0, "", CPU).micro_batches
    assert part.build_decoder_inputs().tolist() == [[PAD_TOKEN, label[0]] for label in part.labels_BL.tolist()]


def test_only_the_last_items_are_shown_and_the_user_stands_first() -> None:
    users = SidVocabulary(SIZES, 2).encode_users([0, 1, 2, -1])
    assert users.tolist() == [9, 10, 9, ABSENT]
    rows = read_rows(examples(max_history=1, num_user_buckets=2).build_batch(np.array([4, 1]), 0, "", CPU))
    assert rows == [([10, 3, 5, 1], [2, 6]), ([9, 3, 5, 1], [4, 7])]
    queries = Queries([np.array([3, 0, 1]), np.array([2])], np.array([1, -1]))
    assert sequences(2, 2).encode_queries(queries) == [[10, 2, 6, 3, 5, 1], [4, 7, 1]]
    assert sequences(2).encode_queries(queries) == [[2, 6, 3, 5, 1], [4, 7, 1]]
    assert sequences().encode_queries(Queries([])) == []


def test_a_query_reads_what_was_trained() -> None:
    made = examples(3, 2)
    asked = made.sequences.encode_queries(made.histories.build_queries(made.targets))
    for place in range(len(made)):
        ((source, _),) = read_rows(made.build_batch(np.array([place]), 0, "", CPU))
        assert source == asked[place]


@pytest.mark.parametrize("max_tokens", [1, 7, 12, 100])
def test_cuts_keep_to_the_limit_and_to_the_order(max_tokens: int) -> None:
    lengths = np.array([9, 6, 6, 5, 2, 2, 1])
    for sizes in (np.ones(7, dtype=int), np.array([1, 2, 1, 1, 3, 1, 1])):
        parts = list(cut_by_length(lengths, sizes, max_tokens))
        assert [row for part in parts for row in range(part.start, part.stop)] == list(range(7))
        for part in parts:
            assert part.stop - part.start == 1 or lengths[part].max() * sizes[part].sum() <= max_tokens


@pytest.mark.parametrize("micro_tokens", [6, 1000])
def test_beginnings_of_a_history_are_read_as_one(micro_tokens: int) -> None:
    log = histories([0, 1, 2, 3, 0], [3, 2, 1, 0, 2, 1], [0, 1, 3, 2, 1, 3, 1])
    own = SidSequences(SidVocabulary(SIZES, 2), CODES_NL, 3, one_pass=True)
    made = OnePassExamples(log, own, micro_tokens)
    # Two, three and four targets; the last user's fourth has a history of four, of which the first is not shown.
    assert made.bounds.tolist() == [0, 2, 5, 8, 9]
    batch = made.build_batch(np.array([2, 0, 3, 1]), 0, "", CPU)
    asked = own.encode_queries(log.build_queries(made.targets))
    wanted = sorted(zip(asked, own.labels_NL[made.rows].tolist(), strict=True))
    found = []
    for part in batch.micro_batches:
        assert part.prefixes is not None
        own_lists = (part.prefixes.sources_B.tolist(), part.prefixes.lengths_B.tolist(), part.labels_BL.tolist())
        for owner, seen, label in zip(*own_lists, strict=True):
            found.append((part.sources_BT[owner, :seen].tolist(), label))
    assert sorted(found) == wanted
    assert all(source[:2] == [END_TOKEN, 9 + user % 2] for source, user in zip(asked, made.users, strict=True))
    assert batch.num_targets == 18
    assert batch.num_tokens == sum(len(asked[place]) for place in (1, 4, 7, 8)) + 18
    assert len(made.shuffle(4, 0, "").choose_examples(0)) == 4 * 4 // 9
    assert len(batch.micro_batches) == (4 if micro_tokens == 6 else 1)


def test_a_cut_batch_is_the_whole_one() -> None:
    chosen = np.array([3, 0, 4, 2, 1])
    whole, cut = (examples(micro_tokens=n).build_batch(chosen, 0, "", CPU) for n in (1000, 6))
    assert len(cut.micro_batches) > 1
    assert read_rows(cut) == read_rows(whole)
    assert (cut.num_tokens, cut.num_targets) == (whole.num_tokens, 10) == (20 + 10, 10)
