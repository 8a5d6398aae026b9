"""Recommendations are items: shared SIDs, banned items and ranks against a brute force of a few lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.decoding import catalogue, search
from trialigngr.decode.beam import Beams
from trialigngr.decode.filters import Filter, as_filter
from trialigngr.decode.generative_recommender import GenerativeRecommender
from trialigngr.decode.settings import DecodeSettings
from trialigngr.foundation.config import parse_settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.metrics.ranks import NOT_LISTED

N = 40


@pytest.fixture
def recommender(models: dict[str, Any]) -> GenerativeRecommender:
    codes_NL = catalogue(N, seed=8)
    codes_NL[20:30] = codes_NL[10]  # eleven items share one SID
    settings = DecodeSettings(num_beams=6, batch_size=4, precision="fp32")
    return GenerativeRecommender(
        search(models["qwen, trained"], codes_NL), lambda rows: [2, *(rows % 8 + 2).tolist()], settings
    )


def histories(n: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, N, random.integers(0, 9)) for _ in range(n)]


def items_in_order(recommender: GenerativeRecommender, leaves: np.ndarray, refused: set[int]) -> list[list[int]]:
    """Return the items of each leaf, best leaf first."""
    leaf_of = recommender.search.trie.node_of_item[-1]
    return [[row for row in range(N) if leaf_of[row] == leaf and row not in refused] for leaf in leaves if leaf >= 0]


@pytest.mark.parametrize("masked", [False, True])
def test_ranks_equal_brute_force(recommender: GenerativeRecommender, masked: bool):
    asked = histories(60)
    # Every fifth target is in its own history; under the mask it can be in no list.
    targets = np.array([rows[0] if place % 5 == 0 and len(rows) else place % N for place, rows in enumerate(asked)])
    banned = [np.concatenate([rows, np.arange(12, 24)]) for rows in asked] if masked else None
    beams = recommender.decode_beams(asked, banned)
    ranks = recommender.compute_ranks(beams, targets, banned)
    found = 0
    for place, target in enumerate(targets):
        refused = set() if banned is None else set(banned[place].tolist())
        ahead, tied = NOT_LISTED, 1
        blocks = items_in_order(recommender, beams.leaves_BW[place], refused)
        for number, block in enumerate(blocks):
            if target in block:
                ahead, tied = sum(map(len, blocks[:number])), len(block)
                found += 1
        assert (ranks.ahead_M[place], ranks.tied_M[place]) == (ahead, tied)
    assert 5 < found < 60


def test_ranks_by_hand(recommender: GenerativeRecommender):
    trie = recommender.search.trie
    shared = int(trie.node_of_item[-1][10])
    other = int(trie.node_of_item[-1][0])
    assert len(trie.items_at(shared)) == 11
    before = len(trie.items_at(other))
    beams = Beams(np.array([[other, shared, -1]]), np.array([[-1, -2, -np.inf]], dtype=np.float32))
    ranks = recommender.compute_ranks(beams, np.array([25]))
    assert (ranks.ahead_M.tolist(), ranks.tied_M.tolist()) == ([before], [11])
    masked = recommender.compute_ranks(beams, np.array([25]), [np.array([0, 10, 20, 20, 39])])
    assert (masked.ahead_M.tolist(), masked.tied_M.tolist()) == ([before - 1], [9])
    assert recommender.compute_ranks(beams, np.array([25]), [np.array([25])]).ahead_M.tolist() == [NOT_LISTED]
    by_sid = recommender.compute_sid_ranks(beams, np.array([25]))
    assert (by_sid.ahead_M.tolist(), by_sid.tied_M.tolist()) == ([1], [1])
    absent = next(row for row in range(N) if trie.node_of_item[-1][row] not in (other, shared))
    assert recommender.compute_sid_ranks(beams, np.array([absent])).ahead_M.tolist() == [NOT_LISTED]


def test_the_list_is_where_the_ranks_say(recommender: GenerativeRecommender):
    asked = histories(10)
    beams = recommender.decode_beams(asked)
    for place, ranking in enumerate(recommender.rank_items(beams, 15)):
        wanted = [row for block in items_in_order(recommender, beams.leaves_BW[place], set()) for row in block][:15]
        assert ranking.rows.tolist() == wanted
        assert len(ranking.scores) == len(wanted)
        assert (np.diff(ranking.scores) <= 0).all()
        alone = recommender.recommend(asked[place], 6)
        assert alone.rows.tolist() == wanted[:6]


def test_lists_are_what_a_plain_loop_makes(recommender: GenerativeRecommender):
    random, trie = np.random.default_rng(1), recommender.search.trie
    leaves_BW = np.array([random.permutation(len(trie.levels[-1]))[:8] for _ in range(200)])
    leaves_BW[random.random(leaves_BW.shape) < 0.1] = -1
    scores_BW = -np.sort(random.random(leaves_BW.shape).astype(np.float32), axis=1)
    given = [None, np.arange(9, 27), Filter(np.arange(5), np.arange(3, 22)), Filter(only_rows=np.arange(0))] * 50
    for k in (1, 5, N):
        found = recommender.rank_items(Beams(leaves_BW, scores_BW), k, given)
        for b, ranking in enumerate(found):
            pairs = [
                (row, score)
                for leaf, score in zip(leaves_BW[b], scores_BW[b], strict=True)
                if leaf >= 0
                for row in trie.items_at(leaf)
                if as_filter(given[b]).is_allowed(np.array([row]))[0]
            ][:k]
            assert list(zip(ranking.rows, ranking.scores, strict=True)) == pairs
            assert (ranking.rows.dtype, ranking.scores.dtype) == (np.int64, np.float32)
    assert recommender.rank_items(Beams(leaves_BW[:0], scores_BW[:0]), 5) == []


def test_k_raises_the_beams(recommender: GenerativeRecommender):
    ranking = recommender.recommend(histories(3)[2], N)
    assert sorted(ranking.rows.tolist()) == list(range(N))


def test_k_larger_than_what_is_allowed_gives_all_that_are(recommender: GenerativeRecommender):
    allowed = [3, 15, 22, 38]
    banned = np.setdiff1d(np.arange(N), allowed)
    for k, n in ((2, 2), (4, 4), (100, 4)):
        ranking = recommender.recommend(histories(3)[2], k, banned)
        assert len(ranking.rows) == n
        assert set(ranking.rows.tolist()) <= set(allowed)
    assert len(recommender.recommend(histories(3)[2], 5, np.arange(N)).rows) == 0


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_if_k_are_allowed_k_come_back(recommender: GenerativeRecommender, k: int):
    random = np.random.default_rng(k)
    for _ in range(10):
        banned = np.setdiff1d(np.arange(N), random.choice(N, k, replace=False))
        rows = recommender.recommend(histories(2)[1], k, banned).rows
        assert len(set(rows.tolist())) == k
        assert not set(rows.tolist()) & set(banned.tolist())


def test_many_histories_come_back_in_their_order(recommender: GenerativeRecommender):
    asked = histories(11)
    banned = [rows[:2] for rows in asked]
    together = recommender.decode_beams(asked, banned)
    for place, rows in enumerate(asked):
        alone = recommender.decode_beams([rows], [banned[place]])
        assert together.leaves_BW[place].tolist() == alone.leaves_BW[0].tolist()
    assert len(recommender.rank_items(together, 5, banned)) == 11
    assert len(recommender.decode_beams([]).leaves_BW) == 0


def test_settings_that_cannot_be():
    for wrong in ({"num_beams": 0}, {"batch_size": 0}, {"score_softmax": "none"}, {"precision": "fp8"}):
        with pytest.raises(RecipeError):
            parse_settings(DecodeSettings, wrong, "decode")
