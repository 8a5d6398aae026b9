"""Bootstrap intervals: means by hand, coverage on data whose mean is known, users drawn with all their targets."""

from __future__ import annotations

import numpy as np
import pytest

from trialigngr.metrics.intervals import adjust_p_values, bootstrap_differences, bootstrap_intervals, bootstrap_p_values


def test_the_mean_is_over_targets_not_users():
    values = {"HR@5": np.array([1.0, 0.0, 0.0, 0.0, 1.0])}
    found = bootstrap_intervals(values, np.array([7, 7, 7, 7, 3]))["HR@5"]
    assert found.value == pytest.approx(2 / 5)
    # User 7 alone is worth 1/4, user 3 alone 1: no draw of users can leave that range, and the interval reaches both.
    assert (found.low, found.high) == (pytest.approx(1 / 4), pytest.approx(1))


def test_ninety_five_per_cent_of_intervals_hold_the_truth():
    random = np.random.default_rng(0)
    users, held = np.arange(200), 0
    for seed in range(200):
        found = bootstrap_intervals({"x": (random.random(200) < 0.3).astype(float)}, users, seed, num_resamples=300)[
            "x"
        ]
        held += found.low <= 0.3 <= found.high
    # 190 of 200 expected; 4 standard deviations are about 12
    assert 176 <= held <= 199


def test_width_follows_the_normal_one():
    values = np.random.default_rng(1).normal(size=4000)
    found = bootstrap_intervals({"x": values}, np.arange(4000))["x"]
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(4000), rel=0.1)


def test_targets_of_one_user_are_not_independent():
    # The same values ten times over say nothing new: the interval must stay as wide as with one target a user.
    values = np.random.default_rng(2).random(100)
    once = bootstrap_intervals({"x": values}, np.arange(100))["x"]
    tenfold = bootstrap_intervals({"x": np.repeat(values, 10)}, np.repeat(np.arange(100), 10))["x"]
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_same_seed_same_interval_other_seed_another():
    values, users = {"x": np.random.default_rng(3).random(50)}, np.arange(50)
    assert bootstrap_intervals(values, users, seed=5) == bootstrap_intervals(values, users, seed=5)
    assert bootstrap_intervals(values, users, seed=5) != bootstrap_intervals(values, users, seed=6)


def test_paired_sees_a_small_difference_that_two_intervals_cannot():
    random = np.random.default_rng(4)
    theirs = random.random(500)
    ours = theirs + 0.01 + 0.01 * random.normal(size=500)
    users = np.arange(500)
    difference = bootstrap_differences({"x": ours}, {"x": theirs, "y": theirs}, users)
    assert list(difference) == ["x"]
    assert difference["x"].value == pytest.approx((ours - theirs).mean())
    assert difference["x"].low > 0
    apart = bootstrap_intervals({"ours": ours, "theirs": theirs}, users)
    assert apart["ours"].low < apart["theirs"].high


def test_p_is_small_where_the_interval_leaves_zero_and_large_where_nothing_differs():
    random = np.random.default_rng(0)
    base, users = random.random(500), np.arange(500)
    p = bootstrap_p_values(
        {"better": base + 0.05, "same": base + random.normal(0, 0.3, 500)}, {"better": base, "same": base}, users
    )
    assert p["better"] == 2 / 10_001
    assert p["same"] > 0.05


def test_p_is_uniform_when_there_is_no_difference():
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        noise = random.normal(size=60)
        found.append(bootstrap_p_values({"x": noise}, {"x": np.zeros(60)}, np.arange(60), num_resamples=400)["x"])
    assert 0.35 < np.mean(found) < 0.65
    assert np.mean(np.array(found) < 0.1) < 0.2


def test_holm_by_hand():
    assert adjust_p_values({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert adjust_p_values({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
