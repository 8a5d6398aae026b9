"""Collaborative vectors: company by hand, items without any, and the block beside text and pictures."""

import math

import numpy as np
import pytest

from trialigngr.embed.collaborative import _compute_ppmi, _count_cooccurrences, compute_collaborative_vectors


def rows(*items):
    return np.array(items, dtype=np.int64)


def test_company_counts_pairs_by_one_over_their_distance_both_ways():
    company = _count_cooccurrences([rows(0, 1, 2), rows(0, 1)], 4).toarray()
    by_hand = np.zeros((4, 4))
    by_hand[0, 1] = by_hand[1, 0] = 2
    by_hand[1, 2] = by_hand[2, 1] = 1
    by_hand[0, 2] = by_hand[2, 0] = 0.5
    np.testing.assert_allclose(company, by_hand)


def test_information_is_by_hand_and_never_below_zero():
    company = _count_cooccurrences([rows(0, 1, 2), rows(0, 1)], 4)
    information = _compute_ppmi(company).toarray()
    counts = np.array([2.5, 3, 1.5])
    as_company = counts**0.75 / (counts**0.75).sum()
    assert information[0, 1] == pytest.approx(math.log(2 / (2.5 * as_company[1])))
    assert information[0, 2] == max(0, math.log(0.5 / (2.5 * as_company[2])))
    assert (information >= 0).all()


def test_items_of_one_crowd_lie_together_and_one_without_company_is_zeros():
    random = np.random.default_rng(0)
    crowds = [random.permutation(10) + 10 * (user % 2) for user in range(60)]
    vectors = compute_collaborative_vectors(crowds, 21)
    assert not vectors[20].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[:20], axis=1), 1, rtol=1e-5)
    alike = vectors[:20] @ vectors[:20].T
    assert alike[:10, :10].min() > alike[:10, 10:].max()
    np.testing.assert_array_equal(vectors, compute_collaborative_vectors(crowds, 21))


@pytest.mark.parametrize("sequences", [[], [rows(0)]])
def test_a_log_without_pairs_says_nothing(sequences):
    assert not compute_collaborative_vectors(sequences, 3).any()
